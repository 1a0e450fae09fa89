"""When the frames of a video file are shown, from their own time stamps; T = frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

_SAME_RATE = 0.02
"""What rounded time stamps may take from a rate, of a short clip."""
LONGEST = 108_000.0
"""Seconds: of a longer step `ffmpeg` says, too, that it is an error (30 hours)."""
LONGEST_OF_STREAMS = 10.0
"""Seconds: the same of formats whose clock may begin anew on the way, such as those of television."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of a clip's frames, and by what each is known while decoding."""

    keys: np.ndarray
    """(T,) int64, rising: time stamps; frame numbers where the stamps are broken."""
    times: np.ndarray
    """(T,) float64: seconds from the first frame."""
    seconds: float
    """To the end of the last frame."""
    stamped: bool
    """Whether keys are time stamps."""

    def rate(self, claimed: float) -> float:
        """Return the frames per second: the claimed rate where it is about that of the times, else that of the times.

        Pauses and gaps do not count: a step that is half as long again as most is none of the rate.

        Args:
            claimed: as a container says, exactly or wrongly.
        """
        steps = np.diff(self.times)
        if not len(steps):
            return claimed
        usual = np.median(steps)
        rate = 1 / float(steps[np.abs(steps - usual) <= usual / 2].mean())
        return claimed if math.isclose(rate, claimed, rel_tol=_SAME_RATE) else rate


def timing_of(
    stamps: Sequence[int | None], last_duration: int | None, time_base: float, fps: float, longest: float = LONGEST
) -> Timing:
    """Return the timing of frames in the order in which they are shown.

    A step between two frames that is not known, zero, backwards or too long counts as one of the nominal rate.

    Args:
        stamps: in units of `time_base`; at least one.
        last_duration: of the last frame, in the same units; none, zero or too long: one step of the nominal rate.
        time_base: seconds.
        fps: nominal rate.
        longest: seconds of the longest step that is believed.
    """
    known = np.array([np.nan if stamp is None else stamp for stamp in stamps], dtype=np.float64)
    steps = np.diff(known) * time_base
    believed = (steps > 0) & (steps <= longest)
    stamped = not np.isnan(known).any() and bool((steps > 0).all())
    keys = np.array(stamps, dtype=np.int64) if stamped else np.arange(len(stamps))
    if stamped and believed.all():
        times = (keys - keys[0]) * time_base
    elif believed.any():
        times = np.concatenate([[0.0], np.cumsum(np.where(believed, steps, 1 / fps))])
    else:
        times = np.arange(len(stamps)) / fps
    last = (last_duration or 0) * time_base
    return Timing(keys, times, float(times[-1]) + (last if 0 < last <= longest else 1 / fps), stamped)


def timing_of_decoded(
    stamps: Sequence[tuple[int | None, int | None]],
    last_duration: int | None,
    time_base: float,
    fps: float,
    longest: float = LONGEST,
) -> Timing:
    """Return the timing of frames that came in this order, by when each is to be shown and when to be decoded.

    Some files have but the latter: as `ffmpeg` does, that is taken which is broken less often.
    """
    shown, decoded = ([pair[which] for pair in stamps] for which in (0, 1))
    if _broken(shown) <= _broken(decoded):
        return timing_of(shown, last_duration, time_base, fps, longest)
    timing = timing_of(decoded, last_duration, time_base, fps, longest)
    return replace(timing, keys=np.arange(len(stamps)), stamped=False)


def _broken(stamps: Sequence[int | None]) -> int:
    return sum(now is None or (before is not None and now <= before) for before, now in pairwise([None, *stamps]))
