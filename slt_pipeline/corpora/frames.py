"""Clips as training items, and as evaluation sees them: frames read from video. T frames, H and W their pixels."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from slt_pipeline.config.video import TransformConfig, VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import clip_source
from slt_pipeline.corpora.footage import open_clip
from slt_pipeline.corpora.labels import Labeller, padding_of
from slt_pipeline.corpora.padding import Padding, repeated
from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of, require_a_step
from slt_pipeline.errors import SltError
from slt_pipeline.video.base import Video
from slt_pipeline.video.prepared import FrameShape, PreparedVideo
from slt_pipeline.video.sampling import eval_indices, random_window, train_indices
from slt_pipeline.video.transforms import Augmentation, center_crop, draw_augmentation, pad_frames, to_input

_IN_A_ROW = 20
"""Clips that are tried in place of one that cannot be read: where they all fail, it is not the clips."""


class Item(NamedTuple):
    """A clip to train on."""

    pixels: torch.Tensor
    """(T, H, W, 3) uint8 RGB."""
    augmentation: Augmentation
    """What is done to them."""
    clip: Clip
    rejected: dict[str, str]
    """The clips that could not be read, in whose place it stands, and why."""


class ClipDataset(Dataset):
    """Training items by (epoch, index): sampled and augmented by a generator seeded with (seed, epoch, index).

    An item is therefore the same whoever makes it and whenever, which is what an exact resume needs. In the place of a
    clip that cannot be read stands the next one that can, so that batches keep their size.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        root: Path,
        config: VideoConfig,
        shape: FrameShape,
        seed: int,
        *,
        window: int | None = None,
        strict: bool = False,
    ):
        """Take clips.

        Args:
            clips: in the order of their indices.
            root: media root.
            config: how frames are sampled and cropped.
            shape: what all clips are brought to.
            seed: of all that is drawn.
            window: consecutive frames from a random place; None: frames as `config.sampling` says.
            strict: whether a clip that cannot be read is an error.
        """
        self.clips, self.root, self.config, self.shape = list(clips), root, config, shape
        self.seed, self.window, self.strict = seed, window, strict

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
                pixels, drawn = self._drawn(clip, np.random.default_rng([self.seed, epoch, index]))
                return Item(pixels, drawn, clip, rejected)
            except UNREADABLE as error:
                rejected[clip.id] = reason_of(error)
            if self.strict:
                raise SltError(f"clip {clip.id}: {rejected[clip.id]} (without --strict it would be left out)")
        first, reason = next(iter(rejected.items()))
        raise SltError(
            f"{len(rejected)} clips in a row cannot be read, the first is {first}: {reason}; is the media root right?"
        )

    def _drawn(self, clip: Clip, rng: np.random.Generator) -> tuple[torch.Tensor, Augmentation]:
        video = opened(clip, self.root, self.config, self.shape)
        if self.window is None:
            pixels = video.read(train_indices(video.num_frames, self.config.sampling, rng))
        else:
            needed, rows = np.unique(random_window(video.num_frames, self.window, rng), return_inverse=True)
            pixels = video.read(needed)[rows]
        height, width = pixels.shape[1:3]
        return torch.from_numpy(pixels), draw_augmentation(height, width, self.config.transform, rng)


