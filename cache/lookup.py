"""Which clip lies where: in the tables for most of a large store, in memory for what is in no table yet."""

import os
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from weakref import WeakSet

from cache.errors import NotFoundError
from cache.record import Record
from cache.table import Table

Place = tuple[Record, int, int]
"""Where a clip is: the record of its shard, its first row in it, its length."""


class Places(Mapping[str, Place]):
    """Clip id -> where it is. Those of tables are looked up there; the others are in `untabled`."""

    def __init__(self, tables: Sequence[Table], replaced: set[int]) -> None:
        self.tables, self.replaced, self.untabled = list(tables), replaced, dict[str, Place]()
        self.doubled: dict[str, set[int]] = {}  # clip -> its shards, if several: the lowest counts
        self._own: dict[int, Record] = {}
        self._gone = [table.ordinals(replaced) for table in tables]
        self._num_tabled = sum(len(t) - t.num_clips(gone) for t, gone in zip(tables, self._gone, strict=True))

    def put(self, record: Record) -> None:
        """Take in a record of a higher number than any of the tables'."""
        self._own[record.shard] = record
        for clip, row, length in zip(record.clips, record.rows, record.lengths, strict=True):
            place = (record, row, length)
            first = self._tabled(clip) or self.untabled.setdefault(clip, place)
            if first is not place:
                self.doubled.setdefault(clip, {first[0].shard}).add(record.shard)

    def records(self) -> dict[int, Record]:
        """Return the records by their shards, in order."""
        shards = [t.shard(o) for t, gone in zip(self.tables, self._gone, strict=True) for o in t.others(gone)]
        return {shard.shard: shard for shard in shards} | self._own  # pyright: ignore[reportReturnType]

    def _tabled(self, clip: str) -> Place | None:
        for table in self.tables:
            for shard, position in table.find(clip):
                if shard.shard not in self.replaced:
                    return shard, *shard.place(position)  # pyright: ignore[reportReturnType]
        return None

    def __getitem__(self, clip: str) -> Place:
        place = self.untabled.get(clip) or self._tabled(clip)
        if place is None:
            raise KeyError(clip)
        return place

    def __contains__(self, clip: object) -> bool:
        return clip in self.untabled or (isinstance(clip, str) and self._tabled(clip) is not None)

    def __len__(self) -> int:
        return self._num_tabled + len(self.untabled)

    def __iter__(self) -> Iterator[str]:
        for table, gone in zip(self.tables, self._gone, strict=True):
            for ordinal in table.others(gone):
                yield from table.shard(ordinal).clips
        yield from list(self.untabled)


def shards_of(tables: Sequence[Table]) -> set[int]:
    """Return the shards that are in tables."""
    return {shard for table in tables for shard in table.shards.tolist()}


def agree(tables: Sequence[Table], tabled: set[int], there: set[int], documents: dict[int, Record]) -> bool:
    """Say whether tables say what the records say: which are there, and what has become of the others."""
    replaced = {shard for record in documents.values() for shard in record.replaces}
    replaced.update(*(table.replaced for table in tables))
    stop = tables[-1].stop if tables else 0
    late = [shard for shard in documents if shard < stop and documents[shard].clips and shard not in replaced]
    return not late and tabled - there <= replaced


_locks: "WeakSet[ForkLock]" = WeakSet()


class ForkLock:
    """A lock among threads, which a forked process finds free even if a thread held it that it does not have."""

    def __init__(self) -> None:
        self._lock = Lock()
        _locks.add(self)

    def renew(self) -> None:
        """Be free."""
        self._lock = Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _renew_locks() -> None:
    for lock in list(_locks):
        lock.renew()


os.register_at_fork(after_in_child=_renew_locks)


def find(places: Mapping[str, Place], clip_id: str, root: object) -> Place:
    """Return where a clip is. Raises NotFoundError if the store does not have it."""
    try:
        return places[clip_id]
    except KeyError:
        raise not_there(clip_id, root, len(places)) from None


def not_there(clip_id: str, root: object, num_clips: int) -> NotFoundError:
    """Return the error for a clip that a store does not have."""
    return NotFoundError(f"clip {clip_id!r} is not in {root} ({num_clips} clips): add it first")
