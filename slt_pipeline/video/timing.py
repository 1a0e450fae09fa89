"""When the frames of a video file are shown, from their own time stamps; T = frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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


def timing_of(stamps: Sequence[int | None], last_duration: int | None, time_base: float, fps: float) -> Timing:
    """Return the timing of frames in the order in which they are shown.

    A step between two frames that is not known, zero or backwards counts as one of the nominal rate.

    Args:
        stamps: in units of `time_base`; at least one.
        last_duration: of the last frame, in the same units; none or zero: one step of the nominal rate.
        time_base: seconds.
        fps: nominal rate.
    """
    known = np.array([np.nan if stamp is None else stamp for stamp in stamps], dtype=np.float64)
    steps = np.diff(known)
    stamped = not np.isnan(known).any() and bool((steps > 0).all())
    if stamped:
        keys = np.array(stamps, dtype=np.int64)
        times = (keys - keys[0]) * time_base
    else:
        keys = np.arange(len(stamps))
        times = np.concatenate([[0.0], np.cumsum(np.where(steps > 0, steps * time_base, 1 / fps))])
        if not (steps > 0).any():
            times = keys / fps
    last = last_duration * time_base if last_duration and last_duration > 0 else 1 / fps
    return Timing(keys, times, float(times[-1]) + last, stamped)
