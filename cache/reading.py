"""Reading the rows of clips: plain ones straight from the file, compressed ones by their pieces, or all from memory.

B: clips of a batch. T: steps of a clip. D: width of a stream. S: steps of the store.
"""

import os
from collections.abc import Mapping, Sequence
from os import preadv
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy import empty

from cache.errors import REPAIR, DamagedError, StoreError, cannot_read
from cache.header import Header, StreamSpec
from cache.index import Index
from cache.lookup import Place, find, not_there
from cache.places.base import Files
from cache.record import Record
from cache.seal import hex_crc32

Resident = Literal["no", "auto", "yes"]
Check = Literal["never", "first", "always"]
RESIDENT, CHECK = get_args(Resident), get_args(Check)
KEPT_PLACES, KEPT_SOUND = 1 << 16, 1 << 20
"""Clips whose places a process keeps worked out, and those of which it knows that they are sound: never all of many."""
LARGE = 1 << 20
"""Bytes that are not taken because a record says that they are in a file: the file's own size is asked first."""
AUTO_SHARE = 0.5
"""Part of the free memory that `auto` takes: the rest is for what is computed with the features."""


class Rows(Protocol):
    """The rows of one stream. A store has a reader of its own for each stream."""

    def read(self, clip_id: str, start: int | None, stop: int | None) -> np.ndarray:
        """Return the steps [start, stop) of a clip, as in a slice, as a new array (T, D)."""
        ...

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the clips padded with zeros (B, T, D), and their lengths (B,) int64."""
        ...


class PlainRows(dict[str, tuple[str, int, int]]):
    """Clip id -> (file, offset in bytes, steps), worked out once, so that a read costs a look-up and a system call.

    As many as `KEPT_PLACES` are kept.
    """

    def __init__(self, stream: str, spec: StreamSpec, index: Index, files: Files) -> None:
        super().__init__()
        self._dim, self._dtype, self._row_bytes = spec.dim, spec.numpy_dtype, spec.row_bytes
        self._stream, self._index, self._files, self._open_files = stream, index, files, files.open_files

    def read(self, clip_id: str, start: int | None, stop: int | None) -> np.ndarray:
        """As in `Rows`."""
        file, offset, length = self[clip_id]
        if start is not None or stop is not None:
            start, stop, _ = slice(start, stop).indices(length)
            offset, length = offset + start * self._row_bytes, max(0, stop - start)
        out = empty((length, self._dim), self._dtype)
        try:  # what `read_into` does first, without the call: the overhead of Python is a tenth of a read as it is
            if preadv(self._open_files[file], (out,), offset) == out.nbytes:  # pyright: ignore[reportArgumentType]
                return out
        except (KeyError, OSError):
            pass
        self._files.read_into(file, offset, out)
        return out

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As in `Rows`: one positional read a clip, straight into its place in the batch."""
        places = [self[clip_id] for clip_id in clip_ids]
        lengths = [length for _, _, length in places]
        steps, open_files, wanted = max(lengths, default=0), self._open_files, []
        out = empty((len(places), steps, self._dim), self._dtype)
        for features, (file, offset, length) in zip(out, places, strict=True):
            if length < steps:
                features[length:] = 0
                features = features[:length]
            try:  # as in `read`
                if preadv(open_files[file], (features,), offset) == features.nbytes:  # pyright: ignore[reportArgumentType]
                    continue
            except (KeyError, OSError):
                pass
            wanted.append((file, offset, features))
        self._files.read_many(wanted)
        return out, np.array(lengths, np.int64)

    def __missing__(self, clip_id: str) -> tuple[str, int, int]:
        record, row, length = find(self._index.places, clip_id, self._index.root)
        extent = record.extents[self._stream]
        offset = extent.offset + row * self._row_bytes
        if length * self._row_bytes > LARGE:
            _require_bytes(self._files, extent.file, offset + length * self._row_bytes)
        if len(self) >= KEPT_PLACES:
            self.clear()
        self[clip_id] = place = (extent.file, offset, length)
        return place


