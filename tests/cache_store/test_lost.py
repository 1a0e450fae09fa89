"""Care destroys nothing that it cannot prove damaged: it refuses, it says what goes, and what goes comes back."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import FeatureStore, StoreError
from cache.care import caring
from cache.care.convert import convert
from cache.care.delete import delete
from cache.care.info import info
from cache.care.lost import purge, restore
from cache.care.repair import Dropped, remove, repair
from cache.care.verify import verify
from cache.places.local import LocalFiles
from cache.testing import STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

CLIPS = make_clips(24, max_steps=4)
IDS = list(CLIPS)
BACKENDS = pytest.mark.parametrize("backend", ["zarr", "hdf5"])


def fill(store: FeatureStore) -> None:
    """Commit two clips a shard."""
    with store.writer() as writer:
        for number, (clip, features) in enumerate(CLIPS.items(), 1):
            writer.write(clip, features, source=f"of {clip}")
            if number % 2 == 0:
                writer.commit()


def make(path: Path, backend: str = "zarr") -> Path:
    fill(FeatureStore.create(path, streams=STREAMS, fingerprint={}, backend=backend, durable=False))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make(tmp_path / "store")


def tree(folder: Path) -> dict[str, Any]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in files.items()}


def flip(path: Path, offset: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


# The disk is not there, or a great deal seems to be wrong


@pytest.mark.parametrize("away", ["data", "data/wide"])
def test_a_disk_that_is_not_mounted_costs_nothing(store: Path, tmp_path: Path, away: str) -> None:
    (store / away).rename(tmp_path / "disk")
    for mount_point in (False, True):
        if mount_point:
            (store / away).mkdir()
        before = tree(store)
        for care in (repair, lambda path: remove(path, IDS[:2])):
            with pytest.raises(StoreError, match=r"none of the files that should be in data.* is there, so nothing"):
                care(store)
        assert tree(store) == before
    (store / away).rmdir()
    (tmp_path / "disk").rename(store / away)
    assert_holds(FeatureStore.open(store), CLIPS)


def test_who_repairs_without_the_disk_all_the_same_gets_the_clips_back_when_it_is_there(
    store: Path, tmp_path: Path
) -> None:
    (store / "data").rename(tmp_path / "disk")
    (store / "data").mkdir()
    assert repair(store, yes=True).clips == sorted(CLIPS)
    assert len(FeatureStore.open(store)) == 0
    assert restore(store).damaged == sorted(CLIPS)
    for path in (tmp_path / "disk").rglob("*.*.0*"):
        path.rename(store / "data" / path.relative_to(tmp_path / "disk"))
    assert restore(store).clips == sorted(CLIPS)
    assert verify(store) == []
    assert_holds(FeatureStore.open(store), CLIPS)


def test_more_than_a_tenth_goes_only_if_that_is_said_and_a_single_clip_goes(store: Path) -> None:
    chunks = sorted((store / "data" / "wide").glob("c.*.0"))
    flip(chunks[0])
    assert len(repair(store).clips) == 1
    for chunk in chunks[1:5]:
        flip(chunk)
    before, told = tree(store), []
    with pytest.raises(StoreError, match=r"about 4 of 23 clips would be dropped, more than one in 10, so nothing was"):
        repair(store, tell=told.append)
    assert (tree(store), told) == (before, [])
    assert repair(store, yes=True, tell=told.append).clips == told[0].clips
    assert len(told[0].clips) == 4


def test_clips_that_are_named_are_removed_however_many_but_not_while_the_data_are_away(store: Path) -> None:
    assert remove(store, IDS[:9]) == sorted(IDS[:9])
    (store / "data").rename(store.parent / "disk")
    with pytest.raises(StoreError, match="none of the files that should be in data"):
        remove(store, IDS[9:])
    (store.parent / "disk").rename(store / "data")
    assert remove(store, IDS[9:], yes=True) == sorted(IDS[9:])
    assert restore(store).clips == sorted(IDS)
    assert_holds(FeatureStore.open(store), CLIPS)


@BACKENDS
def test_a_damaged_record_whose_copy_is_sound_costs_no_clip_and_is_made_anew(tmp_path: Path, backend: str) -> None:
    store = make(tmp_path / "store", backend)
    record = store / "index" / "00000003.json"
    before = record.read_bytes()
    flip(record, 40)
    assert_holds(FeatureStore.open(store), CLIPS)
    (found,) = verify(store)
    assert (found.file, found.clips) == ("index/00000003.json", ())
    with pytest.raises(StoreError, match="repair"):
        remove(store, IDS[:1])
    assert repair(store) == Dropped([])
    assert record.read_bytes() == before
    assert verify(store) == []


def test_a_damaged_record_and_a_damaged_copy_are_lost_clips(store: Path) -> None:
    flip(store / "index" / "00000003.json", 40)
    (copy,) = (store / "data").rglob("c.3.0.json")
    flip(copy, 40)
    assert [found.clips for found in verify(store) if found.clips is None]
    assert repair(store, yes=True).num_records == 1
    assert set(FeatureStore.open(store)) == set(IDS) - set(IDS[6:8])


def test_what_goes_is_said_before_it_goes() -> None:
    files, seen = MemoryFiles(), []
    fill(FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=files))
    files.put("data/wide/c.0.0", b"\1" + files.read("data/wide/c.0.0")[1:])
    repair("s", files=files, tell=lambda plan: seen.append((plan.clips, len(FeatureStore.open("s", files=files)))))
    assert seen == [([IDS[0]], len(CLIPS))]


def test_an_error_that_is_not_there_at_the_second_look_is_none() -> None:
    class Once(MemoryFiles):
        """The disk fails once, then no more."""

        bad = ""

        def read(self, path: str) -> bytes:
            if path == self.bad:
                self.bad = ""
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return super().read(path)

        def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
            super().read_into(path, offset, out)
            if path == self.bad:
                self.bad = ""
                out.reshape(-1).view(np.uint8)[0] ^= 1

    files = Once()
    fill(FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=files))
    for path in ("index/00000003.json", "data/wide/c.3.0", "data/narrow/c.3.0.json"):
        files.bad = path
        assert verify("s", files=files) == []
        assert files.bad == ""
        files.bad = path
        assert repair("s", files=files) == Dropped([])
    assert_holds(FeatureStore.open("s", files=files), CLIPS)


# What is gone comes back, until it is purged


@BACKENDS
def test_a_removal_is_undone_by_one_command(tmp_path: Path, backend: str) -> None:
    store = make(tmp_path / "store", backend)
    reader = FeatureStore.open(store)
    gone = [IDS[0], *IDS[4:6], IDS[23]]
    assert remove(store, gone) == sorted(gone)
    assert remove(store, IDS[1:3]) == sorted(IDS[1:3])
    assert verify(store) == []
    np.testing.assert_array_equal(reader.read(IDS[4], "wide"), CLIPS[IDS[4]]["wide"])
    with FeatureStore.open(store, mode="a").writer() as writer:
        writer.write(IDS[0], {name: rows + 1 for name, rows in CLIPS[IDS[0]].items()})
    restored = restore(store)
    assert restored.damaged == []
    assert restored.clips == sorted({*gone, *IDS[1:3]} - {IDS[0]})
    assert IDS[0] in restored.present
    assert verify(store) == []
    found = FeatureStore.open(store)
    assert {found.source(clip) for clip in IDS[1:]} == {f"of {clip}" for clip in IDS[1:]}
    remove(store, [IDS[0]])
    assert_holds(found := FeatureStore.open(store), {clip: CLIPS[clip] for clip in IDS[1:]})


@BACKENDS
def test_after_a_purge_nothing_comes_back_and_the_space_is_free(tmp_path: Path, backend: str) -> None:
    store = make(tmp_path / "store", backend)
    remove(store, IDS[:12])
    facts = info(FeatureStore.open(store))
    assert facts["lost_bytes"] > 0
    assert purge(store) == facts["lost_bytes"]
    assert info(FeatureStore.open(store))["lost_files"] == 0
    assert not [path for path in (store / "data").rglob("*.0") if path.name in ("c.0.0", "c.5.0")]
    assert restore(store).clips == []
    assert verify(store) == []
    assert_holds(FeatureStore.open(store), {clip: CLIPS[clip] for clip in IDS[12:]})


def test_a_purge_leaves_what_is_not_of_the_store(store: Path) -> None:
    remove(store, IDS[:1])
    strangers = [store / "lost" / name for name in ("notes.txt", "data/thesis.txt", "data/wide/mean.npy")]
    for stranger in strangers:
        stranger.parent.mkdir(parents=True, exist_ok=True)
        stranger.write_bytes(b"years of work")
    lost = info(FeatureStore.open(store))["lost_bytes"]
    assert purge(store) == lost > 0
    assert [stranger.read_bytes() for stranger in strangers] == [b"years of work"] * 3
    assert info(FeatureStore.open(store))["lost_files"] == 0


# Records that are missing


@BACKENDS
@pytest.mark.parametrize("number", [3, 11])
def test_a_record_that_is_missing_is_told_and_made_anew_of_its_copy(tmp_path: Path, backend: str, number: int) -> None:
    store = make(tmp_path / "store", backend)
    (store / "index" / f"{number:08d}.json").unlink()
    (damage,) = verify(store)
    assert (damage.file, damage.clips) == (f"index/{number:08d}.json", ())
    assert repair(store) == Dropped([])
    assert verify(store) == []
    assert_holds(FeatureStore.open(store), CLIPS)


@BACKENDS
def test_data_without_a_record_are_told_and_left_and_move_only_if_that_is_said(tmp_path: Path, backend: str) -> None:
    store = make(tmp_path / "store", backend)
    record = (store / "index" / "00000003.json").read_bytes()
    (store / "index" / "00000003.json").unlink()
    for copy in (store / "data").rglob("*3*.json"):
        copy.unlink()
    (damage,) = verify(store)
    assert damage.clips is None
    before = tree(store / "data")
    assert len(repair(store).files) == (2 if backend == "zarr" else 1)
    assert tree(store / "data") == before
    repair(store, yes=True)
    assert len(tree(store / "data")) < len(before)
    (store / "index" / "00000003.gone").unlink()
    (store / "index" / "00000003.json").write_bytes(record)  # the copy that was interrupted goes on
    restore(store)
    repair(store)
    assert verify(store) == []
    assert_holds(FeatureStore.open(store), CLIPS)


def test_a_record_that_leads_nowhere_is_damage(store: Path) -> None:
    record = store / "index" / "00000003.json"
    record.unlink()
    record.symlink_to("nowhere")
    assert [damage.file for damage in verify(store)] == ["index/00000003.json"]


# One at a time


@pytest.mark.parametrize(
    "care",
    [
        repair,
        restore,
        purge,
        delete,
        lambda path: remove(path, IDS[:1]),
        lambda path: convert(FeatureStore.open(path.parent / "other"), path),
    ],
    ids=["repair", "restore", "purge", "delete", "remove", "convert"],
)
def test_only_one_at_a_time_cares_for_a_store(store: Path, care: Any) -> None:
    make(store.parent / "other")
    before = tree(store)
    with caring(LocalFiles(store)), pytest.raises(StoreError, match="by another process: wait for its end"):
        care(store)
    assert tree(store) == before
    care(store)


def test_who_cares_and_dies_leaves_the_store_to_others(store: Path) -> None:
    pid = os.fork()
    if not pid:
        caring(LocalFiles(store)).__enter__()
        os._exit(0)
    os.waitpid(pid, 0)
    assert remove(store, IDS[:1]) == IDS[:1]


def test_where_files_have_no_locks_that_nobody_else_cares_is_to_be_said(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(StoreError, match=r"without locks, .* see that nobody does, and say so"):
        repair(store)
    assert repair(store, yes=True) == Dropped([])
