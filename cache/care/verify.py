"""What of a store is damaged.

`verify` reads every byte that `store.json`, the index and the data have, and finds any single flipped bit in them. It
looks twice before it believes what it sees, as others may change the store meanwhile.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cache.backends import backend_of
from cache.care import Progress, header_bytes, ignore
from cache.care.contents import Damage, Fault, attempt, copy_of, look, read_checked
from cache.header import HEADER_PATH, Header
from cache.index import record_path
from cache.places import files_at
from cache.places.base import Files
from cache.record import Record
from cache.seal import crc32, is_sealed
from cache.table import unsound_tables

PIECE = 1 << 24  # bytes read at once


def verify(path: str | Path, *, files: Files | None = None, progress: Progress = ignore) -> list[Damage]:
    """Read everything again and return what is damaged; nothing is changed. An empty list means that all is well.

    Raises:
        StoreError: if there is no store, it is of a newer format, or something cannot be read that may be sound.
    """
    files = files or files_at(path)
    data = header_bytes(files)
    if not is_sealed(data):
        return [Damage(HEADER_PATH, "its checksum does not match", clips=None)]
    header, sound = Header.from_bytes(data, files.describe(HEADER_PATH)), set[int]()
    seen = {damage.file for damage in _damages(files, header, sound, progress)}
    for file in seen:
        files.reload(file)
    return [damage for damage in _damages(files, header, sound) if damage.file in seen] if seen else []


def _damages(files: Files, header: Header, sound: set[int], progress: Progress = ignore) -> Iterator[Damage]:
    """Yield all that looks damaged, but for the data of the shards in `sound`, to which those that are sound go."""
    contents = look(files, header)
    yield from contents.damaged
    for shard, paths in contents.missing.items():
        yield _missing(files, header, shard, paths)
    total = sum(record.steps * spec.row_bytes for record in contents.records for spec in header.streams.values())
    owners: dict[str, int] = {}
    for record in contents.records:
        for clip in record.clips:
            if owners.setdefault(clip, record.shard) != record.shard:
                reason = f"clip {clip!r} is in shard {owners[clip]} as well"
                yield Damage(record_path(record.shard), reason, record.shard)
        if record.shard not in sound:
            found = check(files, header, record, lambda done: progress(done, total))
            yield from found
            sound.update(() if found else (record.shard,))
    yield from (Damage(path, "it is not what it was") for path in unsound_tables(files, header))
    num_shards = max((record.shard for record in contents.records if record.clips), default=-1) + 1
    yield from (Damage(file, reason) for file, reason in backend_of(header).check_metadata(files, header, num_shards))


def _missing(files: Files, header: Header, shard: int, paths: list[str]) -> Damage:
    """Say what is known of a shard without a record."""
    record = copy_of(files, header, shard, paths)
    if record and all(files.exists(file) for file in record.files):
        return Damage(record_path(shard), f"it is missing; repair makes it anew of {record.copy_path}")
    what = f"there is {paths[0]}, and no record that names it" if paths else "it is missing"
    return Damage(record_path(shard), what, clips=None)


def check(files: Files, header: Header, record: Record, advance: Callable[[int], object] = ignore) -> list[Damage]:
    """Return what is damaged of a shard's files."""
    found = [damage for file in record.files for damage in _check_file(files, header, record, file, advance)]
    if record.store and record.clips:
        paths = record_path(record.shard), record.copy_path
        said, copied = (attempt(files, path, lambda path=path: files.read(path)) for path in paths)
        if not isinstance(said, Fault) and is_sealed(said) and said != copied:
            what = "it is not as the record in the index" if files.exists(record.copy_path) else "it is missing"
            found.append(Damage(record.copy_path, what))
    return found


def _check_file(
    files: Files, header: Header, record: Record, file: str, advance: Callable[[int], object]
) -> Iterator[Damage]:
    """Compare the size of a file, the checksum of every clip in it, and the checksum of all that lies between."""
    facts, clips, compressed = record.files[file], tuple(record.clips), header.compression is not None
    size = attempt(files, file, lambda: files.size(file))
    if isinstance(size, Fault):
        yield Damage(file, size, record.shard, clips)
        return
    if size != facts["bytes"]:
        yield Damage(file, f"it has {size} bytes, {facts['bytes']} were written", record.shard)
    between, end = [], 0
    for start, stream in sorted(
        (extent.offset, name) for name, extent in record.extents.items() if extent.file == file
    ):
        row_bytes, damaged = header.streams[stream].row_bytes, []
        if not compressed:  # or else the clips' bytes are not in the file as they are
            between.append((end, min(start, size)))
            end = start + record.steps * row_bytes
        for position, length in enumerate(record.lengths):
            rows = attempt(files, file, lambda at=position, name=stream: read_checked(files, header, record, at, name))
            if isinstance(rows, Fault):
                damaged.append(clips[position])
            advance(length * row_bytes)
        if damaged:
            yield Damage(file, f"checksums of stream {stream!r} do not match", record.shard, tuple(damaged))
    if attempt(files, file, lambda: _rest(files, file, [*between, (end, size)])) != facts["rest"]:
        what = "the file" if compressed else "what lies between the clips"
        yield Damage(file, f"the checksum of {what} does not match", record.shard)


def _rest(files: Files, file: str, spans: list[tuple[int, int]]) -> str:
    """Return the CRC-32 of the bytes of these spans, one after the other. Raises StoreError if they are not there."""
    checksum = 0
    for start, stop in spans:
        for at in range(start, stop, PIECE):
            piece = np.empty(min(PIECE, stop - at), np.uint8)
            files.read_into(file, at, piece)
            checksum = crc32(piece.data, checksum)
    return f"{checksum:08x}"
