"""The frames of a clip: all of a video, or those that the manifest says are the clip."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError
from slt_pipeline.video.base import Indices, Video, in_order
from slt_pipeline.video.reader import open_video


def open_clip(clip: Clip, root: Path | None) -> Video:
    """Open what a clip shows: whoever reads frames of clips opens them here.

    Args:
        clip: of a manifest; of pictures it says the frames per second.
        root: media root.

    Raises:
        SltError: there is no such video, or it ends before the clip; the path is named.
    """
    video = open_video(clip.video, root, clip.fps)
    return video if clip.frames is None else _Part(video, *clip.frames)


class _Part(Video):
    """Frames `start` to `stop`, which is none of them, of a video."""

    def __init__(self, whole: Video, start: int, stop: int):
        if stop > whole.num_frames:
            raise SltError(f"{whole.name}: the clip is frames {start} to {stop} of it, and it has {whole.num_frames}")
        self.name, self.fps, self.width, self.height = whole.name, whole.fps, whole.width, whole.height
        self._whole, self._start, self._stop = whole, start, stop

    @property
    def times(self) -> np.ndarray:
        times = self._whole.times[self._start : self._stop]
        return times - times[:1]

    @property
    def seconds(self) -> float:
        times, last = self._whole.times, min(self._stop, len(self._whole.times))
        end = times[last] if last < len(times) else self._whole.seconds
        return float(end - times[self._start])

    def frames(self, indices: Indices) -> Iterator[np.ndarray]:
        return self._whole.frames(in_order(indices, self.num_frames, self.name) + self._start)
