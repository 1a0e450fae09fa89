"""What there is to know about a store, without reading a row."""

from collections.abc import Callable
from typing import Any

from cache.care import looking
from cache.care.contents import look
from cache.care.lost import lost_files
from cache.store import FeatureStore


def info(store: FeatureStore) -> dict[str, Any]:
    """Return what there is to know about a store, as JSON: clips, steps, shards, fill, bytes, streams, fingerprint."""
    index, files = store._index, store._files
    shards = [record for record in index.records.values() if record.clips]
    steps = sum(record.steps for record in shards)
    with looking(files):
        contents = look(files, store._header)
        replaced = [f"index/{shard:08d}.json" for shard in contents.replaced]
        claims = [f"index/{shard:08d}.claim" for shard in contents.claims]
        leftovers = [*replaced, *claims, *contents.leftovers, *contents.temporary]
        lost = lost_files(files, store._header)
        return {
            "path": str(store.path),
            "backend": store.backend,
            "clips": len(store),
            "steps": steps,
            "longest_clip": max((length for record in shards for length in record.lengths), default=0),
            "shards": len(shards),
            "shard_steps": store.shard_steps,
            "fill": round(steps / (len(shards) * store.shard_steps), 4) if shards else 0.0,
            "bytes": sum(steps * spec.row_bytes for spec in store.streams.values()),
            "bytes_on_disk": sum(_size(files.disk_usage, path) for record in shards for path in record.files),
            "unfinished_files": len(leftovers),
            "unfinished_bytes": sum(_size(files.size, path) for path in leftovers),
            "lost_files": len(lost),
            "lost_bytes": sum(_size(files.disk_usage, path) for path in lost),
            "compression": store.compression.to_json() if store.compression else None,
            "streams": {name: {"dim": spec.dim, "dtype": spec.dtype} for name, spec in store.streams.items()},
            "fingerprint": store.fingerprint,
            "recorded": store.recorded,
        }


def _size(measure: Callable[[str], int], path: str) -> int:
    """Return the bytes of a file, 0 if it is not there (any more)."""
    try:
        return measure(path)
    except FileNotFoundError:
        return 0
