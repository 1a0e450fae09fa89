"""What of a store is damaged.

`verify` reads every byte that `store.json`, the index and the data have, and finds any single flipped bit in them. It
looks twice before it believes what it sees, as others may change the store meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cache.backends import backend_of
from cache.care import Progress, ignore
from cache.care.contents import DAMAGE, Contents, Damage, all_files, copy_of, header_bytes, look
from cache.errors import StoreError, cannot_read
from cache.header import HEADER_PATH, Header
from cache.index import record_path
from cache.places import files_at
from cache.places.base import Files
from cache.reading import read_rows
from cache.record import Record
from cache.seal import crc32, hex_crc32, is_sealed
from cache.table import unsound_tables

PIECE = 1 << 24  # bytes read at once


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
    data = header_bytes(files)
    if not is_sealed(data):
        return [Damage(HEADER_PATH, "its checksum does not match", clips=None)]
    header = Header.from_bytes(data, files.describe(HEADER_PATH))
    contents = look(files, header)
    total = sum(record.steps * spec.row_bytes for record in contents.records for spec in header.streams.values())
    checked = {
        record.shard: check(files, header, record, lambda done: progress(done, total)) for record in contents.records
    }
    if not (contents.damaged or contents.missing or any(checked.values())):
        return _check_all(files, header, contents, checked)
    again = look(files, header)
    for record in again.records:
        if checked.get(record.shard, True):
            for file in all_files(record):
                files.reload(file)
            checked[record.shard] = check(files, header, record, ignore_bytes)
    return _check_all(files, header, again, checked, contents)


def ignore_bytes(done: int) -> None:
    """Show nothing."""


def _check_all(
    files: Files, header: Header, contents: Contents, checked: dict[int, list[Damage]], before: Contents | None = None
) -> list[Damage]:
    """Return what is damaged: what was seen twice, if there is a look before."""
    before = before or contents
    damaged, missing = {damage.file for damage in before.damaged}, before.missing.keys()
    found = [damage for damage in contents.damaged if damage.file in damaged]
    found += [_missing(files, header, shard, paths) for shard, paths in contents.missing.items() if shard in missing]
    owners: dict[str, int] = {}
    for record in contents.records:
        found += _check_owners(record, owners)
        found += checked[record.shard]
    found += [Damage(path, "it is not what it was") for path in unsound_tables(files, header)]
    num_shards = max((record.shard for record in contents.records if record.clips), default=-1) + 1
    found += [Damage(file, reason) for file, reason in backend_of(header).check_metadata(files, header, num_shards)]
    return found


def _missing(files: Files, header: Header, shard: int, paths: list[str]) -> Damage:
    """Say what is known of a shard without a record."""
    where = record_path(shard)
    record = copy_of(files, header, shard, paths)
    if record and all(files.exists(file) for file in record.files):
        return Damage(where, f"it is missing; repair makes it anew of {record.copy_path}", clips=())
    what = f"there is {paths[0]}, and no record that names it" if paths else "it is missing"
    return Damage(where, what, clips=None)


def _check_owners(record: Record, owners: dict[str, int]) -> Iterator[Damage]:
    for clip in record.clips:
        if owners.setdefault(clip, record.shard) != record.shard:
            reason = f"clip {clip!r} is in shard {owners[clip]} as well"
            yield Damage(record_path(record.shard), reason, record.shard)


def check(files: Files, header: Header, record: Record, advance: Callable[[int], object]) -> list[Damage]:
    """Return what is damaged of a shard's files."""
    found = [damage for file in record.files for damage in _check_file(files, header, record, file, advance)]
    if record.store and record.clips:
        with _damage_only():
            said, copied = (_read_if_there(files, path) for path in (record_path(record.shard), record.copy_path))
            if said is not None and said != copied:
                what = "it is missing" if copied is None else "it is not as the record in the index"
                found.append(Damage(record.copy_path, what))
    return found


def _read_if_there(files: Files, path: str) -> bytes | None:
    try:
        return files.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in DAMAGE:
            return b""
        raise cannot_read(files.describe(path), error) from error


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
        if error.errno not in DAMAGE:
            raise cannot_read(files.describe(file), error) from error
        return [Damage(file, error.strerror or "cannot be read", record.shard, clips)]
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
        if isinstance(error.__cause__, OSError) and error.__cause__.errno not in DAMAGE:
            raise
