"""Dropping clips: those that are damaged, those that are no longer wanted.

A shard that loses clips is written anew, without them, and the commit of the new one is what makes the old one go
(`Record.replaces`): killed at any point, nothing but the dropped clips is lost. Nothing is deleted: the record of the
old shard is moved to `lost/`, from where `restore` of `cache.care.lost` brings back its clips, until `purge`.
Whoever has the store open sees it by `refresh`.
"""

import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cache.backends import backend_of
from cache.care import Progress, changing, ignore
from cache.care.contents import Contents, copy_of, look, read_clip, shard_of
from cache.care.lost import move_data, move_records
from cache.care.verify import check, verify
from cache.errors import REPAIR, StoreError
from cache.header import HEADER_PATH, Header, read_header
from cache.index import FOLDER, TEMPORARY, claim_path, give_up, put_record, record_path
from cache.places.base import Files
from cache.record import Record
from cache.store import FeatureStore
from cache.table import unsound_tables

SHARE = 10
"""More than one clip, and more than one in so many, are dropped only if that is said."""
YOUNG = 60.0  # seconds in which a claim that is being made may not be locked yet


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a repair has dropped, or is about to.

    clips: those that are gone.
    num_records: records of the index that are missing or could not be read; the clips of each are gone as well, and
        cannot be named.
    files: data that no record names and nothing explains. They stay where they are unless their going is asked for.
    """

    clips: list[str]
    num_records: int = 0
    files: list[str] = field(default_factory=list)


def repair(
    path: str | Path,
    *,
    yes: bool = False,
    files: Files | None = None,
    progress: Progress = ignore,
    tell: Callable[[Dropped], object] = lambda _: None,
) -> Dropped:
    """Drop what is damaged, keep every clip that is not, and remove leftovers. What goes, goes to `lost/`.

    A record that is missing or damaged is made anew, if the copy of it beside the data is there and sound.

    Args:
        path: the store's folder.
        yes: do it even if more than a tenth of the clips would go, or the data are away; and move what no record names.
        files: another place than `path`, for tests.
        progress: told of the reading.
        tell: told of what is about to go before anything does.

    Raises:
        StoreError: if store.json itself is damaged, which needs a copy; if something cannot be read that may be sound,
            for want of permission say; if others are repairing or pruning; or if so much would go that `yes` is needed.
    """
    with changing(path, files, yes=yes) as files:
        found = verify(path, files=files, progress=progress)
        seen = {damage.file for damage in found}
        if HEADER_PATH in seen:
            raise StoreError(
                f"{files.describe(HEADER_PATH)} is damaged: put back a copy of it, it never changes after `create`"
            )
        header = read_header(files)
        contents = look(files, header)
        missing = {shard: paths for shard, paths in contents.missing.items() if record_path(shard) in seen}
        anew = {shard: _sound_copy(files, header, shard, paths) for shard, paths in missing.items()}
        loose = [path for shard, paths in missing.items() if not anew[shard] for path in paths]
        holes = [shard for shard, paths in missing.items() if not paths]
        unreadable = [d.shard for d in contents.damaged if d.shard is not None and d.file in seen]
        going: dict[int, set[str]] = {}
        for damage in found:
            if damage.shard is not None:
                going.setdefault(damage.shard, set()).update(damage.clips or ())
        plan = Dropped(sorted(set().union(*going.values())), len(unreadable) + len(holes), loose)
        if not yes:
            _require_data(files, contents)
            _require_little(files, contents, plan)
        tell(plan)
        for record in filter(None, anew.values()):
            put_record(files, record, _temporary())
        for shard, record in contents.beside.items():
            if record_path(shard) in seen:
                files.write_whole(record_path(shard), record.to_bytes(), _temporary())
                files.sync(FOLDER)
        move_records(files, unreadable)
        give_up(files, holes)
        if yes:
            move_data(files, loose)
            give_up(files, [shard for shard, record in anew.items() if not record])
        dropped = _drop(files, header, look(files, header, ask_claims=True), going)
        for file in seen:
            if file.endswith(".json") and (shard := shard_of(file, header)) is not None:
                _copy_again(files, shard, file)
        return Dropped(dropped, plan.num_records, loose)


def remove(
    path: str | Path,
    clips: Collection[str],
    *,
    yes: bool = False,
    files: Files | None = None,
    progress: Progress = ignore,
) -> list[str]:
    """Remove clips, and what killed writers left, and return those that were there.

    However many they are: each is named. They go to `lost/`: `cache.care.lost.purge` frees their space.

    Args:
        path: the store's folder.
        clips: their ids.
        yes: do it even if the data are away.
        files: another place than `path`, for tests.
        progress: told of the clips that stay in the shards that are written anew.

    Raises:
        StoreError: if a record of the index is damaged; if a clip that is to stay cannot be read; if the data are away;
            or if others are repairing or pruning.
    """
    if isinstance(clips, str):
        raise StoreError(f"clips is the text {clips!r}: give a list of clip ids")
    with changing(path, files, yes=yes) as files:
        header, wanted = read_header(files), set(clips)
        contents = look(files, header, ask_claims=True)
        going = {record.shard: gone for record in _readable(files, contents) if (gone := wanted & set(record.clips))}
        if not yes:
            _require_data(files, contents)
        return _drop(files, header, contents, going, progress)


def _sound_copy(files: Files, header: Header, shard: int, paths: list[str]) -> Record | None:
    """Return the record of a shard as the copy beside its data says it, if all that it names is sound."""
    record = copy_of(files, header, shard, paths)
    return None if record is None or any(damage.clips for damage in check(files, header, record)) else record


def _require_data(files: Files, contents: Contents) -> None:
    """Raise StoreError if of all that should be in a folder nothing is: its disk may not be mounted."""
    folders: dict[str, bool] = {}
    for file in [file for record in contents.records for file in record.files]:
        folder = file.rpartition("/")[0]
        folders[folder] = folders.get(folder, False) or files.exists(file)
    for folder in sorted(folder for folder, there in folders.items() if not there):
        raise StoreError(
            f"{files.root}: none of the files that should be in {folder}/ is there, so nothing was changed: mount "
            "its disk, or put it back; to go on without it all the same, say so (yes=True, or --yes)"
        )


def _require_little(files: Files, contents: Contents, plan: Dropped) -> None:
    """Raise StoreError if so much would go that something else is likely to be wrong."""
    num_clips = len({clip for record in contents.records for clip in record.clips})
    # Of a record that cannot be read nobody knows its clips.
    unnamed = plan.num_records * (num_clips / len(contents.records) if contents.records else 1.0)
    if (num_gone := len(plan.clips) + unnamed) > max(1, (num_clips + unnamed) / SHARE):
        raise StoreError(
            f"{files.root}: about {num_gone:,.0f} of {num_clips + unnamed:,.0f} clips would be dropped, more than one "
            f"in {SHARE}, so nothing was changed: look for another cause (a disk that is not mounted, a copy that is "
            "not whole); to drop them all the same, say so (yes=True, or --yes)"
        )


def _readable(files: Files, contents: Contents) -> list[Record]:
    for damage in contents.damaged:
        raise StoreError(f"{files.describe(damage.file)} cannot be read now ({damage.reason}): {REPAIR}")
    return contents.records


def _drop(
    files: Files, header: Header, contents: Contents, going: Mapping[int, set[str]], progress: Progress = ignore
) -> list[str]:
    """Take clips out of their shards, and return those that are gone from the store; tidy up what dead writers left."""
    records = {record.shard: record for record in _readable(files, contents)}
    _tidy(files, header, contents)
    shards, store = _with_second_copies(records, going), FeatureStore(files, "a")
    row_bytes = sum(spec.row_bytes for spec in header.streams.values())
    total = row_bytes * sum(records[shard].steps for shard in shards)
    rewritten = []
    for shard in sorted(shards, reverse=True):  # second copies go before first ones, so that the first always counts
        record = records[shard]
        if shards[shard] >= set(record.clips):
            move_records(files, [shard])
        else:
            rewritten.append(shard)
            with store.writer() as writer:
                writer.replaces.append(shard)
                for position, clip in enumerate(record.clips):
                    if clip not in shards[shard]:
                        rows = read_clip(files, header, record, position)
                        writer.write(clip, rows, source=record.sources[position])
        progress(row_bytes * record.steps, total)
    move_records(files, rewritten)
    store.refresh()
    _describe(files, header, store)
    return sorted({clip for clips in going.values() for clip in clips if clip not in store})


def _tidy(files: Files, header: Header, contents: Contents) -> None:
    """Move what belongs to no shard and no living writer out of the way."""
    move_records(files, contents.replaced)
    move_data(files, contents.leftovers)
    for path in contents.temporary:
        with suppress(FileNotFoundError):  # made into a claim meanwhile
            if not path.endswith(".claim") or files.age(path) > YOUNG:
                files.remove(path)
    dead, done = contents.claims - contents.live, {record.shard for record in contents.records}
    empty = [record for record in contents.records if not record.clips]  # they stand for others, as some did once
    give_up(files, sorted({*(dead - done), *(shard for record in empty for shard in (record.shard, *record.replaces))}))
    for path in [*map(claim_path, dead & done), *unsound_tables(files, header)]:
        files.remove(path)


def _copy_again(files: Files, shard: int, copy: str) -> None:
    """Write the copy of a record anew that is not as it should be."""
    with suppress(FileNotFoundError):  # a record that is in the index no more needs none
        files.write_whole(copy, files.read(record_path(shard)), _temporary())
        files.sync(copy.rpartition("/")[0])


def _describe(files: Files, header: Header, store: FeatureStore) -> None:
    """Write anew what describes the store to other tools, where it is not as it should be."""
    num_shards = max((shard for shard, record in store._index.records.items() if record.clips), default=-1) + 1
    backend = backend_of(header)
    for file, _ in backend.check_metadata(files, header, num_shards):
        files.write_whole(file, backend.metadata(header, num_shards)[file], _temporary())
        files.sync(file.rpartition("/")[0])
        backend.publish(files, header, store._index, _temporary())  # others may have committed meanwhile


def _with_second_copies(records: dict[int, Record], going: Mapping[int, set[str]]) -> dict[int, set[str]]:
    """Return shard -> clips to drop: those that are going, and of a clip in several shards all but the first copy."""
    owners: dict[str, int] = {}
    for shard, record in sorted(records.items()):
        for clip in set(record.clips) - going.get(shard, set()):
            owners.setdefault(clip, shard)
    drop = {shard: {clip for clip in record.clips if owners.get(clip) != shard} for shard, record in records.items()}
    return {shard: clips for shard, clips in drop.items() if clips or shard in going}


def _temporary() -> str:
    return f"{TEMPORARY}/{uuid.uuid4().hex}"
