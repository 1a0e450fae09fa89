"""What lies in a store's folder: records that count, files that are explained, and files that nothing explains."""

import errno
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cache.errors import StoreError, cannot_read
from cache.header import Header
from cache.index import FOLDER, TEMPORARY, claim_path, numbers, record_beside, record_path
from cache.places.base import Files
from cache.reading import read_rows, require_sum
from cache.record import Record
from cache.seal import is_sealed
from cache.store import FeatureStore

LOST = "lost"
"""The folder of what repairs and removals have taken out of the store; it goes for good by `purge`."""
DAMAGE = (errno.ENOENT, errno.EIO, errno.ELOOP)  # other errors are of the way to the file, want of permission say
TEMPORARY_FILE = re.compile(rf"{TEMPORARY}/(?:([0-9]{{8,10}})\.)?[0-9a-f]{{32}}(?:\..+)?")
LOST_RECORD = re.compile(rf"{LOST}/([0-9]{{8,10}})(?:\.[0-9]+)?\.json")
_Read = TypeVar("_Read")


class Fault(str):
    """Why a file is not what was written."""

    sealed = False
    """Whether it is what was written after all, and makes no sense."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not what it was when it was written, or is not there.

    clips: those whose features are lost with it. None: not known, because it is the index itself that is damaged.
    shard: the shard to drop, None if the file belongs to the store as a whole, or nothing is to be dropped.
    """

    file: str
    reason: str
    shard: int | None = None
    clips: tuple[str, ...] | None = ()

    def __str__(self) -> str:
        lost = "its clips are lost" if self.clips is None else ", ".join(map(repr, self.clips)) or "no clip is lost"
        return f"{self.file}: {self.reason}: {lost}"


@dataclass(frozen=True, slots=True)
class Contents:
    """A look at a store's folder.

    records: those that count, by number.
    damaged: records that cannot be read.
    beside: number of such a record -> what the copy beside its data says, which counts, if that is sound.
    replaced: numbers of records that are there and do not count, as others stand for them.
    claims: numbers that are claimed; `live`, those by a writer that is still there.
    lost: records in `lost/`, by their path; the files that they name lie where they were.
    leftovers: data of shards that are given up, or claimed by nobody who is still there.
    missing: number of a shard that has neither record nor claim, nor was given up -> its data.
    temporary: our files in `tmp/`, except those of `live` claims.
    """

    records: list[Record]
    damaged: list[Damage]
    beside: dict[int, Record]
    replaced: list[int]
    claims: set[int]
    live: set[int]
    lost: dict[str, Record]
    leftovers: list[str]
    missing: dict[int, list[str]]
    temporary: list[str]


def look(files: Files, header: Header, *, ask_claims: bool = False) -> Contents:
    """Look at all that is there. `ask_claims`: find out which are live, on a place that can be changed."""
    try:
        # In this order, which is the reverse of a writer's: a file that we see was claimed before, and if its claim is
        # gone by the time that we look for it, the file is in a record by the time that we look for that; and a record
        # that is gone from the index by then is in `lost`.
        data, temporary = files.walk("data"), files.walk(TEMPORARY)
        claims = set(numbers(files.names(FOLDER), "claim"))
        live = {shard for shard in claims if ask_claims and files.claim_is_live(claim_path(shard))}
        taken, found, damaged, beside = _read_all(files, header)
        in_lost = {path: shard for path in files.walk(LOST) if (shard := lost_shard(path)) is not None}
        parsed = {path: _parsed(files, header, path) for path in in_lost}
    except OSError as error:
        raise cannot_read(error.filename or str(files.root), error) from error
    lost = {path: record for path, record in parsed.items() if isinstance(record, Record)}
    replaced = {shard for record in found for shard in record.replaces}
    explained = {file for record in (*found, *lost.values()) for file in all_files(record)}
    loose = {path: shard for path in data if path not in explained and (shard := shard_of(path, header)) is not None}
    recorded = {record.shard for record in found} | {d.shard for d in damaged if d.shard is not None}
    recorded.update(in_lost.values())
    known = taken | claims | replaced | recorded
    holes = set(range(max(recorded, default=-1) + 1)) - known if header.id else set()
    missing: dict[int, list[str]] = {shard: [] for shard in sorted(holes | set(loose.values()) - known)}
    for path, shard in loose.items():
        if shard in missing:
            missing[shard].append(path)
    return Contents(
        records=[record for record in found if record.shard not in replaced],
        damaged=damaged,
        beside=beside,
        replaced=[record.shard for record in found if record.shard in replaced],
        claims=claims,
        live=live,
        lost=lost,
        leftovers=[path for path, shard in loose.items() if shard not in missing and shard not in recorded | live],
        missing=missing,
        temporary=[
            path for path in temporary if (name := TEMPORARY_FILE.fullmatch(path)) and int(name[1] or -1) not in live
        ],
    )


def attempt(files: Files, path: str, read: Callable[[], _Read]) -> _Read | Fault:
    """Return what is read of a file, or why it is damaged. Raises StoreError where it may be sound all the same."""
    try:
        return read()
    except OSError as error:
        if error.errno not in DAMAGE:
            raise cannot_read(files.describe(path), error) from error
        return Fault(error.strerror or "cannot be read")
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno not in DAMAGE:
            raise
        return Fault(error)


