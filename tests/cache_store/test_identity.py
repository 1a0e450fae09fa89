"""What was opened is what is there: another store, a claim of others, a lost record are told in one line."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import FeatureStore, MadeByOtherError, NotFoundError, StoreError, StreamSpec
from cache.care.repair import remove, repair
from cache.care.verify import verify
from cache.places.local import LocalFiles
from cache.testing import STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

CLIPS = make_clips(24)
ONE, TWO, THREE, *_ = CLIPS


def make(path: Path, clips: Iterable[str] = CLIPS, *, dim: int = 6, **options: Any) -> FeatureStore:
    """Make a store of these clips, several shards of them."""
    streams = {**STREAMS, "wide": StreamSpec(dim)}
    options = {"fingerprint": {}, "shard_steps": 16, **options}
    store = FeatureStore.create(path, streams=streams, durable=False, **options)
    return fill(store, clips)


def fill(store: FeatureStore, clips: Iterable[str]) -> FeatureStore:
    with store.writer() as writer:
        for clip in clips:
            wide = np.resize(CLIPS[clip]["wide"], (len(CLIPS[clip]["wide"]), store.streams["wide"].dim))
            writer.write(clip, {"wide": wide, "narrow": CLIPS[clip]["narrow"]})
    return store


# Another store at the same path


@pytest.mark.parametrize("options", [{}, {"fingerprint": {"weights": "new"}}, {"dim": 3}, {"backend": "hdf5"}])
def test_a_reader_and_a_writer_of_a_store_that_was_made_anew_are_told(tmp_path: Path, options: dict[str, Any]) -> None:
    reader = make(tmp_path / "s")
    writer = FeatureStore.open(tmp_path / "s", mode="a", durable=False).writer()
    writer.write("late", CLIPS[ONE])
    shutil.rmtree(tmp_path / "s")
    make(tmp_path / "s", [*CLIPS][::-1], **options)
    for late in (reader.refresh, writer.commit):
        with pytest.raises(MadeByOtherError, match=r"is another store than the one that was opened.*open it again"):
            late()
    assert "late" not in FeatureStore.open(tmp_path / "s")
    assert verify(tmp_path / "s") == []


def test_a_reader_and_a_writer_of_a_store_that_was_removed_are_told_and_leave_nothing(tmp_path: Path) -> None:
    reader = make(tmp_path / "s")
    writer = FeatureStore.open(tmp_path / "s", mode="a", durable=False).writer()
    writer.write("late", CLIPS[ONE])
    shutil.rmtree(tmp_path / "s")
    for late in (reader.refresh, writer.commit):
        with pytest.raises(NotFoundError, match="was removed since it was opened"):
            late()
    assert not (tmp_path / "s").exists()


def test_a_record_of_another_store_is_no_part_of_this_one(tmp_path: Path) -> None:
    store, other = make(tmp_path / "s", [ONE]), make(tmp_path / "other", [TWO, THREE])
    for path in other.path.glob("index/*.json"):
        shutil.copy(path, store.path / "index" / "00000001.json")
    shutil.copy(other.path / "index" / "00000000.json", store.path / "index" / "00000001.json")
    damaged = (store.path / "index" / "00000001.json").read_bytes()
    assert b'"shard":0' in damaged
    fill(store, [])
    assert [damage.shard for damage in verify(store.path)] == [1]


def test_a_copy_of_a_store_is_the_same_store(tmp_path: Path) -> None:
    make(tmp_path / "s")
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    copied = FeatureStore.open(tmp_path / "copy", mode="a", durable=False)
    copied.refresh()
    assert_holds(copied, CLIPS)


# Claims


def test_a_writer_that_was_given_up_is_refused_and_its_number_is_never_given_again() -> None:
    class Stopped(MemoryFiles):
        """The writer stands still after its data, is judged dead, and goes on."""

        armed = False

        def rename_new(self, source: str, target: str) -> None:
            super().rename_new(source, target)
            if self.armed and target.startswith("data/"):
                self.armed, self._alive = False, False
                repair("s", files=self)
                self._alive = True
                fill(FeatureStore.open("s", mode="a", files=self), [TWO])

    place = Stopped()
    first = FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=place)
    writer = first.writer()
    writer.write(ONE, CLIPS[ONE])
    place.armed = True
    with pytest.raises(StoreError, match="was repaired or pruned while shard 0 was being written"):
        writer.commit()
    assert_holds(FeatureStore.open("s", files=place), {TWO: CLIPS[TWO]})
    assert place.exists("index/00000000.gone")
    assert verify("s", files=place) == []
    writer.write(ONE, CLIPS[ONE])
    writer.commit()
    assert_holds(FeatureStore.open("s", files=place), {ONE: CLIPS[ONE], TWO: CLIPS[TWO]})


def test_repair_leaves_a_writer_alone_that_is_on_its_way(tmp_path: Path) -> None:
    class Watched(LocalFiles):
        def rename_new(self, source: str, target: str) -> None:
            super().rename_new(source, target)
            if target.startswith("data/"):
                repair(self.root)

    make(tmp_path / "s", [ONE])
    fill(FeatureStore.open(tmp_path / "s", mode="a", files=Watched(tmp_path / "s", durable=False)), [TWO])
    assert_holds(FeatureStore.open(tmp_path / "s"), {ONE: CLIPS[ONE], TWO: CLIPS[TWO]})


def test_a_number_is_not_given_again_after_its_record_was_removed(tmp_path: Path) -> None:
    make(tmp_path / "s", [ONE])
    slow = FeatureStore.open(tmp_path / "s", mode="a", durable=False)
    for clip in (TWO, THREE):
        fill(FeatureStore.open(tmp_path / "s", mode="a", durable=False), [clip])
    remove(tmp_path / "s", [TWO, THREE])
    fill(slow, [TWO])
    assert_holds(FeatureStore.open(tmp_path / "s"), {ONE: CLIPS[ONE], TWO: CLIPS[TWO]})


# A writer after an error


def test_a_writer_that_was_told_of_a_doubled_clip_is_empty_and_goes_on() -> None:
    class Raced(MemoryFiles):
        other: FeatureStore | None = None

        def rename_new(self, source: str, target: str) -> None:
            if target.startswith("index/") and self.other is not None:
                other, self.other = self.other, None
                fill(other, [ONE])
            super().rename_new(source, target)

    place = Raced()
    store = FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=place)
    place.other = FeatureStore.open("s", mode="a", files=place)
    writer = store.writer()
    writer.write(ONE, CLIPS[ONE])
    with pytest.raises(StoreError, match="is in it twice"):
        writer.commit()
    writer.write(TWO, CLIPS[TWO])
    writer.commit()
    store.refresh()
    assert_holds(store, {ONE: CLIPS[ONE], TWO: CLIPS[TWO]})


# What is missing


def test_every_record_that_is_away_is_missed(tmp_path: Path) -> None:
    make(tmp_path / "s")
    records = sorted((tmp_path / "s" / "index").glob("*.json"))
    for path in records:
        path.rename(tmp_path / "away")
        assert [damage.file for damage in verify(tmp_path / "s")] == [f"index/{path.name}"]
        (tmp_path / "away").rename(path)
    assert verify(tmp_path / "s") == []


# Commits and reads


def test_a_commit_lists_nothing_however_large_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path / "s")
    writer = store.writer()
    asked: list[str] = []
    real = LocalFiles.names
    monkeypatch.setattr(LocalFiles, "names", lambda files, folder: asked.append(folder) or real(files, folder))
    writer.write("more", CLIPS[ONE])
    writer.commit()
    assert "index" not in asked


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_reader_reads_on_beside_a_removal_and_gives_the_space_back(tmp_path: Path, backend: str) -> None:
    def held() -> int:
        links = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
        return sum("/s/" in str(link) and ("deleted" in str(link) or not link.exists()) for link in links)

    make(tmp_path / "s", backend=backend)
    reader, late = FeatureStore.open(tmp_path / "s"), FeatureStore.open(tmp_path / "s")
    assert_holds(reader, CLIPS)
    gone = [*CLIPS][::4]
    remove(tmp_path / "s", gone)
    left = {clip: features for clip, features in CLIPS.items() if clip not in gone}
    for clip, features in left.items():
        np.testing.assert_array_equal(late.read(clip, "wide"), features["wide"])
    found, _ = late.read_batch(list(left), "narrow")
    assert len(found) == len(left)
    reader.refresh()
    assert_holds(reader, left)
    assert held() == 0


def test_the_descriptor_that_wrote_a_file_is_the_one_that_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl
    import os
    import stat

    modes: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            modes.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE)
        real(descriptor)

    store = FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={})
    monkeypatch.setattr(os, "fsync", fsync)
    fill(store, [ONE])
    assert modes != []
    assert os.O_RDONLY not in modes
