"""What a store is, and what of it is damaged.

`verify` reads every byte that `store.json`, the index and the data have, and finds any single flipped bit in them.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.backends import backend_of
from cache.care import Progress, ignore
from cache.care.leftovers import find_leftovers, shard_of
from cache.errors import StoreError, cannot_read
from cache.header import HEADER_PATH, Header
from cache.index import FOLDER, lost_numbers, numbers, record_path
from cache.places import files_at
from cache.places.base import Files
from cache.reading import read_rows
from cache.record import Record
from cache.seal import crc32, hex_crc32, is_sealed
from cache.store import FeatureStore

PIECE = 1 << 24  # bytes read at once
_DAMAGE = (errno.ENOENT, errno.EIO)  # other errors are of the way to the file, want of permission say, not of the file


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not what it was when it was written.

    clips: those whose features are lost with it. None: not known, because it is the index itself that is damaged.
    shard: the shard to drop, None if the file belongs to the store as a whole.
    """

    file: str
    reason: str
    shard: int | None = None
    clips: tuple[str, ...] | None = ()

    def __str__(self) -> str:
        lost = "its clips are lost" if self.clips is None else ", ".join(map(repr, self.clips)) or "no clip is lost"
        return f"{self.file}: {self.reason}: {lost}"


def info(store: FeatureStore) -> dict[str, Any]:
    """Return what there is to know about a store, as JSON: clips, steps, shards, fill, bytes, streams, fingerprint."""
    records = {shard: record for shard, record in store._index.records.items() if record.clips}
    steps = sum(record.steps for record in records.values())
    files = store._files
    leftovers = find_leftovers(files, list(store._index.records.values()))
    return {
        "path": str(store.path),
        "backend": store.backend,
        "clips": len(store),
        "steps": steps,
        "longest_clip": max((length for _, _, length in store._index.places.values()), default=0),
        "shards": len(records),
        "shard_steps": store.shard_steps,
        "fill": round(steps / (len(records) * store.shard_steps), 4) if records else 0.0,
        "bytes": sum(steps * spec.row_bytes for spec in store.streams.values()),
        "bytes_on_disk": sum(_size(files.disk_usage, path) for record in records.values() for path in record.files),
        "unfinished_files": len(leftovers),
        "unfinished_bytes": sum(_size(files.size, path) for path in leftovers),
        "compression": store.compression.to_json() if store.compression else None,
        "streams": {name: {"dim": spec.dim, "dtype": spec.dtype} for name, spec in store.streams.items()},
        "fingerprint": store.fingerprint,
        "recorded": store.recorded,
    }


def verify(
    path: str | Path,
    *,
    files: Files | None = None,
    progress: Progress = ignore,
) -> list[Damage]:
    """Read everything again and return what is damaged; nothing is changed. An empty list means that all is well.

    Raises:
        StoreError: if there is no store, it is of a newer format, or something cannot be read that may be sound.
    """
    files = files or files_at(path)
    data = _read_header(files)
    if not is_sealed(data):
        return [Damage(HEADER_PATH, "its checksum does not match", clips=None)]
    header = Header.from_bytes(data, files.describe(HEADER_PATH))
    records, found = read_records(files, header)
    owners: dict[str, int] = {}
    total = sum(record.steps * spec.row_bytes for record in records for spec in header.streams.values())
    found += [Damage(path, reason) for path, reason, _ in copies_to_mend(files, records)]
    for record in records:
        damages = list(_check_record(record, owners))
        for file in record.files:
            damages += _check_file(files, header, record, file, lambda done: progress(done, total))
        if damages and files.exists(record_path(record.shard)):  # or it was replaced while we read, and goes first
            found += damages
    num_shards = max((record.shard for record in records if record.clips), default=-1) + 1
    for file, reason in backend_of(header).check_metadata(files, header, num_shards):
        found.append(Damage(file, reason))
    return found


def read_header(files: Files) -> Header:
    """Return what store.json says. Raises StoreError if it is damaged, or there is none."""
    return Header.from_bytes(_read_header(files), files.describe(HEADER_PATH))


def read_records(files: Files, header: Header) -> tuple[list[Record], list[Damage]]:
    """Return the records that count, and those that cannot be read."""
    found = [_read_record(files, header, shard) for shard in numbers(files.names(FOLDER), "json")]
    data = {shard for path in files.walk("data") if (shard := shard_of(path)) is not None}
    lost = [Damage(record_path(shard), "it is missing", shard, None) for shard in lost_numbers(files, header, data)]
    records = [record for record in found if isinstance(record, Record)]
    replaced = {shard for record in records for shard in record.replaces}
    damages = [damage for damage in found if isinstance(damage, Damage)] + lost
    return [record for record in records if record.shard not in replaced], damages


