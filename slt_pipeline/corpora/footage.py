"""The frames of a clip: all of a video, or those that the manifest says are the clip, by number or by time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError
from slt_pipeline.video.base import Indices, Video, in_order
from slt_pipeline.video.reader import open_video


def open_clip(clip: Clip, root: Path | None, decode_on: str | None = None) -> Video:
    """Open what a clip shows: whoever reads frames of clips opens them here.

    Args:
        clip: of a manifest; of pictures it says the frames per second.
        root: media root.
        decode_on: as of `open_video`.

    Raises:
        SltError: there is no such video, or it ends before the clip; the path is named.
    """
    video = open_video(clip.video, root, clip.fps, decode_on)
    if clip.start is not None or clip.end is not None:
        return _Part(video, *frames_between(video, clip.start, clip.end))
    return video if clip.frames is None else _Part(video, *clip.frames)


def frames_between(video: Video, start: float | None, end: float | None) -> tuple[int, int]:
    """Return the first frame of a span of a video, and the one behind its last; nothing of it is decoded.

    A frame belongs to the span in which it begins to be shown, so that spans that follow each other share none.

    Args:
        video: the whole of it.
        start: seconds from its first frame; None: from there.
        end: seconds; None: to its end. Behind it is where sound may last longer, up to half a second.

    Raises:
        SltError: the video ends before, or no frame begins in the span.
    """
    begin, stop = start or 0.0, video.seconds if end is None else end
    if stop > video.seconds + _AFTER_THE_LAST or begin >= video.seconds:
        raise SltError(f"{video.name}: the clip is {begin:g} to {stop:g} s of it, and it lasts {video.seconds:.3f} s")
    first, behind = np.searchsorted(video.times, (begin - _ROUNDED, stop - _ROUNDED)).tolist()
    behind = video.num_frames if end is None else behind
    if first >= behind:
        raise SltError(f"{video.name}: no frame begins between {begin:g} and {stop:g} s, where the clip should be")
    return first, behind


_ROUNDED = 0.0011
"""Seconds: annotations and some containers count in milliseconds, and either may have rounded by half of one."""
_AFTER_THE_LAST = 0.5
"""Seconds."""


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