class PackedRows:
    """Rows of a compressed stream: the pieces that a clip touches are read and unpacked."""

    def __init__(self, stream: str, header: Header, index: Index, files: Files) -> None:
        self._stream, self._header, self._index, self._files = stream, header, index, files
        self._spec = header.streams[stream]

    def read(self, clip_id: str, start: int | None, stop: int | None) -> np.ndarray:
        """As in `Rows`."""
        record, row, length = find(self._index.places, clip_id, self._index.root)
        start, stop, _ = slice(start, stop).indices(length)
        out = _zeros((max(0, stop - start), self._spec.dim), self._spec, f"clip {clip_id!r}")
        read_rows(self._files, self._header, record, self._stream, row + start, out)
        return out

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As in `Rows`: the pieces of all clips are fetched at once, each one once."""
        places = [find(self._index.places, clip_id, self._index.root) for clip_id in clip_ids]
        lengths = np.array([length for _, _, length in places], np.int64)
        shape = (len(places), int(lengths.max(initial=0)), self._spec.dim)
        out = _zeros(shape, self._spec, f"a batch of {len(places)} clips")
        wanted = [(record, row, features[:length]) for (record, row, length), features in zip(places, out, strict=True)]
        _read_packed(self._files, self._header, self._stream, wanted)
        return out, lengths


class CheckedRows:
    """The rows of another reader, each clip compared with its checksum: the first time that it is read, or always."""

    def __init__(self, rows: Rows, stream: str, index: Index, check: Check) -> None:
        self._rows, self._stream, self._index, self._always = rows, stream, index, check == "always"
        self._sound: set[str] = set()

    def read(self, clip_id: str, start: int | None, stop: int | None) -> np.ndarray:
        """As in `Rows`: a checksum is of a whole clip, which is read for it."""
        if clip_id in self._sound:
            return self._rows.read(clip_id, start, stop)
        features = self._rows.read(clip_id, None, None)
        self._compare(clip_id, features)
        return features if start is None and stop is None else features[start:stop].copy()

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As in `Rows`."""
        out, lengths = self._rows.read_batch(clip_ids)
        if not self._sound.issuperset(clip_ids):
            for clip_id, features, length in zip(clip_ids, out, lengths.tolist(), strict=True):
                if clip_id not in self._sound:
                    self._compare(clip_id, features[:length])
        return out, lengths

    def _compare(self, clip_id: str, features: np.ndarray) -> None:
        record, position = self._index.position(clip_id)
        require_sum(features, record, position, self._stream, self._index.root)
        if not self._always:
            if len(self._sound) >= KEPT_SOUND:
                self._sound.clear()
            self._sound.add(clip_id)


class ResidentRows(dict[str, tuple[int, int]]):
    """A stream in memory: clip id -> (its first row, length), worked out when it is asked for; `KEPT_PLACES` are kept.

    flat: (S, D), the shards one after the other. first: shard -> its first row, as it was when the stream was read.
    """

    def __init__(self, flat: np.ndarray, first: dict[int, int], places: Mapping[str, Place], root: object) -> None:
        super().__init__()
        self._flat, self._first, self._places, self._root = flat, first, places, root

    def read(self, clip_id: str, start: int | None, stop: int | None) -> np.ndarray:
        """As in `Rows`."""
        first, length = self[clip_id]
        return self._flat[first : first + length][start:stop].copy()

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As in `Rows`."""
        places = [self[clip_id] for clip_id in clip_ids]
        lengths = np.array([length for _, length in places], np.int64)
        out = np.empty((len(places), int(lengths.max(initial=0)), self._flat.shape[1]), self._flat.dtype)
        for features, (first, length) in zip(out, places, strict=True):
            features[:length] = self._flat[first : first + length]
            features[length:] = 0
        return out, lengths

    def __missing__(self, clip_id: str) -> tuple[int, int]:
        record, row, length = find(self._places, clip_id, self._root)
        if record.shard not in self._first:  # it was committed since
            raise not_there(clip_id, self._root, len(self._places))
        if len(self) >= KEPT_PLACES:
            self.clear()
        self[clip_id] = place = (self._first[record.shard] + row, length)
        return place


def rows_of(stream: str, header: Header, index: Index, files: Files, resident: Resident, check: Check) -> Rows:
    """Return the reader of a stream, which is held in memory as `resident` says, and compared as `check` says.

    Raises:
        StoreError: if it does not fit there, naming both sizes, before anything is read; or if it is held and damaged.
    """
    spec = header.streams[stream]
    rows: Rows = (
        PackedRows(stream, header, index, files) if header.compression else PlainRows(stream, spec, index, files)
    )
    if check != "never":
        rows = CheckedRows(rows, stream, index, check)
    if resident == "no":
        return rows
    places, first, num_steps = index.places, dict[int, int](), 0
    records = [record for record in places.records().values() if record.clips]
    for record in records:
        first[record.shard], num_steps = num_steps, num_steps + record.steps
    needed, free = num_steps * spec.row_bytes, _free_memory()
    if resident == "auto" and needed > AUTO_SHARE * free:
        return rows
    if needed > free:
        raise StoreError(
            f"stream {stream!r} of {files.root} takes {needed >> 20} MiB, {free >> 20} MiB are free in memory: "
            "open the store with resident='no'"
        )
    flat = np.empty((num_steps, spec.dim), spec.numpy_dtype)
    for record in records:
        start = first[record.shard]
        shard = flat[start : start + record.steps]
        read_rows(files, header, record, stream, 0, shard)
        for position, (row, length) in enumerate(zip(record.rows, record.lengths, strict=True)):
            require_sum(shard[row : row + length], record, position, stream, files.root)
    return ResidentRows(flat, first, places, files.root)


def _free_memory() -> int:
    """Return the bytes that the system still has."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
    except (OSError, StopIteration):  # no Linux
        pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def read_rows(files: Files, header: Header, record: Record, stream: str, row: int, out: np.ndarray) -> None:
    """Fill `out` (T, D) with the rows of a shard from `row` on. Raises StoreError if they are not there."""
    extent, row_bytes = record.extents[stream], header.streams[stream].row_bytes
    if header.compression is None:
        return files.read_into(extent.file, extent.offset + row * row_bytes, out)
    _read_packed(files, header, stream, [(record, row, out)])


