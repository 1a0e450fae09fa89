"""The index: which clip lies where. A sealed JSON record a shard, in a file of its own; that file is the commit.

`index/00000007.json` appears, complete, under a name that nobody had: then shard 7 is in the store, and not before.
A writer owns shard 7 from the moment it makes `index/00000007.claim`, which it removes after the commit. What is given
up leaves an empty `index/00000007.gone`: a number is never given twice, and every number has one of the three, so that
a record that is lost leaves a hole that is seen.
"""

import contextlib
import errno
import re
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cache.errors import DamagedError, MadeByOtherError, NotFoundError, StoreError
from cache.header import HEADER_PATH, Header, read_header
from cache.lookup import ForkLock, Places, agree, find, shards_of
from cache.places.base import Files
from cache.record import Record, copy_path
from cache.seal import is_sealed, seal
from cache.table import Shard, Table, open_tables, piece_of, write_table

FOLDER, TEMPORARY = "index", "tmp"
CLIPS_UNTABLED, RECORDS_UNTABLED = 4096, 64
"""From so many on, clips and records that are in no table get one."""
GROWTH = 4
"""A table is made one with what follows it once that has a fourth of its clips."""
FAR = 1 << 31
"""Numbers from here on are nobody's: what bears one was not made by a writer."""
_NAME = re.compile(r"([0-9]{8,10})\.(json|claim|gone)")


class Claim(NamedTuple):
    """The right to write a shard. data: what the claim's file says; nobody else's says the same."""

    shard: int
    data: bytes


