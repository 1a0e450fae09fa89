"""What repairs and removals have taken out of a store: moved to `lost/`, brought back, or deleted for good.

`lost/00000007.json` is the record of shard 7, which left the index; its data stay where they are, explained by it, so
that whoever reads them goes on. `lost/data/` holds data that no record explained.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cache.care import Progress, caring, changing, ignore
from cache.care.contents import LOST, all_files, look, lost_records, lost_shard, read_header
from cache.care.convert import checksum
from cache.errors import REPAIR, DamagedError, StoreError
from cache.header import Header
from cache.index import give_up, keep_numbers, record_path
from cache.places import files_at
from cache.places.base import Files
from cache.reading import read_rows
from cache.record import Extent, Record
from cache.seal import hex_crc32
from cache.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back from `lost/`.

    clips: those that are in the store again.
    present: those that the store had meanwhile got anew, with other features, which stay as they are.
    damaged: those of which the data are damaged or away; they stay in `lost/`.
    """

    clips: list[str]
    present: list[str]
    damaged: list[str]


def restore(path: str | Path, *, files: Files | None = None, progress: Progress = ignore) -> Restored:
    """Undo repairs and removals since the last `purge`: bring back every clip that is in `lost/` and not in the store.

    Of a clip that was removed several times the last one comes back. Killed at any point, it is to be run again.

    Raises:
        StoreError: there is no store, or it cannot be written.
    """
    files = files or files_at(path)
    files.require_writable()
    header = read_header(files)
    with caring(files), changing(files):
        _put_back(files, header)
        store = FeatureStore(files, "a")
        lost = dict(sorted(lost_records(files, header).items(), key=lambda item: item[1].shard, reverse=True))
        there, back, damaged = set(store), set[str](), set[str]()
        row_bytes = sum(spec.row_bytes for spec in header.streams.values())
        total = row_bytes * sum(record.steps for record in lost.values())
        with store.writer() as writer:
            for record in lost.values():
                for position in range(len(record.clips)):
                    clip, length = record.clips[position], record.lengths[position]
                    if clip not in there and clip not in back:
                        try:
                            features = read_checked(files, header, _where_it_is(files, record), position)
                        except StoreError:
                            damaged.add(clip)
                        else:
                            writer.write(clip, features, source=record.sources[position])
                            back.add(clip)
                    progress(row_bytes * length, total)
        done = [name for name, record in lost.items() if back | there >= set(record.clips)]
        _delete(files, header, done)
    present = {
        clip for record in lost.values() for clip in record.clips if clip in there and _differs(store, record, clip)
    }
    return Restored(sorted(back), sorted(present), sorted(damaged - back))


def purge(path: str | Path, *, files: Files | None = None) -> int:
    """Delete for good what repairs and removals have taken out of a store; return the bytes that were freed.

    Raises:
        StoreError: there is no store, or something cannot be deleted.
    """
    files = files or files_at(path)
    files.require_writable()
    header = read_header(files)
    with caring(files), changing(files):
        freed = sum(map(files.disk_usage, lost_files(files, header)))
        _delete(
            files, header, [f"{LOST}/{name}" for name in files.names(LOST) if lost_shard(f"{LOST}/{name}") is not None]
        )
        for file in files.walk(f"{LOST}/data"):
            files.remove(file)
    return freed


def lost_files(files: Files, header: Header) -> list[str]:
    """Return the files that `purge` deletes: what lies in `lost/`, and the data that its records explain."""
    named = {
        file for record in lost_records(files, header).values() for file in all_files(record) if files.exists(file)
    }
    return [*files.walk(LOST), *sorted(named)]


def move_records(files: Files, shards: Iterable[int]) -> None:
    """Move records out of the index; what stands for them must be in it."""
    shards = [shard for shard in shards if files.exists(record_path(shard))]
    if not shards:
        return
    keep_numbers(files, shards)  # what stands for them is on the disk then, too
    for shard in shards:
        files.rename(record_path(shard), _free_name(files, shard))
    files.sync(LOST)
    files.sync("")
    give_up(files, shards)


def move_data(files: Files, paths: Iterable[str]) -> None:
    """Move data that no record explains out of `data`. Numbers are never given twice, so nothing is in the way."""
    for path in paths:
        files.require_inside(path)
        with suppress(FileNotFoundError):  # a writer that gave it up may be cleaning up
            files.rename(path, f"{LOST}/{path}")


def read_checked(files: Files, header: Header, record: Record, position: int) -> dict[str, np.ndarray]:
    """Return stream -> rows (T, D) of a clip. Raises StoreError if they are not what the record says."""
    features = {}
    for name, spec in header.streams.items():
        features[name] = rows = np.empty((record.lengths[position], spec.dim), spec.numpy_dtype)
        read_rows(files, header, record, name, record.rows[position], rows)
        if hex_crc32(rows.data) != record.checksums[name][position]:
            raise DamagedError(f"clip {record.clips[position]!r}, stream {name!r} of {files.root} is damaged: {REPAIR}")
    return features


def _differs(store: FeatureStore, record: Record, clip: str) -> bool:
    position = record.clips.index(clip)
    return any(checksum(store, clip, name) != checksums[position] for name, checksums in record.checksums.items())


def _put_back(files: Files, header: Header) -> None:
    """Give data that were taken for nobody's, and are missed by a record that is there again, their place back."""
    for record in look(files, header).records:
        for file in record.files:
            if not files.exists(file) and files.exists(f"{LOST}/{file}"):
                files.rename(f"{LOST}/{file}", file)


def _where_it_is(files: Files, record: Record) -> Record:
    """Return the record of a shard, its files found in `data` or in `lost/data`."""
    moved = {file: f"{LOST}/{file}" for file in record.files if not files.exists(file)}
    extents: dict[str, Extent] = {
        name: replace(extent, file=moved.get(extent.file, extent.file)) for name, extent in record.extents.items()
    }
    return replace(record, extents=extents)


def _delete(files: Files, header: Header, records: Iterable[str]) -> None:
    """Delete records in `lost/`, each after the data that it alone explains."""
    kept = {file for record in look(files, header).records for file in all_files(record)}
    lost = lost_records(files, header)
    for path in records:
        for file in _own_files(lost, path):
            if file not in kept:
                files.remove(file)
                files.remove(f"{LOST}/{file}")
        files.remove(path)


def _own_files(lost: dict[str, Record], path: str) -> Iterator[str]:
    yield from all_files(lost[path]) if path in lost else ()


def _free_name(files: Files, shard: int) -> str:
    """Return the first name in `lost/` for the record of a shard that nothing has."""
    name, number = f"{LOST}/{shard:08d}.json", 0
    while files.exists(name):
        number += 1
        name = f"{LOST}/{shard:08d}.{number}.json"
    return name
