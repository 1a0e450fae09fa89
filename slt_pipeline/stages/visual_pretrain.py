"""`slt visual-pretrain`: isolated-sign or action classification of the S3D trunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.runs import SIGNS_FILE
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import EvalClips, EvalItem
from slt_pipeline.corpora.load import load_clips, media_digest
from slt_pipeline.corpora.views import ViewClips
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash
from slt_pipeline.models.visual_classifier import build_classifier
from slt_pipeline.systems.encoding import FrameReader
from slt_pipeline.systems.initial import Initial, initial_weights
from slt_pipeline.systems.left_out import LeftOut, Unreadable
from slt_pipeline.text.gloss_vocab import RECOGNITION_SPECIALS, GlossVocabulary
from slt_pipeline.text.normalise import nfc, single_spaced
from slt_pipeline.training import distributed
from slt_pipeline.training.devices import pick_device, require_precision
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.run import Plan, find_run
from slt_pipeline.training.trainable import Trainable
from slt_pipeline.video.prepared import FrameShape

STAGE = "visual_pretrain"
_TOP = 5
"""Guesses of which one may be right, where there are as many signs."""


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    reads = {"isolated clips": recipe.corpus.isolated_manifest, "weights": recipe.visual_pretrain.init}
    return reads, {"run": recipe.run_folder(STAGE)}


def visual_pretrain(
    recipe: Recipe, *, device: str = "auto", overwrite: bool = False, extend: bool = False, strict: bool = False
) -> dict[str, Any]:
    """Train S3D with a classifier on isolated signs; the best checkpoint is by dev accuracy (top-1) in percent.

    Args:
        recipe: the experiment.
        device: where it computes.
        overwrite: give up an earlier run.
        extend: go on for more epochs than it was planned for.
        strict: stop at the first clip that cannot be read, rather than leave it out.
    """
    config, manifest, root = recipe.visual_pretrain, _manifest(recipe), _media_root(recipe)
    window = config.clip.frames if config.clip else None
    s3d = config.trunk(recipe.encoder.s3d)
    clips, dev = (load_clips(manifest, split, needs=["gloss"]) for split in ("train", "dev"))
    start = initial_weights(recipe, config.init)
    inputs = _inputs(recipe, s3d, start, media_digest([*clips, *dev], root))
    run = find_run(recipe.run_folder(STAGE), STAGE, inputs, overwrite=overwrite, extend=extend)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    require_precision(where, config.training.precision)
    labels = SignLabels([clip for clip in clips if not _why_no_sign(clip)], config.also)
    # Ids of isolated clips may be those of sentences: they have a list of their own.
    left_out = LeftOut(STAGE, run.folder / "rejected.jsonl", strict=strict)
    clips, dev = (left_out.usable(split, root, recipe.video.sampling, _why_no_sign) for split in (clips, dev))
    shape = FrameShape(left_out.shape(clips, root).fps)  # sizes stay: videos of signs come from anywhere
    reader = FrameReader(recipe.video, shape, where, config.training.num_workers)
    torch.manual_seed(recipe.seed)
    model = build_classifier(config.pool, s3d, sum(labels.sizes), config.dropout)
    if start:
        start.load_s3d(model.s3d)

    def describe(folder: Path) -> None:
        labels.glosses.save(folder / SIGNS_FILE)
        left_out.begin(folder)

    run.begin(recipe, describe)

    def losses(classifier: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits = classifier(batch["frames"], batch["frame_lengths"]).split(labels.sizes, dim=1)
        found = zip(labels.kinds, logits, batch["sign_labels"].unbind(1), strict=True)
        return {kind: cross_entropy(part, right) for kind, part, right in found}

    trainable = Trainable(
        model=model,
        parameter_groups={"recognition": list(model.parameters())},
        **left_out.items(clips, root, recipe.video, shape, recipe.seed, labels, where, window),
        losses=losses,
        objective=Objective({"gloss": 1.0} | dict.fromkeys(config.also, config.also_weight)),
        validate=_Validation(recipe, dev, labels, reader, left_out),
        score="accuracy",
        higher_is_better=True,
    )
    result = run.train(trainable, config.training, recipe.seed, where)
    left_out.tell()
    return result


@dataclass(frozen=True)
class _Validation:
    """Accuracies of a classifier on dev, top-1 and, of five signs or more, top-5."""

    recipe: Recipe
    dev: list[Clip]
    labels: "SignLabels"
    reader: FrameReader
    left_out: LeftOut

    def __call__(self, classifier: torch.nn.Module) -> dict[str, float]:
        config, root, reader = self.recipe.visual_pretrain, _media_root(self.recipe), self.reader

        def right(clip: Clip, item: EvalItem) -> dict[str, bool] | Unreadable:
            if item.pixels is None:
                return Unreadable(item.reason or "")
            views = item.pixels.split(config.clip.frames if config.clip else len(item.pixels))
            found = [self._probabilities(classifier, reader.frames([view])) for view in views]
            return self.labels.right([torch.stack(kind).mean(0) for kind in zip(*found, strict=True)], clip)

        def of(clips: list[Clip]) -> list[dict[str, bool] | Unreadable]:
            seen = (clips, root, reader.video, reader.shape)
            items = reader.items(ViewClips(*seen, views=config.clip) if config.clip else EvalClips(*seen))
            return [right(*read) for read in items]

        _, good = self.left_out.scored(self.dev, distributed.shared_out(self.dev, of))
        return {name: 100 * sum(clip[name] for clip in good) / len(good) for name in good[0]}

    def _probabilities(self, classifier: torch.nn.Module, frames: torch.Tensor) -> list[torch.Tensor]:
        """Return the probabilities (K,) of each kind; in float64, in which no two logits come out equal."""
        logits = classifier(frames, torch.tensor([frames.shape[2]], device=frames.device))
        return [part[0].double().softmax(0) for part in logits.split(self.labels.sizes, dim=1)]


def _why_no_sign(clip: Clip) -> str | None:
    glosses = clip.gloss or ()
    return None if len(glosses) == 1 else f"{len(glosses)} glosses ({' '.join(glosses)}); an isolated sign has one"


def _manifest(recipe: Recipe) -> Path:
    if recipe.corpus.isolated_manifest is None:
        raise SltError(
            f"recipe {recipe.name} has no corpus.isolated_manifest; skip this stage with visual_train.init=null"
        )
    return Path(recipe.corpus.isolated_manifest)


def _media_root(recipe: Recipe) -> Path:
    return Path(recipe.corpus.isolated_media_root or _manifest(recipe).parent)


def _inputs(recipe: Recipe, s3d: S3DConfig, start: Initial | None, media: str) -> dict[str, Any]:
    config, clip = recipe.visual_pretrain, recipe.visual_pretrain.clip
    return {
        "seed": recipe.seed,
        "clips": file_hash(_manifest(recipe)),
        "media": media,
        "init": start and start.hash,
        "pool": config.pool,
        "clip": f"{clip.frames} frames, {clip.views} x {clip.crops} views" if clip else "whole",
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
            found = sorted({_value(clip, name) for clip in clips})
            self.values[name] = {value: number for number, value in enumerate(found)}
        self.sizes = [len(self.glosses), *(len(values) for values in self.values.values())]

    def __call__(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Return `sign_labels (B, kinds)`."""
        return {"sign_labels": torch.tensor([self.encode(clip) for clip in clips])}

    def encode(self, clip: Clip) -> list[int]:
        """Return one class of each kind; -1, which nothing equals, for a value that training does not have."""
        others = [values.get(_value(clip, name), -1) for name, values in self.values.items()]
        ((gloss, sign),) = zip(clip.gloss or (), self.glosses.encode(clip.gloss or ()), strict=True)
        return [sign if gloss in self.glosses else -1, *others]

    def right(self, scores: Sequence[torch.Tensor], clip: Clip) -> dict[str, bool]:
        """Say by name of the accuracy whether scores (K,) of each kind have a clip's class first, or among five."""
        (gloss, *others), (sign, *wanted) = scores, self.encode(clip)
        found = {"accuracy": int(gloss.argmax()) == sign}
        if len(self.glosses) - len(RECOGNITION_SPECIALS) >= _TOP:
            found[f"accuracy_top{_TOP}"] = sign in gloss.topk(_TOP).indices.tolist()
        kinds = zip(self.values, others, wanted, strict=True)
        return found | {f"accuracy_{name}": int(score.argmax()) == value for name, score, value in kinds}


def _value(clip: Clip, name: str) -> str:
    """Return a field of `extra` as it is classified: what reads alike is one class."""
    return single_spaced(nfc(str((clip.extra or {}).get(name))))
