"""Dropping clips: those that are damaged, those that are no longer wanted.

A shard that loses clips is written anew, without them, and the commit of the new one is what makes the old one go
(`Record.replaces`): killed at any point, nothing but the dropped clips is lost. Nobody else may be writing
meanwhile, and whoever has the store open must open it again.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.backends import backend_of
from cache.checksum import hex_crc32
from cache.errors import REPAIR, StoreError
from cache.files import LocalFiles, files_at
from cache.header import HEADER_PATH, Header
from cache.index import FOLDER, Record, record_path
from cache.progress import Progress, ignore
from cache.reading import read_rows
from cache.store import FeatureStore
from cache.verify import find_leftovers, read_header, read_records, verify
from cache.writer import TEMPORARY


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a repair has dropped.

    clips: those that are gone.
    num_records: records of the index that could not be read; the clips of each are gone as well, and cannot be named.
    """

    clips: list[str]
    num_records: int = 0


def repair(path: str | Path, *, files: LocalFiles | None = None, progress: Progress = ignore) -> Dropped:
    """Drop what is damaged, keep every clip that is not, and remove leftovers. `progress` is told of the reading.

    Raises:
        StoreError: if store.json itself is damaged, which needs a copy; or if something cannot be read that may be
            sound, for want of permission say.
    """
    files = files or files_at(path)
    files.require_writable()
    found = verify(path, files=files, progress=progress)
    if any(damage.file == HEADER_PATH for damage in found):
        raise StoreError(
            f"{files.describe(HEADER_PATH)} is damaged: put back a copy of it, it never changes after `create`"
        )
    damaged = {damage.shard for damage in found if damage.shard is not None}
    lost: dict[int, set[str]] = {shard: set() for shard in damaged}
    for damage in found:
        if damage.shard is not None:
            lost[damage.shard].update(damage.clips or ())
    unreadable = damaged - {record.shard for record in read_records(files)[0]}
    if unreadable:
        _leave_nothing_of(files, sorted(unreadable))
    return Dropped(_drop(files, lost), len(unreadable))


def remove(
    path: str | Path, clips: Collection[str], *, files: LocalFiles | None = None, progress: Progress = ignore
) -> list[str]:
    """Remove clips, and what killed writers left, and return those that were there; the disk space is free at once.

    `progress` is told of the clips that stay in the shards that are written anew.

    Raises:
        StoreError: if a record of the index is damaged, or a clip that is to stay cannot be read.
    """
    files = files or files_at(path)
    store = FeatureStore.open(path, mode="a", files=files)
    wanted_gone = set(clips)
    found = {shard: wanted_gone & set(record.clips) for shard, record in store._index.records.items()}
    return _drop(files, {shard: unwanted for shard, unwanted in found.items() if unwanted}, progress)


def _drop(files: LocalFiles, unwanted: dict[int, set[str]], progress: Progress = ignore) -> list[str]:
    """Write each of these shards anew without its unwanted clips, and return the clips that are gone from the store."""
    header = read_header(files)
    _remove_leftovers(files)  # first, lest the record of a shard that was replaced outlives the one that replaced it
    records = {record.shard: record for record in read_records(files)[0]}
    row_bytes, shards = sum(spec.row_bytes for spec in header.streams.values()), sorted(set(unwanted) & set(records))
    total = row_bytes * sum(records[shard].steps for shard in shards)
    for shard in shards:
        _rewrite(files, header, records[shard], unwanted[shard])
        progress(row_bytes * records[shard].steps, total)
    remaining = _remove_leftovers(files)
    for record in remaining[:-1]:  # the highest number is kept, whatever it stands for, lest it be given away again
        if not record.clips:
            files.remove(record_path(record.shard))
    num_shards = max((record.shard for record in remaining if record.clips), default=-1) + 1
    for file, data in backend_of(header).metadata(header, num_shards).items():
        files.write(f"{TEMPORARY}/metadata", [data])
        files.sync(f"{TEMPORARY}/metadata")
        files.rename(f"{TEMPORARY}/metadata", file)
        files.sync(file.rpartition("/")[0])
    held = {clip for record in remaining for clip in record.clips}
    return sorted({clip for clips in unwanted.values() for clip in clips} - held)


def _remove_leftovers(files: LocalFiles) -> list[Record]:
    records = read_records(files)[0]
    for leftover in find_leftovers(files, records):
        files.remove(leftover)
    return records


def _rewrite(files: LocalFiles, header: Header, record: Record, unwanted: set[str]) -> None:
    store = FeatureStore(files, "a")
    # A clip that is in another shard as well, which happens when a store was put together by hand, stays there.
    here = {clip for clip in record.clips if store._index.places[clip][0] == record.shard}
    if not here - unwanted:
        return _leave_nothing_of(files, [record.shard])
    with store.writer() as writer:
        writer.replaces.append(record.shard)
        columns = zip(record.clips, record.rows, record.lengths, record.sources, strict=True)
        for position, (clip, row, length, source) in enumerate(columns):
            if clip in here - unwanted:
                features = {}
                for name, spec in header.streams.items():
                    features[name] = rows = np.empty((length, spec.dim), spec.numpy_dtype)
                    read_rows(files, header, record, name, row, rows)
                    if hex_crc32(rows.data) != record.checksums[name][position]:
                        raise StoreError(f"clip {clip!r}, stream {name!r} of {files.root} is damaged: {REPAIR}")
                writer.write(clip, features, source=source)
    _unlink(files, [record.shard])


def _leave_nothing_of(files: LocalFiles, shards: list[int]) -> None:
    """Put a record without clips in the place of shards, so that their numbers are not given to others."""
    number = max(int(name.partition(".")[0]) for name in files.names(FOLDER)) + 1
    record = Record(number, 0, [], [], [], [], {}, {}, {}, replaces=shards)
    temporary = f"{TEMPORARY}/{uuid.uuid4().hex}.record"
    files.write(temporary, [record.to_bytes()])
    files.sync(temporary)
    files.rename(temporary, record_path(number))
    files.sync(FOLDER)
    _unlink(files, shards)


def _unlink(files: LocalFiles, shards: list[int]) -> None:
    for shard in shards:
        files.remove(record_path(shard))
    files.sync(FOLDER)