def read_checked(files: Files, header: Header, record: Record, position: int, stream: str) -> np.ndarray:
    """Return the rows (T, D) of a clip. Raises StoreError if they are not what the record says."""
    spec = header.streams[stream]
    rows = np.empty((record.lengths[position], spec.dim), spec.numpy_dtype)
    read_rows(files, header, record, stream, record.rows[position], rows)
    require_sum(rows, record, position, stream, files.root)
    return rows


def read_clip(files: Files, header: Header, record: Record, position: int) -> dict[str, np.ndarray]:
    """Return stream -> rows (T, D) of a clip. Raises StoreError if they are not what the record says."""
    return {stream: read_checked(files, header, record, position, stream) for stream in header.streams}


def checksum(store: FeatureStore, clip: str, stream: str) -> str:
    """Return the CRC-32 that the index has of a clip's rows, 8 hex digits. Raises NotFoundError without it."""
    record, position = store._index.position(clip)
    return record.checksums[stream][position]


def shard_of(path: str, header: Header) -> int | None:
    """Return the shard that a file in `data` has its name from; None if a store of this kind has no such file."""
    match = re.fullmatch(data_pattern(header.backend, header.streams), path, re.ASCII)
    return int(match[1]) if match else None


def data_pattern(backend: str, streams: Iterable[str]) -> str:
    """Return the pattern of the files in `data` that belong to a shard, whose number is its first group."""
    inner = r"([0-9]{8,10})\.h5" if backend == "hdf5" else rf"(?:{'|'.join(streams)})/c\.([0-9]{{1,10}})\.0"
    return rf"data/{inner}(?:\.json)?"


def all_files(record: Record) -> list[str]:
    """Return the files of a shard in `data`: its rows, and the copy of its record."""
    return [*record.files, *([record.copy_path] if record.copy_path else [])]


def copy_of(files: Files, header: Header, shard: int, paths: Iterable[str]) -> Record | None:
    """Return the record of a shard as the copy beside its data says it, if that is among these files."""
    for path in paths:
        if path.endswith(".json"):
            record = _parsed(files, header, path)
            if isinstance(record, Record) and (record.shard, record.store) == (shard, header.id):
                return record
    return None


def lost_shard(path: str) -> int | None:
    """Return the shard of a record in `lost/`; None if the file is no such record."""
    name = LOST_RECORD.fullmatch(path)
    return int(name[1]) if name else None


def taken_numbers(names: Collection[str]) -> set[int]:
    """Return the numbers of shards in the names of what lies in the index."""
    return {number for kind in ("json", "claim", "gone") for number in numbers(names, kind)}


def _read_all(files: Files, header: Header) -> tuple[set[int], list[Record], list[Damage], dict[int, Record]]:
    """Return the numbers that are taken, all records, what is damaged at a second look, and what stands beside that."""
    names = files.names(FOLDER)
    found = {shard: _read(files, header, shard) for shard in numbers(names, "json")}
    doubtful = [shard for shard, record in found.items() if isinstance(record, Damage)]
    for shard in doubtful:
        files.reload(record_path(shard))
        found[shard] = _read(files, header, shard)
    if doubtful:
        there = set(numbers(names := files.names(FOLDER), "json"))
        found = {shard: record for shard, record in found.items() if shard in there or shard not in doubtful}
    damaged = [record for record in found.values() if isinstance(record, Damage)]
    mended = [shard for shard, record in found.items() if isinstance(record, Damage) and record.shard is None]
    beside = {shard: record for shard in mended if (record := record_beside(files, header, shard))}
    records = [record for record in (found | beside).values() if isinstance(record, Record)]
    return taken_numbers(names), records, damaged, beside


def _read(files: Files, header: Header, shard: int) -> Record | Damage:
    """Return a record, or what is wrong with it; no clip is lost where the copy beside the data is sound."""
    path = record_path(shard)
    record = _parsed(files, header, path)
    if isinstance(record, Fault):
        # One that is sealed and makes no sense was written so, and so was its copy.
        beside = None if record.sealed else record_beside(files, header, shard)
        if beside:
            return Damage(path, f"{record}; {beside.copy_path} stands for it, of which repair makes it anew")
        return Damage(path, record, shard, None)
    if record.shard != shard:
        return Damage(path, f"it is the record of shard {record.shard}", shard, None)
    if record.store not in ("", header.id):
        return Damage(path, "it is a record of another store", shard, None)
    return record


def _parsed(files: Files, header: Header, path: str) -> Record | Fault:
    """Return the record in a file, or what is wrong with it."""
    data = attempt(files, path, lambda: files.read(path))
    if isinstance(data, Fault):
        return data
    if not is_sealed(data):
        return Fault("its checksum does not match")
    record = attempt(files, path, lambda: Record.from_bytes(data, files.describe(path), header))
    if isinstance(record, Fault):
        record.sealed = True
    return record
