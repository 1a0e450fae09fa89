"""What repairs and removals have taken out of a store: moved to `lost/`, brought back, or deleted for good.

`lost/00000007.json` is the record of shard 7, which left the index; its data stay where they are, explained by it, so
that whoever reads them goes on. `lost/data/` holds data that no record explained.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from cache.care import Progress, changing, ignore
from cache.care.contents import LOST, Contents, all_files, checksum, look, lost_shard, read_clip, shard_of
from cache.errors import StoreError
from cache.header import Header, read_header
from cache.index import give_up, keep_numbers, record_path
from cache.places.base import Files
from cache.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back from `lost/`.

    clips: those that are in the store again.
    present: those that the store had meanwhile got anew, with other features, which stay as they are.
    damaged: those of which the data are damaged or away; they stay in `lost/`.
    """

    clips: list[str]
    present: list[str]
    damaged: list[str]


def restore(path: str | Path, *, files: Files | None = None, progress: Progress = ignore) -> Restored:
    """Undo repairs and removals since the last `purge`: bring back every clip that is in `lost/` and not in the store.

    Of a clip that was removed several times the last one comes back. Killed at any point, it is to be run again.

    Raises:
        StoreError: there is no store, or it cannot be written.
    """
    with changing(path, files) as files:
        header = read_header(files)
        contents = look(files, header)
        _put_back(files, contents)
        store = FeatureStore(files, "a")
        there, back, present, damaged = set(store), set[str](), set[str](), set[str]()
        row_bytes = sum(spec.row_bytes for spec in header.streams.values())
        total = row_bytes * sum(record.steps for record in contents.lost.values())
        with store.writer() as writer:
            for record in sorted(contents.lost.values(), key=lambda record: -record.shard):
                for position, clip in enumerate(record.clips):
                    if clip in there:
                        if any(checksum(store, clip, name) != s[position] for name, s in record.checksums.items()):
                            present.add(clip)
                    elif clip not in back:
                        try:
                            rows = read_clip(files, header, record, position)
                        except StoreError:
                            damaged.add(clip)
                        else:
                            writer.write(clip, rows, source=record.sources[position])
                            back.add(clip)
                    progress(row_bytes * record.lengths[position], total)
        done = [path for path, record in contents.lost.items() if back | there >= set(record.clips)]
        for file in _with_data(files, look(files, header), done):
            files.remove(file)
    return Restored(sorted(back), sorted(present), sorted(damaged - back))


def purge(path: str | Path, *, files: Files | None = None) -> int:
    """Delete for good what repairs and removals have taken out of a store; return the bytes that were freed.

    Raises:
        StoreError: there is no store, or something cannot be deleted.
    """
    with changing(path, files) as files:
        header = read_header(files)
        lost = lost_files(files, header, look(files, header))
        freed = sum(map(files.disk_usage, lost))
        for file in lost:
            files.remove(file)
    return freed


def lost_files(files: Files, header: Header, contents: Contents) -> list[str]:
    """Return the files that `purge` deletes: those of `lost/`, and before them the data that its records explain."""
    ours = [path for path in files.walk(LOST) if lost_shard(path) is not None or _is_data(path, header)]
    return _with_data(files, contents, ours)


def move_records(files: Files, shards: Iterable[int]) -> None:
    """Move records out of the index, and with them their clips that are in no other."""
    shards = [shard for shard in shards if files.exists(record_path(shard))]
    if keep_numbers(files, shards):  # what stands for them is on the disk then, too
        for shard in shards:
            names = (f"{LOST}/{shard:08d}{f'.{number}' if number else ''}.json" for number in count())
            files.rename(record_path(shard), next(name for name in names if not files.exists(name)))
        files.sync(LOST)
        files.sync("")
        give_up(files, shards)


def move_data(files: Files, paths: Iterable[str]) -> None:
    """Move data that no record explains out of `data`. Numbers are never given twice, so nothing is in the way."""
    for path in paths:
        files.require_inside(path)
        with suppress(FileNotFoundError):  # a writer that gave it up may be cleaning up
            files.rename(path, f"{LOST}/{path}")


def _put_back(files: Files, contents: Contents) -> None:
    """Give data that were taken for nobody's, and are named by a record that is there again, their place back."""
    named = {file for record in (*contents.records, *contents.lost.values()) for file in record.files}
    for path in files.walk(f"{LOST}/data"):
        file = path.removeprefix(f"{LOST}/")
        if file in named and not files.exists(file):
            files.rename(path, file)


def _with_data(files: Files, contents: Contents, paths: Collection[str]) -> list[str]:
    """Return files in `lost/`, and before them the data that their records alone explain."""
    kept = {file for record in contents.records for file in all_files(record)}
    named = {file for path in paths if (record := contents.lost.get(path)) for file in all_files(record)}
    return [*sorted(file for file in named - kept if files.exists(file)), *paths]


def _is_data(path: str, header: Header) -> bool:
    return shard_of(path.removeprefix(f"{LOST}/"), header) is not None
