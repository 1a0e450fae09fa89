"""A committed shard, as its record in the index says it: which clips it holds, and where in which files they lie."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any, NamedTuple

from cache.header import Header
from cache.seal import complaints, known, seal, unseal


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a stream's rows of a shard are.

    Plain: row r is at byte `offset + r * dim * itemsize` of `file`. Compressed: piece p, which holds the rows from
    p * chunk_steps on, is the bytes [start, stop) = `pieces[p]` of `file`.
    """

    file: str
    offset: int = 0
    pieces: list[list[int]] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what the index file says of it."""
        if self.pieces is None:
            return {"file": self.file, "offset": self.offset}
        return {"file": self.file, "pieces": self.pieces}


@dataclass(frozen=True, slots=True)
class Record:
    """One committed shard; the lists run parallel.

    sources: what each clip was made from (a hash or any text; None if not said).
    checksums: stream -> CRC-32 of each clip's rows, little-endian bytes, as 8 hex digits.
    files: file -> {"bytes": its size, "rest": CRC-32 of all its bytes that belong to no clip, in order; where the rows
        are compressed that is every byte}.
    replaces: shards that this one stands for from now on; their records do not count any more. If nothing is left of
        them it is a record without clips and files: its number, and theirs, are never given to another shard.
    store: the id of the store that it was written for; empty in records of the first edition.
    """

    shard: int
    steps: int
    clips: list[str]
    rows: list[int]
    lengths: list[int]
    sources: list[str | None]
    checksums: dict[str, list[str]]
    extents: dict[str, Extent]
    files: dict[str, dict[str, Any]]
    replaces: list[int] = field(default_factory=list)
    store: str = ""

    def to_bytes(self) -> bytes:
        """Return the bytes of the index file."""
        document = {key.name: getattr(self, key.name) for key in fields(self)}
        for key in ("replaces", "store"):
            if not document[key]:
                del document[key]
        return seal({**document, "extents": {name: extent.to_json() for name, extent in self.extents.items()}})

    @property
    def copy_path(self) -> str:
        """The file beside the data that says the same as the one in the index; empty if there are no data."""
        return f"{min(self.files)}.json" if self.files else ""

    @classmethod
    def from_bytes(cls, data: bytes, where: str, header: Header) -> "Record":
        """Read an index file. Raises StoreError where it is damaged, or makes no sense in a store of this header."""
        document = unseal(data, where)
        with complaints(where):
            extents = {name: known(Extent, item) for name, item in document["extents"].items()}
            record = known(cls, {**document, "extents": extents})
            for fault in _faults(record, header):
                raise ValueError(fault)
        return record


def copy_path(header: Header, shard: int) -> str:
    """Return where the copy of a shard's record is, beside the first of its files."""
    if header.backend == "hdf5":
        return f"data/{shard:08d}.h5.json"
    return min(f"data/{name}/c.{shard}.0.json" for name in header.streams)


class NewFile(NamedTuple):
    """A file of a shard that is to be written: its path, the buffers it is made of, and `rest` as in `Record.files`."""

    path: str
    parts: list[Any]
    rest: str

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of it."""
        return {"bytes": sum(memoryview(part).nbytes for part in self.parts), "rest": self.rest}


def _faults(record: Record, header: Header) -> Iterable[str]:
    """Yield what is wrong with a record, the types first. Whoever has seen none may trust its numbers and paths."""
    if not _whole([record.shard, record.steps, *record.rows, *record.lengths, *record.replaces]):
        yield "a number in it is not whole, or is negative"
    if not all(type(clip) is str and clip for clip in record.clips) or len(set(record.clips)) < len(record.clips):
        yield "its clips are not texts, each another"
    if not all(source is None or type(source) is str for source in record.sources):
        yield "its sources are not texts"
    columns = [record.rows, record.lengths, record.sources, *record.checksums.values()]
    if any(len(column) != len(record.clips) for column in columns):
        yield "its lists are not equally long"
    if 0 in record.lengths or [*record.rows, record.steps] != list(accumulate(record.lengths, initial=0)):
        yield "its rows do not lie one after the other"
    if record.steps > header.shard_steps:
        yield f"it has {record.steps} steps, a shard holds {header.shard_steps}"
    if record.shard in record.replaces:
        yield "it replaces itself"
    streams = header.streams.keys() if record.clips else set()
    if record.checksums.keys() != streams or record.extents.keys() != streams:
        yield f"its places and checksums are not those of the streams {', '.join(streams)}"
    if record.files.keys() != {extent.file for extent in record.extents.values()}:
        yield "its files are not those of its streams"
    for file, facts in record.files.items():
        folder, *inner = file.split("/")
        if folder != "data" or not inner or {"", ".", ".."} & {*inner} or "\0" in file:
            yield f"it names the file {file!r}, which is not in the store's folder data/"
        if not {"bytes", "rest"} <= facts.keys() or not _whole([facts["bytes"]]):
            yield f"it does not say the bytes and the rest of {file}"
    for name, extent in record.extents.items():
        if not _fits(extent, record, header, name):
            yield f"its rows of stream {name!r} do not lie within {extent.file}"


def _fits(extent: Extent, record: Record, header: Header, stream: str) -> bool:
    size = record.files[extent.file]["bytes"]
    if header.compression is None:
        end = record.steps * header.streams[stream].row_bytes
        return extent.pieces is None and _whole([extent.offset]) and extent.offset + end <= size
    pieces = extent.pieces or []
    return len(pieces) == -(-record.steps // header.compression.chunk_steps) and all(
        len(piece) == 2 and _whole(piece) and piece[0] <= piece[1] <= size for piece in pieces
    )


def _whole(numbers: Iterable[Any]) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)
