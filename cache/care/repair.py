"""Dropping clips: those that are damaged, those that are no longer wanted.

A shard that loses clips is written anew, without them, and the commit of the new one is what makes the old one go
(`Record.replaces`): killed at any point, nothing but the dropped clips is lost. Nothing is deleted: the record of the
old shard is moved to `lost/`, from where `restore` of `cache.care.lost` brings back its clips, until `purge`.
Whoever has the store open sees it by `refresh`.
"""

import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cache.backends import backend_of
from cache.care import Progress, caring, changing, ignore
from cache.care.contents import Contents, copy_of, header_bytes, look, read_header
from cache.care.lost import move_data, move_records, read_checked
from cache.care.verify import check, ignore_bytes, verify
from cache.errors import REPAIR, StoreError
from cache.header import HEADER_PATH, Header
from cache.index import TEMPORARY, claim_number, claim_path, give_up, put_record, record_path
from cache.places import files_at
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

    A record that is missing is made anew, if the copy of it beside the data is there.

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
    files = files or files_at(path)
    files.require_writable()
    header_bytes(files)
    with caring(files, yes=yes), changing(files):
        found = verify(path, files=files, progress=progress)
        if any(damage.file == HEADER_PATH for damage in found):
            raise StoreError(
                f"{files.describe(HEADER_PATH)} is damaged: put back a copy of it, it never changes after `create`"
            )
        header = read_header(files)
        contents = look(files, header)
        made_anew = {shard: _sound_copy(files, header, shard, paths) for shard, paths in contents.missing.items()}
        loose = [path for shard, paths in contents.missing.items() if not made_anew[shard] for path in paths]
        holes = [shard for shard, paths in contents.missing.items() if not paths]
        lost: dict[int, set[str]] = {}
        for damage in found:
            if damage.shard is not None:
                lost.setdefault(damage.shard, set()).update(damage.clips or ())
        unreadable = sorted(
            {damage.shard for damage in contents.damaged if damage.shard in lost and damage.shard is not None}
        )
        going = sorted({clip for clips in lost.values() for clip in clips})
        plan = Dropped(going, len(unreadable) + len(holes), loose)
        if not yes:
            _require_little(files, contents, plan)
        tell(plan)
        for record in made_anew.values():
            if record:
                put_record(files, record, _temporary())
        if unreadable:
            _stand_for(files, header, unreadable)
            move_records(files, unreadable)
        give_up(files, holes)
        if yes:
            move_data(files, loose)
            give_up(files, [shard for shard, record in made_anew.items() if not record])
        dropped = _drop(files, header, lost)
        _copy_again(files, header, {damage.file for damage in found})
        return Dropped(dropped, plan.num_records, loose)


def _sound_copy(files: Files, header: Header, shard: int, paths: list[str]) -> Record | None:
    """Return the record of a shard as the copy beside its data says it, if all that it names is sound."""
    record = copy_of(files, header, shard, paths)
    return None if record is None or any(d.clips for d in check(files, header, record, ignore_bytes)) else record