class Index:
    """The committed shards of a store, in order of their number, and the place of every clip."""

    def __init__(self, files: Files, header: Header) -> None:
        self._files, self._header, self.root = files, header, files.root
        self._version: object = None  # of store.json, as far as it has been compared
        self._lock = ForkLock()
        self._high = -1  # the highest number that is known to be taken
        self._open: set[int] = set()  # claimed and not yet committed when we looked
        self._gone: set[int] = set()  # shards of tables that were given up since
        self._dropped: list[str] = []
        self._documents: dict[int, Record] = {}
        self.places = Places([], set())
        self._look()

    def _take(self, documents: dict[int, Record], tables: Sequence[Table] | None = None) -> None:
        """Know these records and tables, no others. What others read meanwhile is either the old or the new."""
        tables = self.places.tables if tables is None else tables
        replaced = {shard for record in documents.values() for shard in record.replaces}
        replaced.update(self._gone, *(table.replaced for table in tables))
        places = Places(tables, replaced)
        for shard in sorted(documents.keys() - replaced):
            places.put(documents[shard])
        left_out = self._documents.keys() - documents.keys() - shards_of(tables)
        for shard in left_out | (replaced - self.places.replaced):
            self._dropped += record.files if (record := self._record(shard)) else ()
        self._documents = documents  # shard -> every record that is in no table, also those that are replaced
        self.places = places
        self._high = max(self._high, max(replaced | documents.keys(), default=-1), *(t.stop - 1 for t in tables), -1)

    @property
    def records(self) -> dict[int, Record]:
        """The records that count, by their shards. Those of tables know all but their `checksums` as a record does."""
        return self.places.records()

    def _record(self, shard: int) -> Record | Shard | None:
        found = (table.shard(o) for table in self.places.tables for o in table.ordinals([shard]))
        return self._documents.get(shard) or next(found, None)

    def refresh(self) -> None:
        """Take in what has been committed, and what removed, since the last look.

        Raises:
            StoreError: if a record is damaged, or this is another store by now; what was known before is known still.
        """
        self.require_same_store()
        with self._lock:
            self._look()

    def news(self) -> None:
        """Take in what has been committed since the last look, without listing the folder: its cost is by what is new.

        Raises:
            StoreError: as `refresh` does.
        """
        self.require_same_store()
        with self._lock:
            self._add_all(self._beyond({}))

    def require_same_store(self) -> None:
        """Raise StoreError if the store that was opened is no longer the one that is there."""
        try:
            version = self._files.version(HEADER_PATH)
            same = version == self._version or read_header(self._files) == self._header
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"the store {self.root} was removed since it was opened: make it again") from error
        if not same:
            raise MadeByOtherError(
                f"{self.root} is another store than the one that was opened, which was removed: open it again"
            )
        self._version = version

    def _look(self) -> None:
        """List the folder once, and look beyond it for what was committed meanwhile."""
        names = self._files.names(FOLDER)
        kinds = _numbers(names)
        there, taken = sorted(kinds["json"]), kinds["json"] | kinds["claim"] | kinds["gone"]
        self._high = max(self._high, _highest(kinds))
        self._open = {shard for shard in kinds["claim"] - kinds["json"] if shard <= self._high}
        tables = list(self.places.tables) or open_tables(self._files, self._header, names)
        tabled = shards_of(tables)
        found = self._read([shard for shard in there if shard not in self._documents and shard not in tabled])
        if not self._files.lists_at_once:
            # A folder that changes while it is listed may be listed without what was always in it, and what was removed
            # before it was read has been replaced by something that may not have been listed.
            unseen = {*range(self._high + 1)} - taken if self._header.id else set[int]()
            found |= self._read(sorted(unseen - self._documents.keys()))
            found = self._beyond(found)
        missing = self._documents.keys() - kinds["json"]
        gone = {shard for shard in missing if not self._files.exists(record_path(shard))}
        documents = {s: r for s, r in {**self._documents, **found}.items() if s not in gone}
        given_up = (tabled - kinds["json"]) & kinds["gone"]
        if not agree(tables, tabled, kinds["json"] | given_up, documents):
            tables, tabled = [], set()
            documents |= self._read([shard for shard in there if shard not in documents])
        if gone or tables != self.places.tables or given_up != self._gone:
            self._gone = given_up
            return self._take(documents, tables)
        self._add_all({shard: documents[shard] for shard in documents.keys() - self._documents.keys()})

    def _beyond(self, found: dict[int, Record]) -> dict[int, Record]:
        """Add the records of higher numbers than any known, and of those that were claimed at the last look."""
        for shard in sorted(self._open - self._documents.keys() - found.keys()):
            found |= self._read([shard])
            if shard in found or not self._files.exists(claim_path(shard)):
                self._open.discard(shard)
                found |= self._read([shard])
        while True:
            shard = self._high + 1
            claimed = self._files.exists(claim_path(shard))
            new = self._read([shard])
            if not new and claimed:
                self._open.add(shard)
            elif not new and not self._files.exists(gone_path(shard)):
                return found
            found |= new
            self._high = shard

    def _read(self, shards: Sequence[int]) -> dict[int, Record]:
        """Return the records of these shards, without those that are not there (any more) or are of another store."""
        found: dict[int, Record] = {}
        for shard, data in _read_each(self._files, shards):
            where = self._files.describe(record_path(shard))
            record = None if is_sealed(data) else record_beside(self._files, self._header, shard)
            record = record or Record.from_bytes(data, where, self._header)
            if record.shard != shard:
                raise DamagedError(f"{where} is the record of shard {record.shard}: give it back its own name")
            if record.store in ("", self._header.id):
                found[shard] = record
        return found

    def _add_all(self, found: dict[int, Record]) -> None:
        """Know more records."""
        self._open -= found.keys()
        if not found:
            return
        newest = max(self._documents, default=max((table.stop - 1 for table in self.places.tables), default=-1))
        if min(found) <= newest or any(record.replaces for record in found.values()):
            return self._take({**self._documents, **found})
        for shard in sorted(found):
            self._documents[shard] = found[shard]
            self.places.put(found[shard])

    def dropped_files(self) -> list[str]:
        """Return the files that no record names any more since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def next_shard(self) -> int:
        """Return the number after the highest that is taken."""
        self.news()
        return self._high + 1

    def claim(self) -> Claim:
        """Return the right to write a shard, of a number that nobody ever had."""
        return claim_number(self._files, self._header, self._high)

    def require_mine(self, claim: Claim) -> None:
        """Raise StoreError if a claim is no longer ours: its owner was judged dead, or the store is another one."""
        self.require_same_store()
        said = None
        with contextlib.suppress(FileNotFoundError):
            said = self._files.read(claim_path(claim.shard))
        if said != claim.data:
            raise StoreError(
                f"{self.root} was repaired or pruned while shard {claim.shard} was being written, which is given up: "
                "run again when that is done"
            )

    def commit(self, record: Record, claim: Claim, temporary: str) -> None:
        """Make a claimed shard part of the store, for good, in one step: its record gets its name.

        Raises:
            StoreError: if the claim is no longer ours; then the shard is no part of the store.
        """
        self.require_mine(claim)
        self._files.rename_new(temporary, record_path(record.shard))
        self._files.sync(FOLDER)
        try:
            self.require_mine(claim)
        except StoreError as error:
            if not isinstance(error, NotFoundError | MadeByOtherError):  # what it wrote may be gone already
                give_up(self._files, [record.shard])
            raise
        with self._lock:
            self._open.update(range(self._high + 1, record.shard))  # taken by others since we looked
            self._add_all({record.shard: record})
            self._high = max(self._high, record.shard)
            if len(self.places.untabled) >= CLIPS_UNTABLED or len(self._documents) >= RECORDS_UNTABLED:
                with contextlib.suppress(OSError):  # it can be done without
                    self._tabulate(f"{temporary}.table")
                self._files.remove(f"{temporary}.table")

    def _tabulate(self, temporary: str) -> None:
        """Put what is in no table into one; tables of about the same size become one, so that there are few."""
        tables, replaced = [*self.places.tables], {*self.places.replaced}
        first, stop = (tables[-1].stop if tables else 0), min({self._high + 1, *self._open})
        records = [self._documents[s] for s in sorted(self._documents) if s not in replaced and first <= s < stop]
        records = [record for record in records if record.clips]
        if first >= stop or any(s < first and s not in replaced and r.clips for s, r in self._documents.items()):
            return  # a claim that was thought dead was committed: the records below have to be read until repair
        pieces, size = [piece_of(records, list(self._header.streams))], sum(len(record.clips) for record in records)
        merged: list[Table] = []
        while tables and len(tables[-1]) <= GROWTH * size:
            merged.append(tables.pop())
            pieces[:0] = merged[-1].pieces(merged[-1].ordinals(replaced))
            size, first = size + len(merged[-1]), merged[-1].first
        name = write_table(self._files, self._header, (first, stop), pieces, sorted(replaced), temporary)
        tables.append(Table(self._files, self._header, name))
        self._take({s: r for s, r in self._documents.items() if s >= stop}, tables)
        for table in merged:
            self._files.remove(table.name)

    def require_alone(self, record: Record) -> None:
        """Raise StoreError if another process has committed one of our clips between our look and our own commit."""
        self.news()
        for clip, shards in self.places.doubled.items():
            if record.shard in shards:
                raise StoreError(
                    f"clip {clip!r} was written to {self.root} by another process at the same moment, and is in it "
                    "twice: repair it, which drops one of them, and give every writer its own clips"
                )

    def all_replaced(self, shards: Iterable[int]) -> list[int]:
        """Return these shards and those that they stand for."""
        known = [record for record in map(self._record, shards) if record]
        return sorted({*shards, *(shard for record in known for shard in record.replaces)})

    def position(self, clip: str) -> tuple[Record, int]:
        """Return the record that holds a clip, and its position in the record's lists. Raises NotFoundError without."""
        record, row, _ = find(self.places, clip, self.root)
        return record, record.position(row) if isinstance(record, Shard) else bisect_left(record.rows, row)


