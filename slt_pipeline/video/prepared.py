"""A video as an encoder sees it: at its rate and frame size, made smaller as it is decoded, still bytes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slt_pipeline.config.video import TransformConfig
from slt_pipeline.errors import SltError
from slt_pipeline.video.base import Video
from slt_pipeline.video.fit import fit_frame, placed
from slt_pipeline.video.transforms import prepare_frame

_MAX_FRAMES = 2**22
"""Frames of the longest video, two days. A file of few bytes may claim that its last frame stays for years."""


@dataclass(frozen=True)
class FrameShape:
    """Rate and size of the frames that an encoder is trained on, to which every video is brought."""

    fps: float
    width: int | None = None
    """Pixels; None, as is `height`: videos keep their sizes."""
    height: int | None = None


class PreparedVideo:
    """Frames of a video at the times of an encoder's frames, each of its size. One picture is held at a time.

    T counts these frames, H and W are those of the prepared pictures.
    """

    def __init__(self, video: Video, transform: TransformConfig, shape: FrameShape):
        """Place the frames; nothing is decoded yet.

        Raises:
            SltError: the video cannot be read, or lasts for days.
        """
        self.name, self.seconds = video.name, video.seconds
        if not self.seconds * shape.fps < _MAX_FRAMES:
            raise SltError(
                f"{self.name}: lasts {self.seconds / 3600:.0f} hours by its own time stamps, at most "
                f"{_MAX_FRAMES / shape.fps / 3600:.0f} are taken; cut it into sentences, or write it anew with FFmpeg"
            )
        self._video, self._transform, self._shape = video, transform, shape
        self._at = placed(video.times, video.seconds, shape.fps)

    @property
    def num_frames(self) -> int:
        """Frames at the encoder's rate."""
        return len(self._at)

    def frames(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the frames at these indices, which do not fall: each (H, W, 3) uint8 RGB.

        Raises:
            SltError: a frame cannot be decoded.
        """
        at, last, prepared = self._at[indices], -1, None
        for index, picture in zip(at.tolist(), self._video.frames(at), strict=True):
            if prepared is None or index != last:
                last, prepared = index, self._prepared(picture)
            yield prepared

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the frames at these indices, at least one: (T, H, W, 3) uint8 RGB."""
        out = None
        for row, frame in enumerate(self.frames(indices)):
            if out is None:
                out = np.empty((len(indices), *frame.shape), dtype=np.uint8)
            out[row] = frame
        assert out is not None, "no frame was asked for"
        return out

    def _prepared(self, picture: np.ndarray) -> np.ndarray:
        if self._shape.width is not None and self._shape.height is not None:
            picture = fit_frame(picture, self._shape.width, self._shape.height)
        return prepare_frame(picture, self._transform)
