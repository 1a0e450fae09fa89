"""`slt visual-train`: Sign2Gloss, the visual encoder trained with CTC."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import ctc_feasible
from slt_pipeline.corpora.frames import ClipDataset, collate_clips
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_json
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.models.weights import load_s3d
from slt_pipeline.stages._corpus import load_clips, media_root
from slt_pipeline.stages._encoder import (
    SHAPE_FILE,
    VOCABULARY_FILE,
    encode_clips,
    recognise,
    score_glosses,
)
from slt_pipeline.stages._run import Plan, file_hash, open_run, training_inputs
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import best_checkpoint, read_weights
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.loop import Job
from slt_pipeline.video.reader import open_video

STAGE = "visual_train"
log = logging.getLogger(__name__)


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    init = recipe.visual_train.init
    start = recipe.run_folder(init) if init == "visual_pretrain" else init
    return {"clips": recipe.corpus.manifest, "S3D weights": start}, {"run": recipe.run_folder(STAGE)}


def visual_train(recipe: Recipe, *, device: str = "auto", overwrite: bool = False) -> dict[str, Any]:
    """Train S3D and the visual head with CTC; the best checkpoint is by dev WER in percent."""
    config = recipe.visual_train
    start = _initial_weights(recipe)
    inputs = {
        "seed": recipe.seed,
        "clips": file_hash(Path(recipe.corpus.manifest)),
        "protocol": recipe.corpus.protocol,
        "init": start and file_hash(start),
        "vocabulary_splits": config.vocabulary_splits,
        "beam_size": config.beam_size,
        "video": recipe.video.model_dump(mode="json"),
        "encoder": recipe.encoder.model_dump(mode="json"),
        "training": training_inputs(config.training),
    }
    run = open_run(recipe, STAGE, inputs, overwrite=overwrite)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    root = media_root(recipe)
    clips = load_clips(recipe, "train", needs=["gloss"])
    dev = load_clips(recipe, "dev", needs=["gloss"])
    _check_feasible(clips, config.max_infeasible, recipe.video.sampling.max_frames)
    vocabulary = GlossVocabulary.build(
        clip.gloss for split in config.vocabulary_splits for clip in load_clips(recipe, split, needs=["gloss"])
    )
    vocabulary.save(run.folder / VOCABULARY_FILE)
    first = open_video(clips[0].video, root)
    write_json(run.folder / SHAPE_FILE, {"width": first.width, "height": first.height, "fps": clips[0].fps})
    torch.manual_seed(recipe.seed)
    model = VisualEncoder(recipe.encoder, len(vocabulary))
    if start:
        load_s3d(model.s3d, read_weights(start))

    def losses(encoder: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        out = encoder(batch["frames"], batch["frame_lengths"])
        return {"loss": ctc_loss(out.gloss_logits, out.lengths, batch["gloss_ids"], batch["gloss_lengths"])}

    def validate(encoder: torch.nn.Module) -> dict[str, float]:
        assert isinstance(encoder, VisualEncoder)
        logits = [streams["gloss_logits"] for _, streams in encode_clips(encoder, recipe, dev, root, where)]
        return {"wer": score_glosses(recipe, recognise(logits, vocabulary, config.beam_size), dev).wer}

    job = Job(
        model=model,
        parts={"recognition": list(model.parameters())},
        dataset=ClipDataset(clips, root, recipe.video, encode=partial(_gloss_ids, vocabulary), seed=recipe.seed),
        num_items=len(clips),
        collate=collate_clips,
        losses=losses,
        validate=validate,
        score="wer",
        higher_is_better=False,
        lengths=[clip.num_frames for clip in clips],
    )
    return run.train(job, config.training, recipe.seed, where)


def _gloss_ids(vocabulary: GlossVocabulary, clip: Clip) -> list[int]:
    # Not a function within the stage: the processes that prepare batches get it by pickling.
    return vocabulary.encode(clip.gloss or ())


def _initial_weights(recipe: Recipe) -> Path | None:
    init = recipe.visual_train.init
    if init == "visual_pretrain":
        checkpoint = best_checkpoint(recipe.run_folder(init), made_by=f"slt visual-pretrain -r {recipe.name}")
        return checkpoint.folder / "weights.safetensors"
    return Path(init) if init else None


def _check_feasible(clips: Sequence[Clip], most: float, max_frames: int) -> None:
    bad = [clip for clip in clips if not ctc_feasible(clip.gloss or (), clip.num_frames, max_frames=max_frames)]
    if len(bad) > most * len(clips):
        raise SltError(
            f"{len(bad)} of {len(clips)} training clips have more glosses than a quarter of their frames, such as "
            f"{bad[0].id}; CTC cannot learn them (visual_train.max_infeasible is {most})"
        )
    if bad:
        log.warning("%d training clips have too few frames for their glosses; their CTC loss counts 0", len(bad))
