"""Clips that a stage leaves out because they cannot be read: looked for before the start, listed, and counted."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch

from slt_pipeline.config.video import SamplingConfig, VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import ClipDataset, FrameBatches, shape_of_clip
from slt_pipeline.corpora.labels import Labeller
from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of, why_unusable
from slt_pipeline.errors import SltError
from slt_pipeline.files import change_json_lines, read_json_lines
from slt_pipeline.training import distributed
from slt_pipeline.training.checkpoint import list_checkpoints
from slt_pipeline.video.prepared import FrameShape

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOKED_AT = 32
"""Clips of a split whose size and rate are looked at."""
_NAMED = 5
"""Clips that are named at once in the log; the rest are counted."""


@dataclass(frozen=True)
class Unreadable:
    """What stands in the place of a clip's result."""

    reason: str


def attempt(call: Callable[[], T]) -> T | Unreadable:
    """Return what a call makes of a clip, or why the clip cannot be read."""
    try:
        return call()
    except UNREADABLE as error:
        return Unreadable(reason_of(error))


class LeftOut:
    """The clips that a stage leaves out, with the reasons, in a file that it may share with others.

    A row of the file is `{"id": ..., "reason": ..., "by": stage}`. Those of other stages stay; its own stay as long as
    its run goes on, and go with it.
    """

    def __init__(self, stage: str, file: Path, *, strict: bool = False):
        """Look at nothing yet.

        Args:
            stage: which leaves them out.
            file: where they are listed.
            strict: whether the first one is an error.
        """
        self.stage, self.file, self.strict = stage, file, strict
        self._reasons: dict[str, str] = {}
        self._splits: dict[str, list[str]] = {}

    def usable(
        self,
        clips: Sequence[Clip],
        root: Path,
        sampling: SamplingConfig,
        why_not: Callable[[Clip], str | None] = lambda clip: None,
    ) -> list[Clip]:
        """Return the clips of a split that look as if they could be read; nothing is decoded.

        Args:
            clips: all of the split, at least one.
            root: media root.
            sampling: says how short is too short.
            why_not: what else the stage has against a clip; None: nothing.

        Raises:
            SltError: none looks so, or with `strict` one does not.
        """
        bad = distributed.first(lambda: _unusable(clips, root, sampling, why_not))
        self._splits[clips[0].split] = [clip.id for clip in clips]
        self._require_some(clips, bad)
        self._take(bad)
        return [clip for clip in clips if clip.id not in bad]

    def shape(self, clips: Sequence[Clip], root: Path) -> FrameShape:
        """Return the size and rate that most clips have, of some that are evenly chosen; says so if others differ.

        Raises:
            SltError: none of the clips can be read, or with `strict` one that was chosen cannot.
        """
        some = clips[:: max(1, len(clips) // _LOOKED_AT)]
        found: dict[FrameShape, int] = {}
        bad: dict[str, str] = {}
        for number, clip in enumerate(chain(some, clips)):
            if found and number >= len(some):
                break  # the others are looked at only until one can be read
            shape = attempt(partial(shape_of_clip, clip, root))
            if isinstance(shape, Unreadable):
                bad[clip.id] = shape.reason
            else:
                found[shape] = found.get(shape, 0) + 1
        self._require_some(clips, bad)
        self._take(bad)
        chosen = max(found, key=lambda shape: found[shape])
        if len(found) > 1:
            others = ", ".join(f"{s.width}x{s.height} at {s.fps:g}" for s in found if s != chosen)
            brought = f"{chosen.width}x{chosen.height} at {chosen.fps:g}"
            log.warning("%s: clips differ, such as %s; all are brought to %s fps", self.stage, others, brought)
        return chosen

    def begin(self, folder: Path) -> None:
        """List what was found so far, when a run begins, or goes on, in a folder; the first process alone does."""
        if list_checkpoints(folder / "checkpoints"):
            earlier = {row["id"]: row["reason"] for row in read_json_lines(self.file) if row.get("by") == self.stage}
            self._reasons = earlier | self._reasons
        self._list()

    def items(
        self,
        clips: Sequence[Clip],
        root: Path,
        video: VideoConfig,
        shape: FrameShape,
        seed: int,
        labels: Labeller,
        device: torch.device,
        window: int | None = None,
    ) -> dict[str, Any]:
        """Return the fields of a `Trainable` whose items are frames of clips, and which tells what it leaves out.

        Args:
            clips: to train on.
            root: media root.
            video: how frames are sampled and cropped.
            shape: what all clips are brought to.
            seed: of all that is drawn.
            labels: what else of the clips is in a batch.
            device: where frames are made of pixels, unless it is the processor, beside which loaders do it.
            window: consecutive frames from a random place of each; None: as `video.sampling` says.
        """
        batches = FrameBatches(labels, video.transform, at_once=device.type == "cpu")
        return {
            "dataset": ClipDataset(clips, root, video, shape, seed, window=window, strict=self.strict),
            "num_items": len(clips),
            "collate": batches,
            "prepare": batches.made,
            "heavy": True,
            "padding": batches.padding,
            "lengths": [clip.num_frames for clip in clips],
            "names": [clip.id for clip in clips],
            "on_rejected": self.add,
        }

    def add(self, reasons: Mapping[str, str]) -> None:
        """List clips that were left out on the way: what the training loop calls with all so far."""
        if self._take(reasons):
            self._list()

    def scored(self, clips: Sequence[Clip], found: Sequence[T | Unreadable]) -> tuple[list[Clip], list[T]]:
        """Return the clips that have a result, and the results; the others are listed and counted in a warning.

        Args:
            clips: of one split.
            found: a result of each, or why there is none, the same in every process.

        Raises:
            SltError: no clip has a result, or with `strict` one has none.
        """
        bad = {clip.id: r.reason for clip, r in zip(clips, found, strict=True) if isinstance(r, Unreadable)}
        self._require_some(clips, bad)
        self.add(bad)
        self._warn(clips[0].split)
        good = [(clip, r) for clip, r in zip(clips, found, strict=True) if not isinstance(r, Unreadable)]
        return [clip for clip, _ in good], [result for _, result in good]

    def tell(self) -> None:
        """Say at the end how many clips of each split were left out."""
        for split in self._splits:
            self._warn(split)

    def _take(self, reasons: Mapping[str, str]) -> bool:
        """Note reasons, and warn of those that are new; say whether there are such."""
        new = {name: reason for name, reason in reasons.items() if name not in self._reasons}
        self._reasons |= new
        for name, reason in list(new.items())[:_NAMED]:
            log.warning("%s: %s is left out: %s", self.stage, name, reason)
        if len(new) > _NAMED:
            log.warning("%s: so are %d more", self.stage, len(new) - _NAMED)
        return bool(new)

    def _warn(self, split: str) -> None:
        ids = self._splits[split]
        number = sum(name in self._reasons for name in ids)
        if number:
            log.warning("%s: %d of %d %s clips are left out: see %s", self.stage, number, len(ids), split, self.file)

    def _require_some(self, clips: Sequence[Clip], bad: Mapping[str, str]) -> None:
        if not bad:
            return
        name, reason = next(iter(bad.items()))
        if self.strict:
            raise SltError(f"clip {name}: {reason} (without --strict it would be left out)")
        if len(bad) == len(clips):
            raise SltError(
                f"none of {len(clips)} {clips[0].split} clips can be read, such as {name}: {reason}; is the media root "
                "right?"
            )

    def _list(self) -> None:
        if not distributed.is_main():
            return
        own = [{"id": name, "reason": reason, "by": self.stage} for name, reason in self._reasons.items()]
        change_json_lines(self.file, lambda rows: [row for row in rows if row.get("by") != self.stage] + own)


def _unusable(
    clips: Sequence[Clip], root: Path, sampling: SamplingConfig, why_not: Callable[[Clip], str | None]
) -> dict[str, str]:
    reasons = ((clip.id, why_not(clip) or why_unusable(clip, root, sampling)) for clip in clips)
    return {name: reason for name, reason in reasons if reason is not None}
