"""Clips as training items: frames, read from video, and labels. B clips, T frames, H and W pixels after cropping."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from slt_pipeline.config.video import VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.labels import Labeller, padding_of
from slt_pipeline.corpora.padding import Padding, repeated
from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of, require_a_step
from slt_pipeline.errors import SltError
from slt_pipeline.video.reader import open_video
from slt_pipeline.video.sampling import eval_indices, train_indices
from slt_pipeline.video.transforms import EvalTransform, TrainTransform, pad_frames

_IN_A_ROW = 20
"""Clips that are tried in place of one that cannot be read: where they all fail, it is not the clips."""


class Item(NamedTuple):
    """A clip to train on."""

    frames: torch.Tensor
    """(3, T, H, W)."""
    clip: Clip
    rejected: dict[str, str]
    """The clips that could not be read, in whose place it stands, and why."""


class ClipDataset(Dataset):
    """Training items by (epoch, index): sampled, cropped and jittered by a generator seeded with (seed, epoch, index).

    An item is therefore the same whoever makes it and whenever, which is what an exact resume needs. In the place of a
    clip that cannot be read stands the next one that can, so that batches keep their size.
    """

    def __init__(self, clips: Sequence[Clip], root: Path, config: VideoConfig, seed: int, *, strict: bool = False):
        """Take clips.

        Args:
            clips: in the order of their indices.
            root: media root.
            config: how frames are sampled and cropped.
            seed: of all that is drawn.
            strict: whether a clip that cannot be read is an error.
        """
        self.clips, self.root, self.config, self.seed, self.strict = list(clips), root, config, seed, strict
        self.transform = TrainTransform(config.transform)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """Return an item.

        Raises:
            SltError: the clip, and those behind it, cannot be read.
        """
        epoch, index = key
        rejected: dict[str, str] = {}
        for behind in range(min(_IN_A_ROW, len(self))):
            clip = self.clips[(index + behind) % len(self)]
            try:
                return Item(self._drawn(clip, np.random.default_rng([self.seed, epoch, index])), clip, rejected)
            except UNREADABLE as error:
                rejected[clip.id] = reason_of(error)
            if self.strict:
                raise SltError(f"clip {clip.id}: {rejected[clip.id]} (without --strict it would be left out)")
        first, reason = next(iter(rejected.items()))
        raise SltError(
            f"{len(rejected)} clips in a row cannot be read, the first is {first}: {reason}; is the media root right?"
        )

    def _drawn(self, clip: Clip, rng: np.random.Generator) -> torch.Tensor:
        video = open_video(clip.video, self.root)
        require_a_step(video.num_frames, self.config.sampling, video.name)
        return self.transform(video.read(train_indices(video.num_frames, self.config.sampling, rng)), rng)


@dataclass(frozen=True)
class FrameBatches:
    """Collate function of `ClipDataset`: frames padded to one length, and what the labeller makes of the clips."""

    labels: Labeller
    rejected_as: str = "rejected"
    """Key of a batch under which the training loop looks for clips that could not be read."""

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """Return `frames (B, 3, T, H, W)`, `frame_lengths (B,)`, the labels, and the reasons of rejected clips by id.

        The last are there only if there are some.
        """
        frames, frame_lengths = pad_frames([item.frames for item in items])
        batch = {"frames": frames, "frame_lengths": frame_lengths, **self.labels([item.clip for item in items])}
        rejected = {name: reason for item in items for name, reason in item.rejected.items()}
        return {**batch, self.rejected_as: rejected} if rejected else batch

    @property
    def padding(self) -> dict[str, Padding]:
        """How the tensors of a batch are padded."""
        return {"frames": repeated(2), **padding_of(self.labels)}


class EvalFrames:
    """A clip's frames as evaluation and extraction see them: all of them, centre-cropped, nothing drawn."""

    def __init__(self, config: VideoConfig):
        self.config = config
        self.transform = EvalTransform(config.transform)

    def __call__(self, reference: str, root: Path | None) -> torch.Tensor:
        """Return the frames (3, T, H, W) of a media reference below `root`, T a multiple of 4.

        Raises:
            SltError: the video cannot be read, or is too short for a single step of the encoder.
        """
        video = open_video(reference, root)
        require_a_step(video.num_frames, self.config.sampling, video.name)
        indices = eval_indices(video.num_frames, self.config.sampling)
        return self.transform(video.read(indices))
