"""Dropping clips: those that are damaged, those that are no longer wanted.

A shard that loses clips is written anew, without them, and the commit of the new one is what makes the old one go
(`Record.replaces`): killed at any point, nothing but the dropped clips is lost. Whoever has the store open sees it by
`refresh`.
"""

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.backends import backend_of
from cache.care import Progress, ignore
from cache.care.leftovers import remove_leftovers
from cache.care.verify import copies_to_mend, read_header, read_records, verify
from cache.errors import REPAIR, StoreError
from cache.header import HEADER_PATH, Header
from cache.index import TEMPORARY, claim_number, claim_path, give_up, put_record
from cache.places import files_at
from cache.places.base import Files
from cache.reading import read_rows
from cache.record import Record
from cache.seal import hex_crc32
from cache.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a repair has dropped.

    clips: those that are gone.
    num_records: records of the index that could not be read; the clips of each are gone as well, and cannot be named.
    """

    clips: list[str]
    num_records: int = 0


def repair(path: str | Path, *, files: Files | None = None, progress: Progress = ignore) -> Dropped:
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
    lost: dict[int, set[str]] = {}
    for damage in found:
        if damage.shard is not None:
            lost.setdefault(damage.shard, set()).update(damage.clips or ())
    with _one_error(files):
        header = read_header(files)
        unreadable = sorted(lost.keys() - {record.shard for record in read_records(files, header)[0]})
        if unreadable:
            with _standing_for(files, header, unreadable) as record:
                put_record(files, record, _temporary())
            give_up(files, unreadable)
        return Dropped(_drop(files, header, lost), len(unreadable))


def remove(
    path: str | Path, clips: Collection[str], *, files: Files | None = None, progress: Progress = ignore
) -> list[str]:
    """Remove clips, and what killed writers left, and return those that were there; the disk space is free at once.

    `progress` is told of the clips that stay in the shards that are written anew.

    Raises:
        StoreError: if a record of the index is damaged, or a clip that is to stay cannot be read.
    """
    if isinstance(clips, str):
        raise StoreError(f"clips is the text {clips!r}: give a list of clip ids")
    files = files or files_at(path)
    store = FeatureStore.open(path, mode="a", files=files)
    wanted_gone = set(clips)
    found = {shard: wanted_gone & set(record.clips) for shard, record in store._index.records.items()}
    with _one_error(files):
        header = read_header(files)
        return _drop(files, header, {shard: unwanted for shard, unwanted in found.items() if unwanted}, progress)


def _drop(files: Files, header: Header, unwanted: dict[int, set[str]], progress: Progress = ignore) -> list[str]:
    """Write each of these shards anew without its unwanted clips, and return the clips that are gone from the store."""

    def read() -> list[Record]:
        found, damages = read_records(files, header)
        for damage in damages:
            raise StoreError(f"{files.describe(damage.file)} cannot be read now ({damage.reason}): {REPAIR}")
        return found

    records = {record.shard: record for record in remove_leftovers(files, read)}
    shards, store = _with_second_copies(records, unwanted), FeatureStore(files, "a")
    row_bytes = sum(spec.row_bytes for spec in header.streams.values())
    total = row_bytes * sum(records[shard].steps for shard in shards)
    for shard in sorted(shards, reverse=True):  # second copies go before first ones, so that the first always counts
        _rewrite(store, header, records[shard], shards[shard])
        progress(row_bytes * records[shard].steps, total)
    remaining = remove_leftovers(files, read)
    # The highest number is kept, whatever it stands for, lest it be given away again.
    store._index.forget([record.shard for record in remaining[:-1] if not record.clips])
    num_shards = max((record.shard for record in remaining if record.clips), default=-1) + 1
    for file, _ in backend_of(header).check_metadata(files, header, num_shards):
        data = backend_of(header).metadata(header, store._index.next_shard())[file]
        files.write_whole(file, data, _temporary())
        files.sync(file.rpartition("/")[0])
    for path, _, data in copies_to_mend(files, remaining):
        files.write_whole(path, data, _temporary())
        files.sync(path.rpartition("/")[0])
    return sorted({clip for clips in unwanted.values() for clip in clips if clip not in store})


def _with_second_copies(records: dict[int, Record], unwanted: dict[int, set[str]]) -> dict[int, set[str]]:
    """Return shard -> clips to drop: those unwanted, and of a clip in several shards all but the first sound copy."""
    owners: dict[str, int] = {}
    for shard, record in sorted(records.items()):
        for clip in set(record.clips) - unwanted.get(shard, set()):
            owners.setdefault(clip, shard)
    drop = {shard: {clip for clip in record.clips if owners.get(clip) != shard} for shard, record in records.items()}
    return {shard: clips for shard, clips in drop.items() if clips or shard in unwanted}


def _rewrite(store: FeatureStore, header: Header, record: Record, unwanted: set[str]) -> None:
    files, index = store._files, store._index
    if unwanted >= set(record.clips):
        with _standing_for(files, header, index.all_replaced([record.shard])) as nothing:
            put_record(files, nothing, _temporary())
        index.news()
        return index.forget([record.shard])
    with store.writer() as writer:
        writer.replaces.append(record.shard)
        columns = zip(record.clips, record.rows, record.lengths, record.sources, strict=True)
        for position, (clip, row, length, source) in enumerate(columns):
            if clip in unwanted:
                continue
            features = {}
            for name, spec in header.streams.items():
                features[name] = rows = np.empty((length, spec.dim), spec.numpy_dtype)
                read_rows(files, header, record, name, row, rows)
                if hex_crc32(rows.data) != record.checksums[name][position]:
                    raise StoreError(f"clip {clip!r}, stream {name!r} of {files.root} is damaged: {REPAIR}")
            writer.write(clip, features, source=source)
    index.forget([record.shard])


@contextmanager
def _standing_for(files: Files, header: Header, shards: list[int]) -> Iterator[Record]:
    """Yield a record without clips that stands for shards."""
    number = claim_number(files, header).shard
    try:
        yield Record(number, 0, [], [], [], [], {}, {}, {}, replaces=shards, store=header.id)
    finally:
        files.remove(claim_path(number))


def _temporary() -> str:
    return f"{TEMPORARY}/{uuid.uuid4().hex}"


@contextmanager
def _one_error(files: Files) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot change {files.root}: {error.strerror or error}: no clip was lost but those that are to go; "
            "fix that and run again"
        ) from error
