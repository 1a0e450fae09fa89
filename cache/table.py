"""Tables: what many records say, in arrays that are mapped and not read. Derived from the records, never the truth.

`index/00000000-00000640.table` holds the shards 0 to 639 that have clips. Processes share its pages, and opening a
store costs no more with a million clips than with a thousand. K shards, N clips, in the order of the records.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from cache.header import Header
from cache.places.base import Files
from cache.record import Extent, Record
from cache.seal import crc32, hex_crc32, is_sealed, known, seal

NAME = re.compile(r"([0-9]{8,10})-([0-9]{8,10})\.table")
KEPT_SHARDS = 1 << 14
"""Shards of a table that a process keeps at hand, a kilobyte each."""
_ALIGNMENT = 64


class Piece(NamedTuple):
    """Some shards that follow each other, with their clips.

    shards (K,): their numbers. counts (K,): clips of each. facts: what their records say of all their clips together,
    as JSON. ids, sources: UTF-8, one after the other, and the bytes of each (N,). said (N,): whether there is a source.
    lengths (N,): steps. hashes (N,): CRC-32 of the ids. sums: CRC-32 of the rows by stream (N,).
    """

    shards: np.ndarray
    counts: np.ndarray
    facts: tuple[np.ndarray, np.ndarray]
    ids: tuple[np.ndarray, np.ndarray]
    sources: tuple[np.ndarray, np.ndarray]
    said: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray
    sums: dict[str, np.ndarray]


def piece_of(records: Sequence[Record], streams: Sequence[str]) -> Piece:
    """Return what records say."""
    ids = [clip.encode() for record in records for clip in record.clips]
    sources = [source for record in records for source in record.sources]
    facts = [
        json.dumps(
            {
                "files": record.files,
                "replaces": record.replaces,
                "extents": {name: extent.to_json() for name, extent in record.extents.items()},
            }
        ).encode()
        for record in records
    ]
    return Piece(
        shards=np.array([record.shard for record in records], "<u4"),
        counts=np.array([len(record.clips) for record in records], "<u4"),
        facts=_blob(facts),
        ids=_blob(ids),
        sources=_blob([(source or "").encode() for source in sources]),
        said=np.array([source is not None for source in sources], "u1"),
        lengths=np.array([length for record in records for length in record.lengths], "<u8"),
        hashes=np.array([crc32(clip) for clip in ids], "<u4"),
        sums={name: np.array([int(s, 16) for r in records for s in r.checksums[name]], "<u4") for name in streams},
    )


def write_table(
    files: Files,
    header: Header,
    span: tuple[int, int],
    pieces: Sequence[Piece],
    replaced: Sequence[int],
    temporary: str,
) -> str:
    """Write the table of the shards in [first, stop) = `span`, and return its name.

    replaced: numbers that these shards, or any that they stand for, have replaced.
    """
    join = np.concatenate

    def texts(name: str) -> dict[str, np.ndarray]:
        blobs = [getattr(piece, name) for piece in pieces]
        return {name: join([blob for blob, _ in blobs]), f"{name}_at": _starts(join([sizes for _, sizes in blobs]))}

    hashes = join([piece.hashes for piece in pieces])
    order = np.argsort(hashes, kind="stable").astype("<u4")
    arrays = {
        "replaced": np.array(sorted(replaced), "<u4"),
        "shards": join([piece.shards for piece in pieces]),
        "firsts": _starts(join([piece.counts for piece in pieces])),
        **texts("facts"),
        **texts("ids"),
        **texts("sources"),
        "said": join([piece.said for piece in pieces]),
        "starts": _starts(join([piece.lengths for piece in pieces])),
        "hashes": hashes[order],
        "order": order,
        **{f"sums.{name}": join([piece.sums[name] for piece in pieces]) for name in header.streams},
    }
    parts, layout, size, checksum = [], {}, 0, 0
    for name, array in arrays.items():
        layout[name] = [array.dtype.str, size, len(array)]
        padding = bytes(-array.nbytes % _ALIGNMENT)
        size += array.nbytes + len(padding)
        checksum = crc32(padding, crc32(array.data, checksum))
        parts += [array, padding]
    about = {"store": identity(header), "span": span, "bytes": size, "sum": checksum, "arrays": layout}
    head = seal(about)
    name = f"index/{span[0]:08d}-{span[1]:08d}.table"
    files.write(temporary, [head, bytes(-len(head) % _ALIGNMENT), *[part for part in parts if len(part)]])
    files.rename(temporary, name)
    return name


def identity(header: Header) -> str:
    """Return which store a table is of."""
    return header.id or hex_crc32(header.to_bytes())


class Table:
    """A table, mapped. Raises ValueError if it is not one of this store, or not whole; OSError if it is not there."""

    def __init__(self, files: Files, header: Header, name: str) -> None:
        self.name, self._streams = name, list(header.streams)
        data = memoryview(files.map(name))
        head = bytes(data[: bytes(data[: 1 << 16]).find(b"\n") + 1])
        start = len(head) + -len(head) % _ALIGNMENT
        if not is_sealed(head) or (about := json.loads(head))["store"] != identity(header):
            raise ValueError(name)
        if len(data) != start + about["bytes"]:
            raise ValueError(name)
        (self.first, self.stop), self._sum = about["span"], about["sum"]
        self._body = data[start:]
        for key, (dtype, offset, count) in about["arrays"].items():
            array = np.frombuffer(data[start + offset :], np.dtype(dtype), count)
            setattr(self, "_" + key.replace(".", "_of_"), array)
        self.shards: np.ndarray = self._shards
        self.replaced: list[int] = self._replaced.tolist()
        # Of a view an item is a number of Python, which is several times as fast as one of numpy.
        self._views = (self._hashes.data, self._order.data, self._firsts.data, self._ids_at.data)
        self.starts, self._ids_view = self._starts.data, self._ids.data
        self._cache: dict[int, Shard] = {}

    def is_whole(self) -> bool:
        """Say whether not a bit of it has changed."""
        return crc32(self._body) == self._sum

    def __len__(self) -> int:
        """Return the clips in it."""
        return len(self._said)

    def find(self, clip: str) -> Iterator[tuple["Shard", int]]:
        """Yield the shards that hold a clip, the lowest number first, and its position in each."""
        text = clip.encode(errors="surrogatepass")
        wanted, (hashes, order, firsts, at) = crc32(text), self._views
        place = bisect_left(hashes, wanted)
        while place < len(hashes) and hashes[place] == wanted:
            number = order[place]
            if self._ids_view[at[number] : at[number + 1]] == text:
                ordinal = bisect_right(firsts, number) - 1
                yield self.shard(ordinal), number - firsts[ordinal]
            place += 1

    def shard(self, ordinal: int) -> "Shard":
        """Return one of its shards."""
        if ordinal not in self._cache:
            if len(self._cache) >= KEPT_SHARDS:
                self._cache.clear()
            self._cache[ordinal] = Shard(self, ordinal)
        return self._cache[ordinal]

    def ordinals(self, shards: Iterable[int]) -> list[int]:
        """Return where those of the shards stand that are in it, in order."""
        return np.flatnonzero(np.isin(self.shards, np.fromiter(shards, np.int64))).tolist()

    def others(self, ordinals: Sequence[int]) -> Iterable[int]:
        """Return the places of all its shards but those, in order."""
        return range(len(self.shards)) if not ordinals else sorted({*range(len(self.shards))} - {*ordinals})

    def num_clips(self, ordinals: Sequence[int]) -> int:
        """Return the clips of the shards at these places."""
        return sum(int(self._firsts[ordinal + 1] - self._firsts[ordinal]) for ordinal in ordinals)

    def pieces(self, without: Sequence[int]) -> Iterator[Piece]:
        """Yield what it holds, but for the shards at these places."""
        for before, after in pairwise([-1, *without, len(self.shards)]):
            if before + 1 < after:
                yield self._piece(before + 1, after)

    def _piece(self, start: int, stop: int) -> Piece:
        clips = slice(int(self._firsts[start]), int(self._firsts[stop]))
        hashes = np.empty(len(self), "<u4")
        hashes[self._order] = self._hashes

        def texts(name: str, span: slice) -> tuple[np.ndarray, np.ndarray]:
            at = getattr(self, f"_{name}_at")[span.start : span.stop + 1]
            return getattr(self, f"_{name}")[int(at[0]) : int(at[-1])], np.diff(at)

        return Piece(
            shards=self.shards[start:stop],
            counts=np.diff(self._firsts[start : stop + 1]),
            facts=texts("facts", slice(start, stop)),
            ids=texts("ids", clips),
            sources=texts("sources", clips),
            said=self._said[clips],
            lengths=np.diff(self._starts[clips.start : clips.stop + 1]),
            hashes=hashes[clips],
            sums={name: getattr(self, f"_sums_of_{name}")[clips] for name in self._streams},
        )

    def text(self, name: str, number: int) -> str:
        """Return the text of a clip or shard in one of its lists."""
        at = getattr(self, f"_{name}_at")
        return getattr(self, f"_{name}")[int(at[number]) : int(at[number + 1])].tobytes().decode(errors="surrogatepass")

    _shards: np.ndarray
    _replaced: np.ndarray
    _firsts: np.ndarray
    _said: np.ndarray
    _starts: np.ndarray
    _ids: np.ndarray
    _ids_at: np.ndarray
    _hashes: np.ndarray
    _order: np.ndarray


class Shard:
    """What a table says of one shard: what is asked of a `Record`, without reading it."""

    def __init__(self, table: Table, ordinal: int) -> None:
        self._table, self._ordinal = table, ordinal
        self.shard = int(table.shards[ordinal])
        self._clips = slice(int(table._firsts[ordinal]), int(table._firsts[ordinal + 1]))

    @property
    def clips(self) -> "_Texts":
        """The clip ids, as in `Record`."""
        return _Texts(self._table, "ids", self._clips)

    @property
    def sources(self) -> "_Texts":
        """What they were made from, as in `Record`."""
        return _Texts(self._table, "sources", self._clips)

    @property
    def checksums(self) -> dict[str, "_Sums"]:
        """The checksums, as in `Record`."""
        table = self._table
        return {name: _Sums(getattr(table, f"_sums_of_{name}"), self._clips) for name in table._streams}

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return json.loads(self._table.text("facts", self._ordinal))

    @cached_property
    def extents(self) -> dict[str, Extent]:
        """Where the rows are, as in `Record`."""
        return {name: known(Extent, item) for name, item in self._facts["extents"].items()}

    @property
    def copy_path(self) -> str:
        """The copy of the record, as in `Record`."""
        return f"{min(self.files)}.json"

    @property
    def files(self) -> dict[str, Any]:
        """The files, as in `Record`."""
        return self._facts["files"]

    @property
    def replaces(self) -> list[int]:
        """The shards that it stands for, as in `Record`."""
        return self._facts["replaces"]

    @property
    def steps(self) -> int:
        """The rows that are used."""
        return int(self._table._starts[self._clips.stop] - self._table._starts[self._clips.start])

    @property
    def lengths(self) -> list[int]:
        """The steps of each clip."""
        return np.diff(self._table._starts[self._clips.start : self._clips.stop + 1]).tolist()

    @property
    def rows(self) -> list[int]:
        """The first row of each clip."""
        starts = self._table._starts[self._clips]
        return (starts - starts[0]).tolist() if len(starts) else []

    def position(self, row: int) -> int:
        """Return which clip begins at a row."""
        starts = self._table._starts[self._clips]
        return int(np.searchsorted(starts, starts[0] + np.uint64(row)))

    def place(self, position: int) -> tuple[int, int]:
        """Return (first row, steps) of a clip."""
        starts, number = self._table.starts, self._clips.start + position
        return starts[number] - starts[self._clips.start], starts[number + 1] - starts[number]


@dataclass(frozen=True, slots=True)
class _Texts:
    """The ids or sources of a shard's clips; a source that was not said is None."""

    table: Table
    name: str
    clips: slice

    def __len__(self) -> int:
        return self.clips.stop - self.clips.start

    def __iter__(self) -> Iterator[str]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> str:
        number = self.clips.start + position
        if self.name == "sources" and not self.table._said[number]:
            return None  # pyright: ignore[reportReturnType]
        return self.table.text(self.name, number)


