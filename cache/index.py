"""The index: which clip lies where. A sealed JSON record a shard, in a file of its own; that file is the commit.

`index/00000007.json` appears, complete, by a rename: then shard 7 is in the store, and not before.
A writer owns shard 7 from the moment it makes `index/00000007.claim`, which it removes after the commit.
"""

import errno
import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from threading import Lock

from cache.errors import StoreError
from cache.header import Header
from cache.places.base import Files
from cache.record import Record

FOLDER, TEMPORARY = "index", "tmp"
Place = tuple[Record, int, int]
"""Where a clip is: the record of its shard, its first row in it, its length."""


class Index:
    """The committed shards of a store, in order of their number, and the place of every clip."""

    def __init__(self, files: Files, header: Header) -> None:
        self._files, self._header, self.root = files, header, files.root
        self._lock = ForkLock()
        self._take({})
        self.refresh()

    def _take(self, documents: dict[int, Record]) -> None:
        """Know these records and no others. What others read while this happens is either the old or the new."""
        replaced = {shard for record in documents.values() for shard in record.replaces}
        places: dict[str, Place] = {}
        doubled: dict[str, set[int]] = {}
        records = {shard: documents[shard] for shard in sorted(documents) if shard not in replaced}
        for record in records.values():
            _put(record, places, doubled)
        self._documents = documents  # shard -> every record that is there, also those that are replaced
        self.records, self.doubled = records, doubled  # `doubled`: clip -> its shards, if several: the lowest counts
        self.places = places

    def refresh(self) -> None:
        """Take in what has been committed, and what removed, since the last look.

        Raises:
            StoreError: if a record is damaged; what was known before is known still.
        """
        with self._lock:
            self._look()

    def _look(self) -> None:
        found: dict[int, Record] = {}
        there = records_there(self._files)
        while True:
            complete = self._read([shard for shard in there if shard not in self._documents], found)
            gone = not self._documents.keys() <= {*there}
            if complete and not found and not gone:
                return
            if complete and self._files.lists_at_once:
                break
            before, there = there, records_there(self._files)
            if there == before:  # a folder that changes while it is listed may be listed without what was always in it
                break
        if not complete:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.root))
        fresh = [found[shard] for shard in there if shard in found]
        later = min((record.shard for record in fresh), default=0) > max(self._documents, default=-1)
        if gone or any(record.replaces for record in fresh) or not later:
            return self._take({shard: found.get(shard) or self._documents[shard] for shard in there})
        for record in fresh:
            self._add(record)

    def _read(self, shards: Sequence[int], found: dict[int, Record]) -> bool:
        """Read those of the records into `found` that are not in it; say whether none was removed meanwhile."""
        missing = [shard for shard in shards if shard not in found]
        try:
            for shard, data in zip(missing, self._files.read_each(map(record_path, missing)), strict=True):
                where = self._files.describe(record_path(shard))
                record = Record.from_bytes(data, where, self._header)
                if record.shard != shard:
                    raise StoreError(f"{where} is the record of shard {record.shard}: give it back its own name")
                found[shard] = record
        except FileNotFoundError:
            return False
        return True

    def commit(self, record: Record, temporary: str) -> None:
        """Make a claimed shard part of the store, for good, in one step."""
        if not self._files.exists(claim_path(record.shard)):
            raise StoreError(
                f"{self.root} was repaired or pruned while shard {record.shard} was being written, which is given up: "
                "run again when that is done"
            )
        self.put(record, temporary)

    def put(self, record: Record, temporary: str) -> None:
        """As `commit`, whatever has become of the claim."""
        put_record(self._files, record, temporary)
        with self._lock:
            self._know(record)

    def _know(self, record: Record) -> None:
        if record.shard > max(self._documents, default=-1):
            self._add(record)
        else:
            self._take({**self._documents, record.shard: record})

    def unlink(self, shards: Sequence[int]) -> None:
        """Remove records that others stand for."""
        unlink_records(self._files, shards)
        for shard in shards:
            self._documents.pop(shard, None)
            self.records.pop(shard, None)

    def claim(self) -> int:
        """Return a shard number that is ours alone."""
        return claim_number(self._files)

    def release(self, shard: int) -> None:
        """Give up a claim: after the commit, or when the shard cannot be written."""
        self._files.remove(claim_path(shard))

    def next_shard(self) -> int:
        """Return the number after the highest that is committed or claimed."""
        return _next_number(self._files)

    def position(self, clip: str) -> tuple[Record, int]:
        """Return the record that holds a clip, and the clip's position in its lists."""
        record, row, _ = self.places[clip]
        return record, bisect_left(record.rows, row)

    def _add(self, record: Record) -> None:
        """Know one more record, of the highest number of all."""
        self._documents[record.shard] = record
        old = [self.records[shard] for shard in record.replaces if shard in self.records]
        if old and self.doubled:
            return self._take(self._documents)
        for gone in old:
            del self.records[gone.shard]
            for clip in gone.clips:
                del self.places[clip]
        self.records[record.shard] = record
        _put(record, self.places, self.doubled)


def _put(record: Record, places: dict[str, Place], doubled: dict[str, set[int]]) -> None:
    for clip, row, length in zip(record.clips, record.rows, record.lengths, strict=True):
        place = (record, row, length)
        first = places.setdefault(clip, place)
        if first is not place:
            doubled.setdefault(clip, {first[0].shard}).add(record.shard)


def _numbers(names: Iterable[str], kind: str | None = None) -> list[int]:
    """Return the shard numbers in the names of records and claims, or of one `kind`; other files are ignored."""
    parts = (name.partition(".") for name in names)
    kinds = (kind,) if kind else ("json", "claim")
    return sorted(
        int(number) for number, _, rest in parts if rest in kinds and 8 <= len(number) <= 12 and number.isdecimal()
    )


def claim_number(files: Files) -> int:
    """Return a shard number that is ours alone."""
    shard = _next_number(files)
    while True:
        if files.claim(claim_path(shard)):
            # Its owner may have committed it, and somebody replaced it, between our two looks: no number is used twice.
            if shard > max(records_there(files), default=-1):
                return shard
            files.remove(claim_path(shard))
            shard = _next_number(files)
        else:
            shard += 1


def _next_number(files: Files) -> int:
    return max(_numbers(files.names(FOLDER)), default=-1) + 1


def put_record(files: Files, record: Record, temporary: str) -> None:
    """Write a record; it appears whole."""
    files.write_whole(record_path(record.shard), record.to_bytes(), temporary)
    files.sync(FOLDER)


def unlink_records(files: Files, shards: Iterable[int]) -> None:
    """Remove records that others stand for, for good."""
    for shard in shards:
        files.remove(record_path(shard))
    files.sync(FOLDER)


def records_there(files: Files) -> list[int]:
    """Return the numbers of all records in the index, readable or not."""
    return _numbers(files.names(FOLDER), "json")


def claims_there(files: Files) -> list[int]:
    """Return the numbers of all claims in the index."""
    return _numbers(files.names(FOLDER), "claim")


def record_path(shard: int) -> str:
    """Return the index file of a shard."""
    return f"{FOLDER}/{shard:08d}.json"


def claim_path(shard: int) -> str:
    """Return the file whose owner may write a shard."""
    return f"{FOLDER}/{shard:08d}.claim"


class ForkLock:
    """A lock among threads, which a forked process finds free even if a thread held it that it does not have."""

    def __init__(self) -> None:
        self._lock, self._process = Lock(), os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock, self._process = Lock(), os.getpid()
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