@dataclass(frozen=True)
class FrameBatches:
    """Collate function of `ClipDataset`: pixels with what is to be done to them, and the labels of the clips."""

    labels: Labeller
    transform: TransformConfig
    at_once: bool = True
    """Whether frames are made of the pixels at once: for a device that computes where the batch is put together."""
    rejected_as: str = "rejected"
    """Key of a batch under which the training loop looks for clips that could not be read."""

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """Return the labels, the reasons of rejected clips by id if there are some, and what `made` makes frames of."""
        batch: dict[str, Any] = self.labels([item.clip for item in items])
        batch |= {"pixels": [item.pixels for item in items], "augmentations": [item.augmentation for item in items]}
        if rejected := {name: reason for item in items for name, reason in item.rejected.items()}:
            batch[self.rejected_as] = rejected
        return self.made(batch) if self.at_once else batch

    @torch.no_grad()
    def made(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch with `frames (B, 3, T, S, S)`, padded, and `frame_lengths (B,)`, made where its pixels are."""
        if "pixels" not in batch:
            return batch
        rest = {name: value for name, value in batch.items() if name not in ("pixels", "augmentations")}
        clips = zip(batch["pixels"], batch["augmentations"], strict=True)
        frames, lengths = pad_frames([to_input(pixels, self.transform, drawn) for pixels, drawn in clips])
        return {**rest, "frames": frames, "frame_lengths": lengths.to(frames.device)}

    @property
    def padding(self) -> dict[str, Padding]:
        """How the tensors of a batch are padded."""
        return {"frames": repeated(2), **padding_of(self.labels)}


class EvalVideo:
    """A video as validation, extraction and translation see it: in order, centre-cropped, nothing drawn."""

    def __init__(self, video: Video, config: VideoConfig, shape: FrameShape):
        """Look which of its frames are seen; nothing is decoded yet.

        Args:
            video: all of it is looked at.
            config: how frames are chosen and cropped.
            shape: what it is brought to.

        Raises:
            SltError: it cannot be read, or is too short for a single step of the encoder.
        """
        self._video = PreparedVideo(video, config.transform, shape)
        require_a_step(self._video.num_frames, config.sampling, self._video.name)
        self.seconds, self.all_frames = self._video.seconds, self._video.num_frames
        self._crop, self.indices = config.transform.center_crop, eval_indices(self.all_frames, config.sampling)

    def __len__(self) -> int:
        """Count the frames that are seen."""
        return len(self.indices)

    def pieces(self, size: int) -> Iterator[torch.Tensor]:
        """Yield the frames in pieces (T, H, W, 3) uint8 RGB of so many frames; the last has what is left.

        Raises:
            SltError: a frame cannot be decoded.
        """
        piece = None
        for number, frame in enumerate(self._video.frames(self.indices)):
            cut, row = center_crop(frame, self._crop), number % size
            if piece is None or row == 0:  # at once: frames kept one by one between large pictures would tear the heap
                piece = np.empty((min(size, len(self) - number), *cut.shape), dtype=np.uint8)
            piece[row] = cut
            if row == len(piece) - 1:
                yield torch.from_numpy(piece)


class EvalItem(NamedTuple):
    """A clip for validation or extraction."""

    source: str
    """What its features are made from (`corpora.features.clip_source`), looked at before it was read; empty where
    nobody asked."""
    pixels: torch.Tensor | None
    """(T, H, W, 3) uint8 RGB; None: the clip is longer than what is read at once, or cannot be read."""
    reason: str | None
    """Why it cannot be read."""


@dataclass(frozen=True)
class EvalClips(Dataset):
    """Clips for validation or extraction, by index."""

    clips: Sequence[Clip]
    root: Path | None
    config: VideoConfig
    shape: FrameShape
    most: float = math.inf
    """Frames of the longest clip that is read at once; of a longer one nothing is decoded here."""
    sources: bool = False
    """Whether to look what features are made from: for those who keep them."""
    decode_on: str | None = None
    """Device on which video files are decoded; None: by PyAV (`video.reader.open_video`)."""

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> EvalItem:
        clip = self.clips[index]
        source = clip_source(clip, self.root) if self.sources and self.root is not None else ""
        try:
            video = self.open(clip)
            pixels = next(video.pieces(len(video))) if len(video) <= self.most else None
            return EvalItem(source, pixels, None)
        except UNREADABLE as error:
            return EvalItem(source, None, reason_of(error))

    def open(self, clip: Clip) -> EvalVideo:
        """Open a clip.

        Raises:
            SltError: it cannot be read or is too short.
        """
        return EvalVideo(open_clip(clip, self.root, self.decode_on), self.config, self.shape)


def opened(clip: Clip, root: Path | None, config: VideoConfig, shape: FrameShape) -> PreparedVideo:
    """Open a clip, all of whose frames can be asked for.

    Raises:
        SltError: it cannot be read or is too short.
    """
    video = PreparedVideo(open_clip(clip, root), config.transform, shape)
    require_a_step(video.num_frames, config.sampling, video.name)
    return video


def shape_of_clip(clip: Clip, root: Path) -> FrameShape:
    """Return size and rate of a clip's frames.

    Raises:
        SltError: it cannot be read.
    """
    video = open_clip(clip, root)
    return FrameShape(round(video.fps, 3), video.width, video.height)