def _read_packed(files: Files, header: Header, stream: str, wanted: list[tuple[Record, int, np.ndarray]]) -> None:
    """Do `read_rows` of a compressed stream for each (record, row, out)."""
    assert header.compression
    spec, chunk_steps = header.streams[stream], header.compression.chunk_steps
    packed: dict[tuple[str, int], np.ndarray] = {}  # (file, first byte) -> the piece as it is stored
    parts: list[tuple[tuple[str, int], int, np.ndarray]] = []  # piece, its first row that is wanted, where that goes
    for record, row, out in wanted:
        file, pieces, done = record.extents[stream].file, record.extents[stream].pieces or [], 0
        while done < len(out):
            number, skip = divmod(row + done, chunk_steps)
            if number >= len(pieces):
                raise DamagedError(f"{files.describe(file)} has too few pieces for row {row} on: {REPAIR}")
            start, stop = pieces[number]
            if (file, start) not in packed:
                if stop - start > LARGE:
                    _require_bytes(files, file, stop)
                packed[file, start] = np.empty(stop - start, np.uint8)
            parts.append(((file, start), skip, out[done : done + chunk_steps - skip]))
            done += chunk_steps - skip
    files.read_many((file, start, data) for (file, start), data in packed.items())
    unpack = header.compression.unpacker(chunk_steps * spec.row_bytes, spec.numpy_dtype.itemsize)
    rows: dict[tuple[str, int], np.ndarray] = {}
    for (file, start), data in packed.items():
        try:
            rows[file, start] = unpack(data).view(spec.numpy_dtype).reshape(chunk_steps, spec.dim)
        except DamagedError as error:
            where = f"{files.describe(file)}, bytes {start} to {start + len(data)}"
            raise DamagedError(f"{where}: {error}") from None
    for piece, skip, out in parts:
        out[...] = rows[piece][skip : skip + len(out)]


def require_sum(features: np.ndarray, record: Record, position: int, stream: str, root: object) -> None:
    """Raise DamagedError if the rows (T, D) of a clip are not those that were written, by its checksum."""
    if hex_crc32(features.data) != record.checksums[stream][position]:
        raise DamagedError(f"clip {record.clips[position]!r}, stream {stream!r} of {root} is damaged: {REPAIR}")


def _zeros(shape: tuple[int, ...], spec: StreamSpec, what: str) -> np.ndarray:
    try:
        return np.zeros(shape, spec.numpy_dtype)
    except (MemoryError, ValueError) as error:
        raise StoreError(f"{what} of {shape} numbers does not fit into memory: read less at once") from error


def _require_bytes(files: Files, path: str, end: int) -> None:
    """Raise DamagedError if a file ends before `end`: before the memory is taken that a record says it needs."""
    try:
        size = files.size(path)
    except OSError as error:
        raise cannot_read(files.describe(path), error) from error
    if size < end:
        raise DamagedError(f"{files.describe(path)} has {size} bytes, {end} needed: {REPAIR}")
