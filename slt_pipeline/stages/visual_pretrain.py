"""`slt visual-pretrain`: isolated-sign classification of the S3D trunk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import ClipDataset, EvalFrames, FrameBatches
from slt_pipeline.corpora.load import load_clips, media_digest
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash
from slt_pipeline.models.visual_classifier import VisualClassifier
from slt_pipeline.models.weights import load_s3d
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training import distributed
from slt_pipeline.training.checkpoint import read_weights
from slt_pipeline.training.devices import pick_device, require_precision
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.run import Plan, find_run
from slt_pipeline.training.trainable import Trainable

STAGE = "visual_pretrain"
SIGNS_FILE = "signs.json"


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    reads = {"isolated clips": recipe.corpus.isolated_manifest, "weights": recipe.visual_pretrain.init}
    return reads, {"run": recipe.run_folder(STAGE)}


def visual_pretrain(recipe: Recipe, *, device: str = "auto", overwrite: bool = False) -> dict[str, Any]:
    """Train S3D with a linear classifier on isolated signs; the best checkpoint is by dev accuracy in percent."""
    config, manifest = recipe.visual_pretrain, _manifest(recipe)
    root = Path(recipe.corpus.isolated_media_root or manifest.parent)
    # Nothing is frozen here: `freeze_blocks` is for the stages that start from these weights.
    s3d = recipe.encoder.s3d.model_copy(update={"freeze_blocks": 0})
    clips, dev = (load_clips(manifest, split, needs=["gloss"]) for split in ("train", "dev"))
    inputs = _inputs(recipe, s3d, media_digest([*clips, *dev], root))
    run = find_run(recipe.run_folder(STAGE), STAGE, inputs, overwrite=overwrite)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    require_precision(where, config.training.precision)
    labels = SignLabels(clips, config.also)
    torch.manual_seed(recipe.seed)
    model = VisualClassifier(s3d, sum(labels.sizes), config.dropout)
    if config.init:
        load_s3d(model.s3d, read_weights(Path(config.init)))
    run.begin(recipe, lambda folder: labels.glosses.save(folder / SIGNS_FILE))

    def losses(classifier: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits = classifier(batch["frames"], batch["frame_lengths"]).split(labels.sizes, dim=1)
        found = zip(labels.kinds, logits, batch["sign_labels"].unbind(1), strict=True)
        return {kind: cross_entropy(part, right) for kind, part, right in found}

    eval_frames = EvalFrames(recipe.video)

    def validate(classifier: torch.nn.Module) -> dict[str, float]:
        def right(clip: Clip) -> list[bool]:
            frames = eval_frames(clip.video, root)[None].to(where)
            logits = classifier(frames, torch.tensor([frames.shape[2]], device=where)).split(labels.sizes, dim=1)
            return [int(part.argmax()) == sign for part, sign in zip(logits, labels.encode(clip), strict=True)]

        found = distributed.shared_out(dev, lambda clips: [right(clip) for clip in clips])
        accuracies = [100 * sum(kind) / len(dev) for kind in zip(*found, strict=True)]
        return dict(zip(["accuracy", *(f"accuracy_{name}" for name in config.also)], accuracies, strict=True))

    batches = FrameBatches(labels)
    trainable = Trainable(
        model=model,
        parameter_groups={"recognition": list(model.parameters())},
        dataset=ClipDataset(clips, root, recipe.video, seed=recipe.seed),
        num_items=len(clips),
        collate=batches,
        padding=batches.padding,
        losses=losses,
        objective=Objective({"gloss": 1.0} | dict.fromkeys(config.also, config.also_weight)),
        validate=validate,
        score="accuracy",
        higher_is_better=True,
        lengths=[clip.num_frames for clip in clips],
        names=[clip.id for clip in clips],
    )
    return run.train(trainable, config.training, recipe.seed, where)


def _manifest(recipe: Recipe) -> Path:
    if recipe.corpus.isolated_manifest is None:
        raise SltError(
            f"recipe {recipe.name} has no corpus.isolated_manifest; skip this stage with visual_train.init=null"
        )
    return Path(recipe.corpus.isolated_manifest)


def _inputs(recipe: Recipe, s3d: S3DConfig, media: str) -> dict[str, Any]:
    config = recipe.visual_pretrain
    return {
        "seed": recipe.seed,
        "clips": file_hash(_manifest(recipe)),
        "media": media,
        "init": config.init and file_hash(Path(config.init)),
        "dropout": config.dropout,
        "also": config.also,
        "also_weight": config.also_weight,
        "video": recipe.video,
        "s3d": s3d,
        "training": config.training,
    }


class SignLabels:
    """What is classified: the gloss, and the fields of `extra` that the recipe names, each with its own classes."""

    def __init__(self, clips: Sequence[Clip], also: Sequence[str]):
        self.kinds = ("gloss", *also)
        self.glosses = GlossVocabulary.build(clip.gloss for clip in clips)
        self.values: dict[str, dict[str, int]] = {}
        for name in also:
            bare = [clip.id for clip in clips if name not in (clip.extra or {})]
            if bare:
                raise SltError(f"visual_pretrain.also names {name}, which {len(bare)} clips lack, such as {bare[0]}")
            found = sorted({str((clip.extra or {})[name]) for clip in clips})
            self.values[name] = {value: number for number, value in enumerate(found)}
        self.sizes = [len(self.glosses), *(len(values) for values in self.values.values())]

    def __call__(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Return `sign_labels (B, kinds)`."""
        return {"sign_labels": torch.tensor([self.encode(clip) for clip in clips])}

    def encode(self, clip: Clip) -> list[int]:
        """Return one class of each kind; -1, which nothing equals, for a value that training does not have."""
        extra = clip.extra or {}
        others = [values.get(str(extra.get(name)), -1) for name, values in self.values.items()]
        return [self.glosses.encode(clip.gloss or ())[0], *others]
