"""What there is to know about a store, without reading a row."""

from collections.abc import Callable
from typing import Any

from cache.care.contents import look
from cache.care.lost import lost_files
from cache.errors import cannot_read
from cache.store import FeatureStore


def info(store: FeatureStore) -> dict[str, Any]:
    """Return what there is to know about a store, as JSON: clips, steps, shards, fill, bytes, streams, fingerprint."""
    files, header = store._files, store._header
    shards = [record for record in store._index.records.values() if record.clips]
    steps = sum(record.steps for record in shards)
    contents = look(files, header)
    unfinished = [*contents.leftovers, *contents.temporary]
    unfinished += [f"index/{shard:08d}.json" for shard in contents.replaced]
    unfinished += [f"index/{shard:08d}.claim" for shard in contents.claims]
    lost = lost_files(files, header, contents)
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
        "bytes_on_disk": _sum(files.disk_usage, [path for record in shards for path in record.files]),
        "unfinished_files": len(unfinished),
        "unfinished_bytes": _sum(files.size, unfinished),
        "lost_files": len(lost),
        "lost_bytes": _sum(files.disk_usage, lost),
        "compression": store.compression.to_json() if store.compression else None,
        "streams": {name: {"dim": spec.dim, "dtype": spec.dtype} for name, spec in store.streams.items()},
        "fingerprint": store.fingerprint,
        "recorded": store.recorded,
    }


def _sum(measure: Callable[[str], int], paths: list[str]) -> int:
    """Return the bytes of files, of those that are there (still)."""
    total = 0
    for path in paths:
        try:
            total += measure(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise cannot_read(path, error) from error
    return total
