"""Stores for the tests of `slt cache`, and folders compared."""

from pathlib import Path
from typing import Any

import numpy as np

from cache import FeatureStore, StreamSpec

STREAMS = {"s3d": StreamSpec(4, "float16"), "gloss_rep": StreamSpec(2, "float32")}  # 16 bytes a step
CLIPS = ["c0", "日本/雨", "c2", "c3"]
NEAR_ONE = 1 + 2**-9  # a float16 that 7 bits of mantissa round to 1


def four_clips(path: Path, clips: list[str] = CLIPS, offset: float = 0.0, **options: Any) -> FeatureStore:
    """Make a store of (some of) four clips; clip i has i + 2 steps and all its numbers are i + 1/512."""
    arguments = {"streams": STREAMS, "fingerprint": {"slt": "1.0"}, "shard_steps": 8, "durable": False, **options}
    store = FeatureStore.create(path, **arguments)
    with store.writer() as writer:
        for clip_id in clips:
            number = CLIPS.index(clip_id)
            value = number + NEAR_ONE - 1 + offset
            rows = {n: np.full((number + 2, s.dim), value, np.float32) for n, s in store.streams.items()}
            writer.write(clip_id, rows, source=f"of {clip_id}")
    return store


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder: path -> bytes, None for a folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
