"""What writers left that did not finish: claims, temporary files, files of shards that no record names."""

import re
from collections.abc import Callable

from cache.index import FOLDER, TEMPORARY, claim_path, give_up, numbers, record_path
from cache.places.base import Files
from cache.record import Record

_SHARD = re.compile(r"data/(?:\w+/c\.([0-9]+)\.0|([0-9]{8,})\.h5)(?:\.json)?|tmp/([0-9]{8,})\..*")


def find_leftovers(files: Files, records: list[Record]) -> list[str]:
    """Return the files that belong to no shard of `records`, those of writers that are still there included."""
    claims = [claim_path(shard) for shard in numbers(files.names(FOLDER), "claim")]
    replaced = [record_path(shard) for shard in _replaced(files, records)]
    return [*replaced, *_unnamed(files.walk("data"), records), *claims, *files.walk(TEMPORARY)]


def remove_leftovers(files: Files, read_records: Callable[[], list[Record]]) -> list[Record]:
    """Remove what belongs to no shard and to no writer that is still there; return the records that count."""
    # In this order, which is the reverse of a writer's: a file that we see was claimed before, and if its claim is gone
    # by the time that we look for it, the file is in a record by the time that we look for that.
    data, temporary = files.walk("data"), files.walk(TEMPORARY)
    claims = numbers(files.names(FOLDER), "claim")
    live = {shard for shard in claims if files.claim_is_live(claim_path(shard))}
    records = read_records()
    files.sync(FOLDER)  # before anything goes, what stands for it must be on the disk
    give_up(files, _replaced(files, records))
    for path in [*_unnamed(data, records), *temporary]:
        if shard_of(path) not in live:
            files.remove(path)
    give_up(files, sorted({*claims} - live - {record.shard for record in records}))
    for record in records:
        if record.shard in claims and record.shard not in live:
            files.remove(claim_path(record.shard))
    return records


def _replaced(files: Files, records: list[Record]) -> list[int]:
    return [shard for record in records for shard in record.replaces if files.exists(record_path(shard))]


def _unnamed(data: list[str], records: list[Record]) -> list[str]:
    """Return those of the files in `data` that writers made, and no record names; other files are ignored."""
    named = {file for record in records for file in (*record.files, record.copy_path)}
    return [path for path in data if path not in named and shard_of(path) is not None]


def shard_of(path: str) -> int | None:
    """Return the shard that a file in `data` or `tmp` was made for; None if it says none."""
    match = _SHARD.fullmatch(path)
    return int(next(filter(None, match.groups()))) if match else None
