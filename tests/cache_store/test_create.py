"""A store is made wherever an empty folder may be, and what a killed making leaves is in nobody's way."""

import errno
import os
import signal
from pathlib import Path

import pytest

from cache import FeatureStore, StoreError
from cache.testing import STREAMS, assert_holds, make_clips

CLIPS = make_clips(3)


def make(path: Path) -> None:
    with FeatureStore.create(path, streams=STREAMS, fingerprint={}, durable=False).writer() as writer:
        for clip, features in CLIPS.items():
            writer.write(clip, features)
    assert_holds(FeatureStore.open(path), CLIPS)


def test_a_store_is_made_behind_a_link_to_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    make(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert_holds(FeatureStore.open(tmp_path / "disk"), CLIPS)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES, errno.EXDEV])
def test_a_store_is_made_in_an_empty_mount_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real, target = Path.rename, tmp_path / "store"

    def rename(path: Path, other: Path) -> Path:
        if other == target:
            raise OSError(number, os.strerror(number))
        return real(path, other)

    monkeypatch.setattr(Path, "rename", rename)
    target.mkdir()
    make(target)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    with pytest.raises(StoreError, match="exists: go on with it"):
        make(target)


@pytest.mark.parametrize("left", ["", "index", "data/wide", "tmp"])
def test_a_store_is_made_where_one_was_deleted_beside_its_writer(tmp_path: Path, left: str) -> None:
    (tmp_path / "store" / left).mkdir(parents=True)
    (tmp_path / "store" / "index").mkdir(exist_ok=True)
    (tmp_path / "store" / "index" / "00000003.gone").touch()
    make(tmp_path / "store")


@pytest.mark.parametrize("name", ["notes.txt", "data/thesis.tex", "data/wide/c.0.0", "index/00000000.json", "tmp/a"])
def test_no_store_is_made_where_there_is_anything_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "store" / name).parent.mkdir(parents=True)
    (tmp_path / "store" / name).write_text("mine")
    with pytest.raises(StoreError, match="exists and is not an empty folder"):
        make(tmp_path / "store")
    assert (tmp_path / "store" / name).read_text() == "mine"


def test_what_a_killed_making_leaves_is_removed_by_the_next_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        real = Path.rename

        def rename(path: Path, other: Path) -> Path:
            os.write(write, b"1")
            signal.pause()
            return real(path, other)

        Path.rename = rename
        FeatureStore.create(tmp_path / "store", streams=STREAMS, fingerprint={}, durable=False)
        os._exit(1)
    os.read(read, 1)
    make(tmp_path / "store")
    assert len(list(tmp_path.iterdir())) == 2
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    make(tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "store"]


@pytest.mark.parametrize("call", [FeatureStore.open, FeatureStore.exists, make], ids=["open", "exists", "create"])
def test_a_path_with_a_nul_is_one_line(call) -> None:
    with pytest.raises(StoreError, match="has a NUL in it"):
        call("a\0b")


def test_a_fingerprint_nested_without_end_is_one_line(tmp_path: Path) -> None:
    fingerprint: dict = {}
    for _ in range(3000):
        fingerprint = {"a": fingerprint}
    with pytest.raises(StoreError, match="nested too deeply"):
        FeatureStore.create(tmp_path / "store", streams=STREAMS, fingerprint=fingerprint)
