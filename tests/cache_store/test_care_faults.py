"""Every care command, stopped or failed at every one of its operations, loses nothing, and run again ends its work."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from faulty import FaultyFiles, each_operation, until_stopped

from cache import Compression, FeatureStore, StoreError
from cache.care.convert import convert
from cache.care.lost import purge, restore
from cache.care.repair import remove, repair
from cache.care.verify import verify
from cache.testing import SHARD_STEPS, STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

pytestmark = pytest.mark.long

CLIPS = make_clips(5, max_steps=8)
IDS = list(CLIPS)
GONE = [IDS[0], IDS[4]]
KINDS = {
    "zarr": {"backend": "zarr"},
    "hdf5": {"backend": "hdf5"},
    "zarr-zstd": {"backend": "zarr", "compression": Compression("zstd", chunk_steps=8)},
}
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class Care:
    """A care command in a situation.

    before: makes the situation of a store of all clips; returns the clips that may go with it.
    run: the command, on a place.
    keeps: what the store holds when it is done, of the clips that did not go.
    """

    before: Callable[[MemoryFiles], set[str]]
    run: Callable[[MemoryFiles], object]
    keeps: Callable[[str], bool] = lambda clip: True


def flip(file: Callable[[Any], str]) -> Callable[[MemoryFiles], set[str]]:
    """Damage the first byte of a file of the second shard."""

    def damage(place: MemoryFiles) -> set[str]:
        record = open_at(place)._index.records[1]
        path = file(record)
        place.put(path, bytes([place.read(path)[0] ^ 1]) + place.read(path)[1:])
        found = verify("s", files=place)
        return {clip for d in found for clip in (record.clips if d.clips is None else d.clips)}

    return damage


def lose(*kinds: str) -> Callable[[MemoryFiles], set[str]]:
    """Let files of the second shard be away: its record, the copy of it."""

    def away(place: MemoryFiles) -> set[str]:
        record = open_at(place)._index.records[1]
        for kind in kinds:
            place.remove("index/00000001.json" if kind == "record" else record.copy_path)
        return set(record.clips) if "copy" in kinds else set()

    return away


def remove_some(place: MemoryFiles) -> set[str]:
    remove("s", GONE, files=place)
    return set()


def repairs(place: MemoryFiles) -> None:
    repair("s", yes=True, files=place)


CARE = {
    "remove": Care(lambda place: set(), remove_some, lambda clip: clip not in GONE),
    "remove-all": Care(lambda place: set(), lambda place: remove("s", IDS, yes=True, files=place), lambda clip: False),
    "repair-data": Care(flip(lambda record: record.extents["wide"].file), repairs),
    "repair-record": Care(flip(lambda record: "index/00000001.json"), repairs),
    "repair-copy": Care(flip(lambda record: record.copy_path), repairs),
    "repair-missing-record": Care(lose("record"), repairs),
    "repair-missing-record-and-copy": Care(lose("record", "copy"), repairs),
    "restore": Care(remove_some, lambda place: restore("s", files=place)),
    "purge": Care(remove_some, lambda place: purge("s", files=place), lambda clip: clip not in GONE),
}


def open_at(place: MemoryFiles) -> FeatureStore:
    return FeatureStore.open("s", files=place)


def situations(care: Care, kind: str, **faults: Any) -> Iterator[tuple[FaultyFiles, dict[str, Any], dict[str, Any]]]:
    """Yield places that fail at one operation after the other, the clips that may not be lost, and all at the end."""
    made = MemoryFiles()
    store = FeatureStore.create(
        "s", streams=STREAMS, fingerprint={}, shard_steps=SHARD_STEPS, files=made, **KINDS[kind]
    )
    with store.writer() as writer:
        for clip, features in CLIPS.items():
            writer.write(clip, features)
    gone = care.before(made)
    final = {clip: features for clip, features in CLIPS.items() if clip not in gone and care.keeps(clip)}
    kept: dict[str, Any] = {}
    with suppress(StoreError):  # a damaged record
        kept = {clip: final[clip] for clip in open_at(made) if clip in final}
    for place in each_operation(1, **faults):
        for path in ["store.json", *(path for top in ("data", "index", "tmp", "lost") for path in made.walk(top))]:
            place.put(path, made.read(path))
            place.sync(path.rpartition("/")[0])
        yield place, kept, final


def check(place: MemoryFiles, care: Care, kept: dict[str, Any], final: dict[str, Any]) -> None:
    """What was there is there, whatever the care had done; and the care can be done, or was."""
    if kept:
        assert kept.keys() <= set(open_at(place))
        assert not {clip for damage in verify("s", files=place) for clip in damage.clips or ()} & kept.keys()
    care.run(place)
    assert verify("s", files=place) == []
    assert_holds(open_at(place), final)


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in CARE for kind in KINDS if kind != "zarr-zstd" or name == "remove"]
)
def test_care_that_is_killed_or_meets_a_power_cut_at_any_operation_loses_nothing(name: str, kind: str) -> None:
    care = CARE[name]
    for place, kept, final in situations(care, kind, torn=kind == "hdf5"):
        until_stopped(place, lambda place=place: care.run(place))
        for left in place.after_kill(), *place.after_power_cuts(1):
            check(left, care, kept, final)


@pytest.mark.parametrize("kind", ["zarr", "hdf5"])
@pytest.mark.parametrize("name", CARE)
def test_care_of_which_any_operation_fails_is_one_error_and_the_next_try_ends_it(name: str, kind: str) -> None:
    care = CARE[name]
    for place, kept, final in situations(care, kind, error=FULL):
        try:
            until_stopped(place, lambda place=place: care.run(place))
        except StoreError as error:
            assert os.strerror(errno.ENOSPC) in str(error)
            assert "\n" not in str(error)
        check(place, care, kept, final)


@pytest.mark.parametrize("faults", [{}, {"torn": True}, {"error": FULL}], ids=["stopped", "torn", "failed"])
def test_a_copy_that_is_stopped_or_fails_at_any_operation_goes_on(
    monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any]
) -> None:
    source, places = MemoryFiles(), dict[str, MemoryFiles]()
    store = FeatureStore.create("s", streams=STREAMS, fingerprint={}, shard_steps=SHARD_STEPS, files=source)
    with store.writer() as writer:
        for clip, features in CLIPS.items():
            writer.write(clip, features)
    for module in ("cache.store", "cache.care.verify"):
        monkeypatch.setattr(f"{module}.files_at", lambda path, **_: places[str(path).rpartition("/")[2]])
    for place in each_operation(10, **faults):
        places["memory"] = places["t"] = place
        with suppress(StoreError):
            until_stopped(place, lambda: convert(store, "t", backend="hdf5"))
        for left in [place] if "error" in faults else [place.after_kill(), *place.after_power_cuts(1)]:
            places["memory"] = places["t"] = left
            assert_holds(convert(store, "t", backend="hdf5"), CLIPS)
