"""What every clip offers, whatever holds it: size, times, frames as a stream and frames as an array.

T = frames, H = height, W = width in pixels. Pictures are RGB, uint8. Nothing here needs torch.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from slt_pipeline.errors import SltError

Indices = Sequence[int] | np.ndarray


class Video(Protocol):
    """One clip. Pictures are as `ffmpeg` shows them: turned and mirrored as the file says, with square pixels."""

    name: str
    """Path for messages."""
    fps: float
    """Nominal frames per second; pictures carry none, so theirs is what the caller said."""
    width: int
    height: int

    @property
    def times(self) -> np.ndarray:
        """Seconds from the first frame to each, from the frames' own time stamps: (T,) float64, rising."""
        ...

    @property
    def seconds(self) -> float:
        """How long the clip lasts: up to the end of its last frame."""
        ...

    def frames(self, indices: Indices) -> Iterator[np.ndarray]:
        """Decode forward, one picture in memory at a time.

        Args:
            indices: which frames; they may repeat, and then the same picture comes again, but never fall.

        Yields:
            (H, W, 3) uint8, not to be written to.

        Raises:
            SltError: an index that does not exist, or frames that cannot be decoded; the path is named.
        """
        ...

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.times)

    def read(self, indices: Indices | None = None) -> np.ndarray:
        """The frames at these indices (any order, repeats allowed), or all, at once: (T, H, W, 3) uint8.

        Raises:
            SltError: as `frames`; or the memory for so many is not there.
        """
        wanted = np.arange(self.num_frames) if indices is None else np.asarray(indices, dtype=np.int64)
        order = np.argsort(wanted, kind="stable")
        try:
            out = np.empty((len(wanted), self.height, self.width, 3), dtype=np.uint8)
        except MemoryError:
            size = f"{len(wanted)} frames of {self.width}x{self.height}"
            raise SltError(f"{self.name}: not enough memory for {size} at once; cut it into shorter clips") from None
        for row, picture in zip(order, self.frames(wanted[order]), strict=True):
            out[row] = picture
        return self.read() if indices is None and self.num_frames != len(wanted) else out


def decoded_length(video: Video) -> int:
    """Decode a video file to its end and return how many frames there truly are; of pictures the last is decoded.

    Raises:
        SltError: frames that cannot be decoded.
    """
    for _ in video.frames([0, video.num_frames - 1]):  # from the first: it is no part of it that is looked at
        pass
    return video.num_frames


def in_order(indices: Indices, num_frames: int, name: str) -> np.ndarray:
    """Check indices for `Video.frames`: (T,) int64.

    Raises:
        SltError: one does not exist.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    outside = wanted[(wanted < 0) | (wanted >= num_frames)]
    if outside.size:
        raise SltError(f"{name}: has {num_frames} frames; frame {outside[0]} was asked for")
    if np.any(np.diff(wanted) < 0):
        raise ValueError(f"{name}: frames come forward, and the indices fall")
    return wanted


def require_pixels(width: int, height: int, what: str) -> None:
    """Refuse a picture of more pixels than Pillow takes for a real one.

    Raises:
        SltError: both numbers.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise SltError(
            f"{what} has {width}x{height} = {width * height} pixels, at most {limit} are read; scale it down"
        )
