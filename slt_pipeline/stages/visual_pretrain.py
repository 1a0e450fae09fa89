"""`slt visual-pretrain`: isolated-sign classification of the S3D trunk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import ClipDataset, EvalFrames, collate_clips
from slt_pipeline.errors import SltError
from slt_pipeline.models.visual_classifier import VisualClassifier
from slt_pipeline.models.weights import load_s3d
from slt_pipeline.stages._corpus import load_clips
from slt_pipeline.stages._run import Plan, file_hash, open_run, training_inputs
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import read_weights
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.loop import Job

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
    # Nothing is frozen here: `freeze_blocks` is for the stages that start from these weights.
    s3d = recipe.encoder.s3d.model_copy(update={"freeze_blocks": 0})
    inputs = {
        "seed": recipe.seed,
        "clips": file_hash(Path(manifest)),
        "init": config.init and file_hash(Path(config.init)),
        "dropout": config.dropout,
        "also": config.also,
        "also_weight": config.also_weight,
        "video": recipe.video.model_dump(mode="json"),
        "s3d": s3d.model_dump(mode="json"),
        "training": training_inputs(config.training),
    }
    run = open_run(recipe, STAGE, inputs, overwrite=overwrite)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    root = Path(recipe.corpus.isolated_media_root or Path(manifest).parent)
    clips = load_clips(recipe, "train", needs=["gloss"], manifest=manifest)
    dev = load_clips(recipe, "dev", needs=["gloss"], manifest=manifest)
    labels = _Labels(clips, config.also)
    labels.glosses.save(run.folder / "signs.json")
    torch.manual_seed(recipe.seed)
    model = VisualClassifier(s3d, sum(labels.sizes), config.dropout)
    if config.init:
        load_s3d(model.s3d, read_weights(Path(config.init)))

    def losses(classifier: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits = classifier(batch["frames"], batch["frame_lengths"]).split(labels.sizes, dim=1)
        terms = [cross_entropy(part, batch["gloss_ids"][:, i]) for i, part in enumerate(logits)]
        return {"loss": terms[0] + config.also_weight * sum(terms[1:])}

    eval_frames = EvalFrames(recipe.video)

    def validate(classifier: torch.nn.Module) -> dict[str, float]:
        right = torch.zeros(len(labels.names))
        for clip in dev:
            frames = eval_frames(clip.video, root)[None].to(where)
            logits = classifier(frames, torch.tensor([frames.shape[2]], device=where)).split(labels.sizes, dim=1)
            right += torch.tensor([int(part.argmax()) for part in logits]) == torch.tensor(labels.encode(clip))
        accuracies = (100 * right / len(dev)).tolist()
        return dict(zip(["accuracy", *(f"accuracy_{name}" for name in config.also)], accuracies, strict=True))

    job = Job(
        model=model,
        parts={"recognition": list(model.parameters())},
        dataset=ClipDataset(clips, root, recipe.video, encode=labels.encode, seed=recipe.seed),
        num_items=len(clips),
        collate=collate_clips,
        losses=losses,
        validate=validate,
        score="accuracy",
        higher_is_better=True,
        lengths=[clip.num_frames for clip in clips],
    )
    return run.train(job, config.training, recipe.seed, where)


class _Labels:
    """What is classified: the gloss, and the fields of `extra` that the recipe names, each with its own classes."""

    def __init__(self, clips: Sequence[Clip], also: Sequence[str]):
        self.names = ("gloss", *also)
        self.glosses = GlossVocabulary.build(clip.gloss for clip in clips)
        self.values: dict[str, dict[str, int]] = {}
        for name in also:
            bare = [clip.id for clip in clips if name not in (clip.extra or {})]
            if bare:
                raise SltError(f"visual_pretrain.also names {name}, which {len(bare)} clips lack, such as {bare[0]}")
            found = sorted({str((clip.extra or {})[name]) for clip in clips})
            self.values[name] = {value: number for number, value in enumerate(found)}
        self.sizes = [len(self.glosses), *(len(values) for values in self.values.values())]

    def encode(self, clip: Clip) -> list[int]:
        """One class of each kind; -1, which nothing equals, for a value that training does not have."""
        extra = clip.extra or {}
        others = [values.get(str(extra.get(name)), -1) for name, values in self.values.items()]
        return [self.glosses.encode(clip.gloss or ())[0], *others]
