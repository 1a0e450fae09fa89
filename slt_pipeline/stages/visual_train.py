"""`slt visual-train`: Sign2Gloss, the visual encoder trained with CTC."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.runs import FRAMES_FILE
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import check_feasible, tell_what_ctc_cannot_learn, with_glosses
from slt_pipeline.corpora.labels import GlossLabels
from slt_pipeline.corpora.load import load_clips, media_digest, media_root
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, write_json
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.ctc import ctc_loss, infeasible
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.systems.classes import corpus_classes
from slt_pipeline.systems.encoding import ClipEncoder, FrameReader
from slt_pipeline.systems.features import rejected_path
from slt_pipeline.systems.initial import Initial, initial_weights
from slt_pipeline.systems.left_out import LeftOut
from slt_pipeline.systems.recogniser import CLASSES_FILE, recognise_clips
from slt_pipeline.systems.scores import score_recognised
from slt_pipeline.systems.start import require_own
from slt_pipeline.systems.times import TimesLearner
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training import distributed
from slt_pipeline.training.devices import pick_device, require_precision
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.run import Plan, find_run
from slt_pipeline.training.trainable import Trainable

STAGE = "visual_train"


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    config = recipe.visual_train
    start = recipe.run_folder(config.init) if config.init == "visual_pretrain" else config.init
    reads = {"clips": recipe.corpus.manifest, "weights": start, "gloss classes": config.vocabulary}
    return reads, {"run": recipe.run_folder(STAGE)}


def visual_train(
    recipe: Recipe, *, device: str = "auto", overwrite: bool = False, extend: bool = False, strict: bool = False
) -> dict[str, Any]:
    """Train S3D and the visual head with CTC; the best checkpoint is by dev WER in percent.

    Args:
        recipe: the experiment.
        device: where it computes.
        overwrite: give up an earlier run.
        extend: go on for more epochs than it was planned for.
        strict: stop at the first clip that cannot be read, rather than leave it out.
    """
    require_own(recipe, "encoder")
    config, manifest, root = recipe.visual_train, recipe.corpus.manifest, media_root(recipe.corpus)
    start = _start(recipe)
    clips, dev = (with_glosses(load_clips(manifest, split), split, "visual-train") for split in ("train", "dev"))
    classes = corpus_classes(recipe)
    inputs = _inputs(recipe, start, classes, [*clips, *dev])
    trunk = f" -o visual_train.init={recipe.run_folder(config.init)}" if config.init == "visual_pretrain" else ""
    run = find_run(recipe.run_folder(STAGE), STAGE, inputs, overwrite=overwrite, extend=extend, to_keep_both=trunk)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    require_precision(where, config.training.precision)
    left_out = LeftOut(STAGE, rejected_path(recipe), strict=strict)
    clips, dev = (left_out.usable(split, root, recipe.video.sampling) for split in (clips, dev))
    check_feasible(clips, config.max_infeasible, recipe.video.sampling.max_frames)
    tell_what_ctc_cannot_learn(clips, dev, classes)
    torch.manual_seed(recipe.seed)
    model = VisualEncoder(recipe.encoder, len(classes))
    if start:
        start.load(model, classes)
    shape = left_out.shape(clips, root)
    reader = FrameReader(recipe.video, shape, where, config.training.num_workers)

    def describe(folder: Path) -> None:
        classes.save(folder / CLASSES_FILE)
        write_json(folder / FRAMES_FILE, asdict(shape))
        left_out.begin(folder)

    run.begin(recipe, describe)
    trainable = Trainable(
        model=model,
        parameter_groups={"recognition": list(model.parameters())},
        **left_out.items(clips, root, recipe.video, shape, recipe.seed, GlossLabels(classes), where),
        losses=_losses,
        objective=Objective({"recognition": 1.0}),
        validate=_Validation(recipe, dev, classes, reader, left_out),
        score="wer",
        higher_is_better=False,
        protocol=get_protocol(recipe.corpus.protocol).title,
        counts=infeasible,
    )
    times = TimesLearner(recipe, run.folder, model, model, clips, classes, reader, left_out)
    result = run.train(trainable, config.training, recipe.seed, where, at_end=times)
    left_out.tell()
    return result


def _losses(encoder: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    taps = encoder(batch["frames"], batch["frame_lengths"])
    return {
        "recognition": ctc_loss(taps.gloss_logits, taps.lengths, batch["gloss_labels"], batch["gloss_label_lengths"])
    }


@dataclass(frozen=True)
class _Validation:
    """Scores of an encoder on dev."""

    recipe: Recipe
    dev: list[Clip]
    classes: GlossVocabulary
    reader: FrameReader
    left_out: LeftOut

    def __call__(self, encoder: torch.nn.Module) -> dict[str, float]:
        assert isinstance(encoder, VisualEncoder)
        config, root = self.recipe.visual_train, media_root(self.recipe.corpus)
        on_video = ClipEncoder(encoder, self.reader)
        found = distributed.shared_out(
            self.dev, lambda clips: recognise_clips(on_video, clips, root, self.classes, config.beam_size)
        )
        clips, recognised = self.left_out.scored(self.dev, found)
        return score_recognised(self.recipe.corpus.protocol, recognised, clips)


def _inputs(recipe: Recipe, start: Initial | None, classes: GlossVocabulary, clips: Sequence[Clip]) -> dict[str, Any]:
    config = recipe.visual_train
    return {
        "seed": recipe.seed,
        "clips": file_hash(Path(recipe.corpus.manifest)),
        "media": media_digest(clips, media_root(recipe.corpus)),
        "protocol": recipe.corpus.protocol,
        "init": start and start.hash,
        "vocabulary_splits": config.vocabulary_splits,
        "classes": classes.digest(),
        "beam_size": config.beam_size,
        "times": config.times,
        "video": recipe.video,
        "encoder": recipe.encoder,
        "training": config.training,
    }


def _start(recipe: Recipe) -> Initial | None:
    init, frozen = recipe.visual_train.init, recipe.encoder.s3d.freeze_blocks
    if init is None and frozen:
        raise SltError(
            f"visual_train.init is null and encoder.s3d.freeze_blocks is {frozen}: random blocks would stay as they "
            "are; set -o encoder.s3d.freeze_blocks=0, or give weights to start from"
        )
    return initial_weights(recipe, init)
