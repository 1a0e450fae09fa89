"""Which frames of a clip enter the encoder (FACTS 2.1). n = frames of the clip."""

import numpy as np

from slt_pipeline.config.video import SamplingConfig


def eval_indices(num_frames: int, config: SamplingConfig) -> np.ndarray:
    """Frames for evaluation and extraction: the middle `max_frames`, cut at the end to a multiple: (T,) int64.

    A clip shorter than one multiple gives none at all, as published; whoever reads clips has to reject it.
    """
    start = max(0, num_frames - config.max_frames) // 2
    length = min(num_frames, config.max_frames) // config.multiple * config.multiple
    return np.arange(start, start + length, dtype=np.int64)


def most_steps(num_frames: int, config: SamplingConfig) -> int:
    """Return the most steps, of `multiple` frames each, that training or evaluation sees of a clip."""
    return -(-min(max(int(config.tmax * num_frames), num_frames), config.max_frames) // config.multiple)


def random_window(num_frames: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Consecutive frames from a random place: (length,) int64; of a shorter video all, repeated from the first on."""
    return _window(int(rng.integers(0, max(0, num_frames - length) + 1)), num_frames, length)


def spaced_windows(num_frames: int, length: int, number: int) -> list[np.ndarray]:
    """Windows from the first frame to the last, evenly spaced, each (length,) int64; of one the middle.

    Windows that would be the same are one.
    """
    room = max(0, num_frames - length)
    starts = np.linspace(0, room, number) if number > 1 else np.array([room / 2])
    return [_window(int(start), num_frames, length) for start in np.unique(np.floor(starts + 0.5))]


def _window(start: int, num_frames: int, length: int) -> np.ndarray:
    return (start + np.arange(length, dtype=np.int64)) % num_frames


def train_indices(num_frames: int, config: SamplingConfig, rng: np.random.Generator) -> np.ndarray:
    """Frames for training, a random length between tmin and tmax of the clip, rounded up to a multiple: (T,) int64.

    A shorter length is a sorted random subset; a longer one is every frame plus random repeats, sorted. The published
    draw gives nothing for some clips of one frame and raises where tmin x frames exceeds the cap; this one always
    draws.
    """
    low = min(int(config.tmin * num_frames), config.max_frames)
    high = min(int(config.tmax * num_frames), config.max_frames)
    length = max(1, int(rng.integers(low, high + 1)))
    length = -(-length // config.multiple) * config.multiple
    if length <= num_frames:
        return np.sort(rng.permutation(np.arange(num_frames))[:length]).astype(np.int64)
    repeats = rng.integers(0, num_frames, length - num_frames)
    return np.sort(np.concatenate([np.arange(num_frames), repeats])).astype(np.int64)
