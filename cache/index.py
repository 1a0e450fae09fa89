"""The index: which clip lies where. A sealed JSON record a shard, in a file of its own; that file is the commit.

`index/00000007.json` appears, complete, by a rename: then shard 7 is in the store, and not before.
A writer owns shard 7 from the moment it makes `index/00000007.claim`, which it removes after the commit.
"""

from bisect import bisect_left
from dataclasses import dataclass, field, fields
from typing import Any

from cache.files import LocalFiles
from cache.header import complaints, known, seal, unseal

FOLDER = "index"


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

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Extent":
        """Read what `to_json` returns. Raises ValueError where a place is before the start of the file."""
        extent = known(cls, document)
        if extent.offset < 0 or any(not 0 <= start <= stop for start, stop in extent.pieces or ()):
            raise ValueError(f"it has a place before the start of {extent.file!r}")
        return extent


@dataclass(frozen=True, slots=True)
class Record:
    """One committed shard; the lists run parallel.

    sources: what each clip was made from (a hash or any text; None if not said).
    checksums: stream -> CRC-32 of each clip's rows, little-endian bytes, as 8 hex digits.
    files: file -> {"bytes": its size, "rest": CRC-32 of all its bytes that belong to no clip, in order; where the rows
        are compressed that is every byte}.
    replaces: shards that this one stands for from now on; their records do not count any more. If nothing is left of
        them it is a record without clips and files: its number, and theirs, are never given to another shard.
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

    def to_bytes(self) -> bytes:
        """Return the bytes of the index file."""
        document = {key.name: getattr(self, key.name) for key in fields(self)}
        if not self.replaces:
            del document["replaces"]
        return seal({**document, "extents": {name: extent.to_json() for name, extent in self.extents.items()}})

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Record":
        """Read an index file. Raises StoreError where it is damaged, makes no sense, or names files outside data/."""
        document = unseal(data, where)
        with complaints(where):
            extents = {name: Extent.from_json(item) for name, item in document["extents"].items()}
            record = known(cls, {**document, "extents": extents})
            columns = [record.rows, record.lengths, record.sources, *record.checksums.values()]
            if any(len(column) != len(record.clips) for column in columns):
                raise ValueError("its lists are not equally long")
            files = {extent.file for extent in extents.values()}
            if record.checksums.keys() != extents.keys() or record.files.keys() != files:
                raise ValueError("its streams or files do not go together")
            if not all({"bytes", "rest"} <= facts.keys() for facts in record.files.values()):
                raise ValueError("it does not say the bytes or the rest of a file")
            for file in files:
                folder, *inner = file.split("/")
                if folder != "data" or not inner or {"", ".", ".."} & {*inner}:
                    raise ValueError(f"it names the file {file!r}, which is not in the store's folder data/")
        return record


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of a shard that waits under a temporary name. bytes, rest: as in `Record.files`."""

    temporary: str
    final: str
    bytes: int
    rest: str


class Index:
    """The committed shards of a store, in order of their number, and the place of every clip."""

    def __init__(self, files: LocalFiles) -> None:
        self._files, self.root = files, files.root
        self._forget()
        self.refresh()

    def _forget(self) -> None:
        self._seen: set[str] = set()
        self._replaced: set[int] = set()
        self.records: dict[int, Record] = {}
        self.places: dict[str, tuple[int, int, int]] = {}  # clip -> (shard, row, length)
        self.doubled: dict[str, set[int]] = {}  # clip -> its shards, where these are several: the lowest counts

    def refresh(self) -> None:
        """Take in what has been committed, and what removed, since the last look. Raises StoreError on damage."""
        there = [name for name in self._files.names(FOLDER) if name.endswith(".json")]
        if not self._seen <= {*there}:
            self._forget()
        names = [name for name in there if name not in self._seen]
        documents = self._files.read_each(f"{FOLDER}/{name}" for name in names)
        for name, data in zip(names, documents, strict=True):
            self._add(Record.from_bytes(data, self._files.describe(f"{FOLDER}/{name}")))
            self._seen.add(name)

    def commit(self, record: Record, temporary: str) -> None:
        """Make a claimed shard part of the store, for good, in one step."""
        self._files.write(temporary, [record.to_bytes()])
        self._files.sync(temporary)
        self._files.rename(temporary, record_path(record.shard))
        self._files.sync(FOLDER)
        self._add(record)
        self._seen.add(record_path(record.shard).rpartition("/")[2])

    def claim(self) -> int:
        """Return a shard number that is ours alone."""
        shard = self.next_shard()
        while True:
            if self._files.claim(claim_path(shard)):
                if not self._files.exists(record_path(shard)):
                    return shard
                self.release(shard)  # its owner committed it and gave up the claim between our two looks
            shard += 1

    def release(self, shard: int) -> None:
        """Give up a claim: after the commit, or when the shard cannot be written."""
        self._files.remove(claim_path(shard))

    def next_shard(self) -> int:
        """Return the number after the highest that is committed or claimed."""
        names = [name for name in self._files.names(FOLDER) if name.endswith((".json", ".claim"))]
        return max((int(name.partition(".")[0]) for name in names), default=-1) + 1

    def position(self, clip: str) -> tuple[Record, int]:
        """Return the record that holds a clip, and the clip's position in its lists."""
        shard, row, _ = self.places[clip]
        record = self.records[shard]
        return record, bisect_left(record.rows, row)

    def _add(self, record: Record) -> None:
        self._replaced.update(record.replaces)
        if record.replaces and self._replaced & self.records.keys():
            others = [other for shard, other in self.records.items() if shard not in self._replaced]
            self.records, self.places, self.doubled = {}, {}, {}
            for other in others:
                self._add(other)
        if record.shard in self._replaced:
            return
        self.records[record.shard] = record
        for clip, row, length in zip(record.clips, record.rows, record.lengths, strict=True):
            place = (record.shard, row, length)
            other = self.places.setdefault(clip, place)
            if other is not place:
                self.doubled.setdefault(clip, {other[0]}).add(record.shard)
                self.places[clip] = min(other, place)


def record_path(shard: int) -> str:
    """Return the index file of a shard."""
    return f"{FOLDER}/{shard:08d}.json"


def claim_path(shard: int) -> str:
    """Return the file whose owner may write a shard."""
    return f"{FOLDER}/{shard:08d}.claim"