@dataclass(frozen=True, slots=True)
class _Sums:
    """The checksums of a shard's clips in one stream."""

    sums: np.ndarray
    clips: slice

    def __getitem__(self, position: int) -> str:
        return f"{self.sums[self.clips.start + position]:08x}"


def open_tables(files: Files, header: Header, names: Sequence[str]) -> list[Table]:
    """Return tables that follow each other from shard 0 on, of those with these names."""
    spans = sorted(
        ((int(match[1]), int(match[2])) for name in names if (match := NAME.fullmatch(name))),
        key=lambda span: (span[0], -span[1]),
    )
    found: list[Table] = []
    for first, stop in spans:
        if first == (found[-1].stop if found else 0):
            try:
                found.append(Table(files, header, f"index/{first:08d}-{stop:08d}.table"))
            except (OSError, ValueError, KeyError, TypeError):  # it is derived: the records say the same
                continue
    return found


def unsound_tables(files: Files, header: Header) -> list[str]:
    """Return the tables that are not what they were when they were written; they can go."""
    found = []
    for name in filter(NAME.fullmatch, files.names("index")):
        try:
            if not Table(files, header, f"index/{name}").is_whole():
                found.append(f"index/{name}")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            found.append(f"index/{name}")
    return found


def _blob(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(b"".join(texts), "u1"), np.array([len(text) for text in texts], "<u8")


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Return where each of some things begins that follow each other, and where the last one ends."""
    starts = np.zeros(len(sizes) + 1, "<u8")
    np.cumsum(sizes, out=starts[1:])
    return starts
