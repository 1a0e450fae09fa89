"""What differs between two stores: what made them, how they are kept, which clips they have, what is in the clips.

Nothing but the indexes is read: features are compared by their checksums.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cache.care.contents import checksum
from cache.provenance import changes
from cache.store import FeatureStore


@dataclass(frozen=True, slots=True)
class StoreDiff:
    """The differences between the stores a and b; `{"a": ..., "b": ...}` holds both values, a missing side left out.

    fingerprint: dotted key -> both values.
    streams: stream -> both widths and dtypes, of those that are not the same in both.
    layout: `backend`, `shard_steps`, `compression` (without its rounding) -> both values. No number depends on them.
    rounding: stream that is alike otherwise -> the bits of mantissa that were kept, where these differ.
    num_common: clips that are in both.
    only_a, only_b: clips that are in one of them.
    sources: clips of both that say to be made from something else.
    features: stream -> clips of both whose rows differ. Streams of another width, dtype or rounding are left out: their
        checksums are not comparable.
    """

    fingerprint: dict[str, dict[str, Any]]
    streams: dict[str, dict[str, Any]]
    layout: dict[str, dict[str, Any]]
    rounding: dict[str, dict[str, int]]
    num_common: int
    only_a: list[str]
    only_b: list[str]
    sources: list[str]
    features: dict[str, list[str]]

    @property
    def same(self) -> bool:
        """Whether both stores hold the same features, made by the same, however they are kept."""
        lists = (self.only_a, self.only_b, self.sources, *self.features.values())
        return not (self.fingerprint or self.streams or self.rounding or any(lists))

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {"same": self.same, **asdict(self)}


def diff(a: FeatureStore, b: FeatureStore) -> StoreDiff:
    """Compare two stores."""
    common = [clip for clip in a if clip in b]
    streams = _differing(a, b, _streams)
    alike = [name for name in a.streams if name in b.streams and name not in streams]
    differing = {
        name: [clip for clip in common if checksum(a, clip, name) != checksum(b, clip, name)] for name in alike
    }
    # Of a store that is the copy of a rounded one, nothing says so but its numbers.
    rounding = {name: bits for name, bits in _differing(a, b, _kept_bits).items() if differing.get(name)}
    return StoreDiff(
        fingerprint=changes(a.fingerprint, b.fingerprint),
        streams=streams,
        layout=_differing(a, b, _layout),
        rounding=rounding,
        num_common=len(common),
        only_a=[clip for clip in a if clip not in b],
        only_b=[clip for clip in b if clip not in a],
        sources=[clip for clip in common if None not in (was := {a.source(clip), b.source(clip)}) and len(was) == 2],
        features={name: clips for name, clips in differing.items() if name not in rounding},
    )


def _differing(
    a: FeatureStore, b: FeatureStore, facts: Callable[[FeatureStore], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    sides = {"a": facts(a), "b": facts(b)}
    keys = dict.fromkeys([*sides["a"], *sides["b"]])
    both = {key: {side: said[key] for side, said in sides.items() if key in said} for key in keys}
    return {key: values for key, values in both.items() if values.get("a") != values.get("b")}


def _streams(store: FeatureStore) -> dict[str, Any]:
    return {name: asdict(spec) for name, spec in store.streams.items()}


def _layout(store: FeatureStore) -> dict[str, Any]:
    packed = store.compression and store.compression.to_json()
    if packed:
        del packed["keep_bits"]  # which is rounding
    return {"backend": store.backend, "shard_steps": store.shard_steps, "compression": packed}


def _kept_bits(store: FeatureStore) -> dict[str, int]:
    """Return stream -> bits of mantissa that are not rounded away."""
    most = {name: int(np.finfo(spec.numpy_dtype).nmant) for name, spec in store.streams.items()}
    kept = store.compression.keep_bits if store.compression else None
    return {name: min(bits, kept or bits) for name, bits in most.items()}
