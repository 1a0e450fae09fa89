"""Video to streams: clips are read ahead, encoded alone or with others of their length, and long ones in windows."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch

from slt_pipeline.config.video import VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import EvalClips, EvalItem, EvalVideo
from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of
from slt_pipeline.models.engines import EngineError
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.models.windows import MARGIN, features_of
from slt_pipeline.systems.left_out import Unreadable
from slt_pipeline.training.loader import loaded_ahead, num_loaders
from slt_pipeline.video.prepared import FrameShape
from slt_pipeline.video.transforms import to_input

_WINDOW = 400
"""Frames of the longest piece: what the published systems see of a clip at most (FACTS 2.1)."""
_AT_ONCE = {"cpu": 1, "cuda": 8}
"""Clips of equal length that are encoded at once, by kind of device: a CPU is as fast with one."""
_SORTED = 64
"""Clips among which those of equal length meet."""
_BYTES_PER_PIXEL = 110
"""What S3D of the published width takes for a frame of a clip, about, by pixel that enters it (measured: 5.4 MB at
224x224)."""


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of a clip."""

    streams: dict[str, torch.Tensor]
    """(S, D) each, where it computed."""
    source: str
    """What it was made from (`corpora.features.clip_source`); empty where nobody asked."""


@dataclass
class FrameReader:
    """Reads clips ahead of whoever computes with their frames."""

    video: VideoConfig
    """How frames are made."""
    shape: FrameShape
    """Size and rate that they are brought to."""
    device: torch.device
    """Where they are needed."""
    num_workers: int | None = None
    """What the recipe says of loaders; None: as many as keep the device busy."""
    decode_on: str | None = None
    """Device on which video files are decoded; None: by PyAV, as in training."""
    waited: float = field(default=0.0, init=False)
    """Seconds that were waited for frames so far."""

    def items(self, dataset: EvalClips) -> Iterator[tuple[Clip, EvalItem]]:
        """Yield clips with their pixels, in order."""
        number = num_loaders(self.num_workers, self.device)
        with closing(loaded_ahead(dataset, number, self.device)) as items:
            for clip in dataset.clips:
                asked = time.monotonic()
                item = next(items)
                self.waited += time.monotonic() - asked
                yield clip, item

    def read(self, clips: Sequence[Clip], root: Path) -> Iterator[tuple[Clip, torch.Tensor | Unreadable]]:
        """Yield the frames (1, 3, T, S, S) of whole clips, or why one cannot be read."""
        for clip, item in self.items(EvalClips(clips, root, self.video, self.shape)):
            yield clip, Unreadable(item.reason or "") if item.pixels is None else self.frames([item.pixels])

    def frames(self, pixels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Make frames (B, 3, T, S, S) of pixels (T, H, W, 3) of equal lengths, on the device."""
        there = (each.to(self.device, non_blocking=True) for each in pixels)
        return torch.stack([to_input(each, self.video.transform) for each in there])


@dataclass
class ClipEncoder:
    """A visual encoder that reads video by itself: the one path of validation, extraction and translation."""

    encoder: VisualEncoder
    reader: FrameReader
    engine: Callable[[torch.Tensor], torch.Tensor] | None = None
    """What computes the features (B, S, C) of frames (B, 3, T, H, W); None: the encoder's own S3D."""
    sources: bool = False
    """Whether to tell what each clip was made from."""

    def clips(self, clips: Sequence[Clip], root: Path | None) -> Iterator[tuple[Clip, Encoded | Unreadable]]:
        """Yield what each clip becomes, or why it cannot be read; on a GPU in another order."""
        reader = self.reader
        seen = (self._order(clips), root, reader.video, reader.shape)
        dataset = EvalClips(*seen, self.window + MARGIN, self.sources, reader.decode_on)
        for together in self._together(reader.items(dataset)):
            yield from self._encoded(dataset, together)

    def whole(self, video: EvalVideo) -> dict[str, torch.Tensor]:
        """Return the streams (S, D) of a video, of whatever length.

        Raises:
            SltError: it cannot be decoded.
        """
        size = len(video) if len(video) <= self.window + MARGIN else self.window
        with self._evaluating():
            return self._streams(features_of(self._features, (self.reader.frames([p]) for p in video.pieces(size))))[0]

    @property
    def window(self) -> int:
        """Frames that are encoded at once of a clip that is longer than that and its margins."""
        config = self.encoder.s3d.config
        each = _BYTES_PER_PIXEL * self.reader.video.transform.image_size**2 * config.width
        fitting = int(config.memory_gb * 2**30 / each) - 2 * MARGIN
        return max(MARGIN, min(_WINDOW, fitting) // 4 * 4)

    @property
    def _at_once(self) -> int:
        return _AT_ONCE.get(self.reader.device.type, 1)

    def _order(self, clips: Sequence[Clip]) -> list[Clip]:
        if self._at_once == 1:
            return list(clips)
        found, rest = [], iter(clips)
        while some := list(islice(rest, _SORTED)):
            found += sorted(some, key=lambda clip: clip.num_frames)
        return found

    def _together(self, items: Iterator[tuple[Clip, EvalItem]]) -> Iterator[list[tuple[Clip, EvalItem]]]:
        """Group neighbours of equal length: no padding reaches a number."""
        group: list[tuple[Clip, EvalItem]] = []
        for clip, item in items:
            if group and (len(group) == self._at_once or not _alike(group[-1][1], item)):
                yield group
                group = []
            group.append((clip, item))
        if group:
            yield group

    def _encoded(
        self, dataset: EvalClips, together: Sequence[tuple[Clip, EvalItem]]
    ) -> Iterator[tuple[Clip, Encoded | Unreadable]]:
        pixels = [item.pixels for _, item in together if item.pixels is not None]
        if pixels:
            with self._evaluating():
                streams = self._streams(self._features(self.reader.frames(pixels)))
            for (clip, item), found in zip(together, streams, strict=True):
                yield clip, Encoded(found, item.source)
            return
        ((clip, item),) = together
        try:
            yield clip, Unreadable(item.reason) if item.reason else Encoded(self.whole(dataset.open(clip)), item.source)
        except EngineError:
            raise
        except UNREADABLE as error:
            yield clip, Unreadable(reason_of(error))

    def _features(self, frames: torch.Tensor) -> torch.Tensor:
        return (self.engine or self.encoder.s3d.pooled)(frames)

    def _streams(self, features: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """Run the head once over the features (B, S, C) of whole clips."""
        streams = self.encoder.streams(features)
        return [{name: stream[row] for name, stream in streams.items()} for row in range(len(features))]

    def _evaluating(self) -> torch.inference_mode:
        self.encoder.eval()
        return torch.inference_mode()


def _alike(one: EvalItem, other: EvalItem) -> bool:
    return one.pixels is not None and other.pixels is not None and one.pixels.shape == other.pixels.shape