def _read_record(files: Files, header: Header, shard: int) -> Record | Damage | None:
    """Return a record, what is wrong with it, or None if it has been removed meanwhile."""
    path = record_path(shard)
    try:
        data = files.read(path)
        if not is_sealed(data):
            return Damage(path, "its checksum does not match", shard, None)
        record = Record.from_bytes(data, files.describe(path), header)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise cannot_read(files.describe(path), error) from error
        return Damage(path, error.strerror or "cannot be read", shard, None)
    except StoreError as error:
        return Damage(path, str(error), shard, None)
    if record.shard != shard:
        return Damage(path, f"it is the record of shard {record.shard}", shard, None)
    if record.store not in ("", header.id):
        return Damage(path, "it is of another store", shard, ())
    return record


def copies_to_mend(files: Files, records: list[Record]) -> Iterator[tuple[str, str, bytes]]:
    """Yield (file, what is wrong with it, what it should be) of the copies of records that lie beside the data."""
    for record in records:
        if not record.store or not record.clips:
            continue
        data, expected = b"", record.to_bytes()
        with contextlib.suppress(OSError):
            data = files.read(record.copy_path)
        if data != expected and files.exists(record_path(record.shard)):
            yield record.copy_path, "it is not the copy of its record", expected


def _size(measure: Callable[[str], int], path: str) -> int:
    """Return the bytes of a file, 0 if it is not there (any more)."""
    try:
        return measure(path)
    except FileNotFoundError:
        return 0


def _check_record(record: Record, owners: dict[str, int]) -> Iterator[Damage]:
    for clip in record.clips:
        if owners.setdefault(clip, record.shard) != record.shard:
            reason = f"clip {clip!r} is in shard {owners[clip]} as well"
            yield Damage(record_path(record.shard), reason, record.shard)


def _check_file(
    files: Files, header: Header, record: Record, file: str, advance: Callable[[int], object]
) -> list[Damage]:
    """Compare the size of a file, the checksum of every clip in it, and the checksum of all that lies between."""
    clips = tuple(record.clips)
    try:
        size = files.size(file)
    except FileNotFoundError as error:
        return [Damage(file, error.strerror or "missing", record.shard, clips)]
    except OSError as error:
        raise cannot_read(files.describe(file), error) from error
    found = []
    if size != record.files[file]["bytes"]:
        found.append(Damage(file, f"it has {size} bytes, {record.files[file]['bytes']} were written", record.shard))
    streams = sorted((extent.offset, name) for name, extent in record.extents.items() if extent.file == file)
    between, end = [], 0
    for start, name in streams:
        if header.compression is None:  # or else the clips' bytes are not in the file as they are
            between.append((end, min(start, size)))
            end = start + record.steps * header.streams[name].row_bytes
        damaged = []
        for clip, row, length, checksum in zip(clips, record.rows, record.lengths, record.checksums[name], strict=True):
            if _clip_checksum(files, header, record, name, row, length) != checksum:
                damaged.append(clip)
            advance(length * header.streams[name].row_bytes)
        if damaged:
            found.append(Damage(file, f"checksums of stream {name!r} do not match", record.shard, tuple(damaged)))
    if _rest(files, file, [*between, (end, size)]) != record.files[file]["rest"]:
        what = "the file" if header.compression else "what lies between the clips"
        found.append(Damage(file, f"the checksum of {what} does not match", record.shard))
    return found


def _clip_checksum(files: Files, header: Header, record: Record, stream: str, row: int, length: int) -> str | None:
    """Return the CRC-32 of a clip's rows, None if they are not there."""
    spec = header.streams[stream]
    rows = np.empty((length, spec.dim), spec.numpy_dtype)
    with _damage_only():
        read_rows(files, header, record, stream, row, rows)
        return hex_crc32(rows.data)
    return None


def _rest(files: Files, file: str, spans: list[tuple[int, int]]) -> str | None:
    """Return the CRC-32 of the bytes of these spans, one after the other, None if they are not there."""
    checksum = 0
    with _damage_only():
        for start, stop in spans:
            while start < stop:
                piece = np.empty(min(PIECE, stop - start), np.uint8)
                files.read_into(file, start, piece)
                checksum, start = crc32(piece.data, checksum), start + len(piece)
        return f"{checksum:08x}"
    return None


@contextmanager
def _damage_only() -> Iterator[None]:
    """Leave the block quietly where what is to be read is damaged; errors on the way there are raised."""
    try:
        yield
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno not in _DAMAGE:
            raise


def _read_header(files: Files) -> bytes:
    try:
        return files.read(HEADER_PATH)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"there is no feature store at {files.root}") from None
    except OSError as error:
        raise cannot_read(files.describe(HEADER_PATH), error) from error