def record_beside(files: Files, header: Header, shard: int) -> Record | None:
    """Return the record of a shard as the copy of it beside its data says it, if that is there and sound.

    It counts for a record that is in the index and damaged: what was removed has left the index, and its copy has not.
    """
    path = copy_path(header, shard)
    try:
        record = Record.from_bytes(files.read(path), files.describe(path), header)
    except (OSError, StoreError):
        return None
    return record if (record.shard, record.store) == (shard, header.id) else None


def _read_each(files: Files, shards: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Yield (shard, the bytes of its record) of those that are there."""
    answers = iter(files.read_each([record_path(shard) for shard in shards]))
    for shard in shards:
        try:
            data = next(answers, None)
            yield shard, files.read(record_path(shard)) if data is None else data
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            yield shard, b""  # which is damaged


def claim_number(files: Files, header: Header, high: int | None = None) -> Claim:
    """Return the right to write a shard, of a number that nobody ever had.

    Its name is for the caller to sync, before data have that number: those of which nothing tells are of a lost record.

    high: a number below which all are taken; looked up if None.
    """
    data = seal({"store": header.id, "writer": uuid.uuid4().hex})
    shard = (_highest(_numbers(files.names(FOLDER))) if high is None else high) + 1
    while True:
        if files.claim(claim_path(shard), data):
            # Its owner may have committed it, or given it up, between our two looks.
            if not files.exists(record_path(shard)) and not files.exists(gone_path(shard)):
                return Claim(shard, data)
            files.remove(claim_path(shard))
        shard += 1


def put_record(files: Files, record: Record, temporary: str) -> None:
    """Write a record; it appears whole, under a name that nobody had."""
    files.write(temporary, [record.to_bytes()])
    files.rename_new(temporary, record_path(record.shard))
    files.sync(FOLDER)


def give_up(files: Files, shards: Iterable[int]) -> None:
    """Let shards be gone for good: their claims and records, but never their numbers."""
    shards = list(shards)
    if keep_numbers(files, shards):
        for shard in shards:
            files.remove(claim_path(shard))
            files.remove(record_path(shard))
        files.sync(FOLDER)


def keep_numbers(files: Files, shards: Sequence[int]) -> bool:
    """See to it that the numbers of shards are not given again once their records are out of the index."""
    for shard in shards:
        with contextlib.suppress(FileExistsError):
            files.write(gone_path(shard), [])
    if shards:
        files.sync(FOLDER)
    return bool(shards)


def _highest(kinds: dict[str, set[int]]) -> int:
    """Return the highest number that was given. A claim far beyond what is there is nobody's."""
    high = max(kinds["json"] | kinds["gone"], default=-1)
    while high + 1 in kinds["claim"]:
        high += 1
    return high


def numbers(names: Iterable[str], kind: str) -> list[int]:
    """Return the shard numbers in the names of records (`json`), claims (`claim`) or what is gone (`gone`)."""
    return sorted(_numbers(names)[kind])


def _numbers(names: Iterable[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {"json": set(), "claim": set(), "gone": set()}
    for name in names:
        match = _NAME.fullmatch(name)
        if match and (number := int(match[1])) < FAR:
            found[match[2]].add(number)
    return found


def record_path(shard: int) -> str:
    """Return the index file of a shard."""
    return f"{FOLDER}/{shard:08d}.json"


def claim_path(shard: int) -> str:
    """Return the file whose owner may write a shard."""
    return f"{FOLDER}/{shard:08d}.claim"


def gone_path(shard: int) -> str:
    """Return the file that says that a shard's number was given, and that nothing has it any more."""
    return f"{FOLDER}/{shard:08d}.gone"
