"""`slt visual-pretrain`: isolated-sign classification of the S3D trunk."""

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.frames import ClipDataset, EvalFrames, collate_clips
from slt_pipeline.errors import SltError
from slt_pipeline.models.visual_classifier import VisualClassifier
from slt_pipeline.models.weights import load_s3d
from slt_pipeline.stages._corpus import load_clips
from slt_pipeline.stages._run import Plan, file_hash, open_run, training_inputs
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import read_weights
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.loop import Job, train

STAGE = "visual_pretrain"


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    reads = {"isolated clips": recipe.corpus.isolated_manifest, "weights": recipe.visual_pretrain.init}
    return reads, {"run": recipe.run_folder(STAGE)}


def visual_pretrain(recipe: Recipe, *, device: str = "auto", overwrite: bool = False) -> dict[str, Any]:
    """Train S3D with a linear classifier on isolated signs; the best checkpoint is by dev accuracy in percent."""
    config = recipe.visual_pretrain
    manifest = recipe.corpus.isolated_manifest
    if manifest is None:
        raise SltError(
            f"recipe {recipe.name} has no corpus.isolated_manifest; skip this stage with visual_train.init=null"
        )
    inputs = {
        "seed": recipe.seed,
        "clips": file_hash(Path(manifest)),
        "init": config.init and file_hash(Path(config.init)),
        "dropout": config.dropout,
        "video": recipe.video.model_dump(mode="json"),
        "s3d": recipe.encoder.s3d.model_dump(mode="json"),
        "training": training_inputs(config.training),
    }
    run = open_run(recipe, STAGE, inputs, overwrite=overwrite)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    root = Path(recipe.corpus.isolated_media_root or Path(manifest).parent)
    clips = load_clips(recipe, "train", needs=["gloss"], manifest=manifest)
    dev = load_clips(recipe, "dev", needs=["gloss"], manifest=manifest)
    vocabulary = GlossVocabulary.build(clip.gloss for clip in clips)
    vocabulary.save(run.folder / "signs.json")
    torch.manual_seed(recipe.seed)
    model = VisualClassifier(recipe.encoder.s3d, len(vocabulary), config.dropout)
    if config.init:
        load_s3d(model.s3d, read_weights(Path(config.init)))

    def losses(classifier: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits = classifier(batch["frames"], batch["frame_lengths"])
        return {"loss": cross_entropy(logits, batch["gloss_ids"][:, 0])}

    eval_frames = EvalFrames(recipe.video)

    def validate(classifier: torch.nn.Module) -> dict[str, float]:
        right = 0
        for clip in dev:
            frames = eval_frames(clip.video, root)[None].to(where)
            logits = classifier(frames, torch.tensor([frames.shape[2]], device=where))
            right += int(logits.argmax()) == vocabulary.encode(clip.gloss or ())[0]
        return {"accuracy": 100 * right / len(dev)}

    job = Job(
        model=model,
        parts={"recognition": list(model.parameters())},
        dataset=ClipDataset(clips, root, recipe.video, encode=vocabulary.encode, seed=recipe.seed),
        num_items=len(clips),
        collate=collate_clips,
        losses=losses,
        validate=validate,
        score="accuracy",
        higher_is_better=True,
        lengths=[clip.num_frames for clip in clips],
    )
    ended = train(job, config.training, run.folder, seed=recipe.seed, device=where, title=STAGE)
    return run.finish({"score": "accuracy", "best_score": ended.best_score, "best_step": ended.best_step})