def remove(
    path: str | Path,
    clips: Collection[str],
    *,
    yes: bool = False,
    files: Files | None = None,
    progress: Progress = ignore,
) -> list[str]:
    """Remove clips, and what killed writers left, and return those that were there.

    They go to `lost/`: `cache.care.lost.purge` frees their space.

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
    files = files or files_at(path)
    FeatureStore.open(path, mode="a", files=files)
    with caring(files, yes=yes), changing(files):
        header = read_header(files)
        contents = look(files, header)
        if not yes:
            require_data(files, contents.records)
        wanted_gone = set(clips)
        found = {record.shard: wanted_gone & set(record.clips) for record in _readable(files, contents)}
        return _drop(files, header, {shard: unwanted for shard, unwanted in found.items() if unwanted}, progress)


def require_data(files: Files, records: Collection[Record]) -> None:
    """Raise StoreError if of all that should be in a folder nothing is: its disk may not be mounted."""
    folders: dict[str, bool] = {}
    for file in [file for record in records for file in record.files]:
        folder = file.rpartition("/")[0]
        folders[folder] = folders.get(folder, False) or files.exists(file)
    for folder, there in sorted(folders.items()):
        if not there:
            raise StoreError(
                f"{files.root}: none of the files that should be in {folder}/ is there, so nothing was changed: mount "
                "its disk, or put it back; to go on without it all the same, say so (yes=True, or --yes)"
            )


def _require_little(files: Files, contents: Contents, plan: Dropped) -> None:
    """Raise StoreError if so much would go that something else is likely to be wrong."""
    require_data(files, contents.records)
    num_clips = len({clip for record in contents.records for clip in record.clips})
    in_each = (
        num_clips / len(contents.records) if contents.records else 1.0
    )  # of a record that cannot be read nobody knows
    num_all = num_clips + in_each * plan.num_records
    if (num_gone := len(plan.clips) + in_each * plan.num_records) > max(1, num_all / SHARE):
        raise StoreError(
            f"{files.root}: about {num_gone:,.0f} of {num_all:,.0f} clips would be dropped, more than one in {SHARE}, "
            "so nothing was changed: look for another cause (a disk that is not mounted, a copy that is not whole); to "
            "drop them all the same, say so (yes=True, or --yes)"
        )


def _readable(files: Files, contents: Contents) -> list[Record]:
    for damage in contents.damaged:
        raise StoreError(f"{files.describe(damage.file)} cannot be read now ({damage.reason}): {REPAIR}")
    return contents.records


def _drop(files: Files, header: Header, unwanted: dict[int, set[str]], progress: Progress = ignore) -> list[str]:
    """Write each of these shards anew without its unwanted clips, and return the clips that are gone from the store."""
    records = {record.shard: record for record in _clear(files, header)}
    shards, store = _with_second_copies(records, unwanted), FeatureStore(files, "a")
    row_bytes = sum(spec.row_bytes for spec in header.streams.values())
    total = row_bytes * sum(records[shard].steps for shard in shards)
    for shard in sorted(shards, reverse=True):  # second copies go before first ones, so that the first always counts
        _rewrite(store, header, records[shard], shards[shard])
        progress(row_bytes * records[shard].steps, total)
    remaining = _clear(files, header)
    empty = [record for record in remaining if not record.clips]
    give_up(files, sorted({shard for record in empty for shard in (record.shard, *record.replaces)}))
    _describe(files, header, store, remaining)
    for path in unsound_tables(files, header):
        files.remove(path)
    store.refresh()
    return sorted({clip for clips in unwanted.values() for clip in clips if clip not in store})


def _clear(files: Files, header: Header) -> list[Record]:
    """Move what belongs to no shard and no living writer out of the way; return the records that count."""
    contents = look(files, header, ask_claims=True)
    records = _readable(files, contents)
    move_records(files, contents.replaced)
    move_data(files, contents.leftovers)
    for path in contents.temporary:
        with suppress(FileNotFoundError):  # made into a claim meanwhile
            if not path.endswith(".claim") or files.age(path) > YOUNG:
                files.remove(path)
    dead = contents.claims - contents.live
    done = {record.shard for record in records} & dead
    give_up(files, sorted(dead - done))
    for shard in done:
        files.remove(claim_path(shard))
    return records


def _copy_again(files: Files, header: Header, damaged: set[str]) -> None:
    """Write the copies of records anew that are not as they should be."""
    for record in look(files, header).records:
        if record.copy_path in damaged:
            files.write_whole(record.copy_path, files.read(record_path(record.shard)), _temporary())
            files.sync(record.copy_path.rpartition("/")[0])


def _describe(files: Files, header: Header, store: FeatureStore, records: list[Record]) -> None:
    """Write anew what describes the store to other tools, where it is not as it should be."""
    num_shards = max((record.shard for record in records if record.clips), default=-1) + 1
    backend = backend_of(header)
    for file, _ in backend.check_metadata(files, header, num_shards):
        files.write_whole(file, backend.metadata(header, num_shards)[file], _temporary())
        files.sync(file.rpartition("/")[0])
        backend.publish(files, header, store._index, _temporary())  # others may have committed meanwhile


def _with_second_copies(records: dict[int, Record], unwanted: dict[int, set[str]]) -> dict[int, set[str]]:
    """Return shard -> clips to drop: those unwanted, and of a clip in several shards all but the first sound copy."""
    owners: dict[str, int] = {}
    for shard, record in sorted(records.items()):
        for clip in set(record.clips) - unwanted.get(shard, set()):
            owners.setdefault(clip, shard)
    drop = {shard: {clip for clip in record.clips if owners.get(clip) != shard} for shard, record in records.items()}
    return {shard: clips for shard, clips in drop.items() if clips or shard in unwanted}


def _rewrite(store: FeatureStore, header: Header, record: Record, unwanted: set[str]) -> None:
    files = store._files
    if unwanted >= set(record.clips):
        _stand_for(files, header, store._index.all_replaced([record.shard]))
    else:
        with store.writer() as writer:
            writer.replaces.append(record.shard)
            for position, clip in enumerate(record.clips):
                if clip not in unwanted:
                    features = read_checked(files, header, record, position)
                    writer.write(clip, features, source=record.sources[position])


def _stand_for(files: Files, header: Header, shards: list[int]) -> None:
    """Put a record without clips that stands for shards into the index."""
    claim = claim_number(files, header)
    try:
        put_record(
            files, Record(claim.shard, 0, [], [], [], [], {}, {}, {}, replaces=shards, store=header.id), _temporary()
        )
    finally:
        if files.exists(record_path(claim.shard)):
            files.remove(claim_path(claim.shard))
        else:
            give_up(files, [claim.shard])


def _temporary() -> str:
    return f"{TEMPORARY}/{uuid.uuid4().hex}"
