"""What tests of a store are made of: streams, clips, and whether a store holds them."""

from typing import Any

import numpy as np

from cache.header import StreamSpec
from cache.store import FeatureStore

STREAMS = {"wide": StreamSpec(6, "float16"), "narrow": StreamSpec(3, "float32")}
FINGERPRINT = {"weights": "f00d", "frames": {"size": 224, "step": 1}}
SHARD_STEPS = 16


def make_clips(num_clips: int, streams: dict[str, StreamSpec] | None = None, max_steps: int = 9) -> dict[str, Any]:
    """Return clip id -> stream -> array (T, D), the same for every call."""
    rng = np.random.default_rng(7)
    clips = {}
    for number in range(num_clips):
        steps = int(rng.integers(1, max_steps + 1))
        clips[f"clip/{number:03d}-ä"] = {
            name: rng.standard_normal((steps, spec.dim)).astype(spec.dtype)
            for name, spec in (streams or STREAMS).items()
        }
    return clips


def assert_holds(store: FeatureStore, clips: dict[str, Any]) -> None:
    """Check that the store's clips are exactly these, bit for bit."""
    assert sorted(store.keys()) == sorted(clips)
    for clip_id, features in clips.items():
        for name, array in features.items():
            np.testing.assert_array_equal(store.read(clip_id, name), array, strict=True)
