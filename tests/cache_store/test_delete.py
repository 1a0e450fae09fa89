"""A store is deleted whole, nothing else ever is, and being stopped half-way costs no clip but those deleted."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore, StoreError
from cache.care.delete import deletable, delete
from cache.care.lost import purge
from cache.care.repair import remove, repair
from cache.seal import seal
from cache.testing import STREAMS, assert_holds, make_clips

CLIPS = make_clips(12)


def make(path: Path, backend: str = "zarr") -> Path:
    store = FeatureStore.create(path, backend=backend, streams=STREAMS, fingerprint={}, shard_steps=16, durable=False)
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make(tmp_path / "store")


def tree(folder: Path) -> dict[str, Any]:
    """Return everything below a folder: path -> the bytes of a file, the target of a link, None for a folder."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        content = str(path.readlink()) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
        found[path.relative_to(folder).as_posix()] = content
    return found


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_store_goes_with_its_folder_and_its_neighbours_stay(tmp_path: Path, backend: str) -> None:
    (tmp_path / "notes.txt").write_text("keep")
    make(tmp_path / "other")
    before = tree(tmp_path)
    delete(make(tmp_path / "store", backend))
    assert tree(tmp_path) == before


def test_what_killed_writers_left_goes_too(store: Path, tmp_path: Path) -> None:
    (store / "index" / "00000099.claim").touch()
    (store / "tmp" / f"00000099.{'f00d' * 8}.wide").write_bytes(b"1")
    (store / "tmp" / ("f00d" * 8)).write_bytes(b"2")
    (store / "index" / "00000000-00000004.table").write_bytes(b"of a table that was torn")
    (store / "data" / "wide" / "c.99.0").write_bytes(b"3")
    delete(store)
    assert tree(tmp_path) == {}


def test_an_empty_store_and_one_that_lost_its_empty_folders_go_too(tmp_path: Path) -> None:
    for name in ("empty", "bare"):
        FeatureStore.create(tmp_path / name, streams=STREAMS, fingerprint={}, backend="hdf5")
    for folder in ("index", "data", "tmp"):
        (tmp_path / "bare" / folder).rmdir()  # as copying tools do
    delete(tmp_path / "empty")
    delete(tmp_path / "bare")
    assert tree(tmp_path) == {}


def test_a_store_in_a_linked_folder_goes_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to("runs")
    delete(make(tmp_path / "link" / "store"))
    assert tree(tmp_path) == {"runs": None, "link": "runs"}


def test_a_damaged_index_and_lost_data_are_no_hindrance(store: Path, tmp_path: Path) -> None:
    (store / "index" / "00000000.json").write_bytes(b"{")
    (store / "data" / "wide" / "c.0.0").unlink()
    delete(store)
    assert tree(tmp_path) == {}


def test_a_store_of_a_later_format_can_go(store: Path, tmp_path: Path) -> None:
    (store / "store.json").write_bytes(seal({"format": "feature-store", "format_version": 99}))
    delete(store)
    assert tree(tmp_path) == {}


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"years of work")


def damage_header(store: Path) -> None:
    text = (store / "store.json").read_text()
    (store / "store.json").write_text(text.replace("zarr", "zorr"))


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a file of somebody": (
        lambda store: (store / "notes.txt").write_text("mine"),
        r"holds 'notes\.txt', which is no part of a store, so nothing was deleted: move it elsewhere first$",
    ),
    "a hidden file": (lambda store: (store / ".git").write_text("mine"), r"holds '\.git', which is no part"),
    "an empty folder of somebody": (lambda store: (store / "backup").mkdir(), "holds 'backup', which is no part"),
    **{
        f"a file of somebody, {name}": (lambda store, name=name: put(store / name), f"holds '{said}', which is no part")
        for name, said in {
            "data/thesis/chapter1.tex": "data/thesis/chapter1.tex",
            "data/notes.txt": "data/notes.txt",
            "data/20261128.h5": "data/20261128.h5",
            "data/masks/c.7.0": "data/masks/c.7.0",
            "data/wide/c.99999999.0": "data/wide/c.99999999.0",
            "data/wide/mean.npy": "data/wide/mean.npy",
            "index/notes.txt": "index/notes.txt",
            "tmp/draft.tex": "tmp/draft.tex",
            "lost/notes.txt": "lost/notes.txt",
        }.items()
    },
    "an empty folder of somebody in data": (
        lambda store: (store / "data" / "masks").mkdir(),
        "holds 'data/masks', which is no part",
    ),
    "a link to a file": (
        lambda store: (store / "data" / "more").symlink_to("../../kept.txt"),
        r"data/more is a link to \.\./\.\./kept\.txt, so nothing was deleted: remove it by hand$",
    ),
    "a link to a folder": (
        lambda store: (store / "data" / "wide" / "more").symlink_to(store.parent),
        "data/wide/more is a link to .*, so nothing was deleted",
    ),
    "a link to nowhere": (
        lambda store: (store / "tmp" / "gone").symlink_to("nowhere"),
        "tmp/gone is a link to nowhere, so nothing was deleted",
    ),
    "data that lies elsewhere": (
        lambda store: (store / "data").rename(store.parent / "moved") and (store / "data").symlink_to("../moved"),
        r"store/data is a link to \.\./moved, so nothing was deleted",
    ),
    "a damaged header": (
        damage_header,
        r"store\.json is damaged or of no .*, so nothing was deleted: if .*/store can go, delete it by hand$",
    ),
    "a header of something else": (
        lambda store: (store / "store.json").write_bytes(seal({"format": "shop", "format_version": 1})),
        r"store\.json is damaged or of no feature store, so nothing was deleted",
    ),
    "no header": (
        lambda store: (store / "store.json").unlink(),
        "there is no feature store at .*/store, so nothing was deleted$",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_store_and_nothing_else_is_left_alone(store: Path, tmp_path: Path, case: str) -> None:
    change, message = REFUSED[case]
    (tmp_path / "kept.txt").write_text("keep")
    change(store)
    before = tree(tmp_path)
    for function in (deletable, delete):
        with pytest.raises(StoreError, match=message):
            function(store)
    assert tree(tmp_path) == before


def test_where_there_is_no_store_nothing_is_deleted(store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("keep")
    before = tree(tmp_path)
    for name in ("nowhere", "empty", "notes.txt", "notes.txt/store", "store/index", "store/store.json"):
        with pytest.raises(StoreError, match=f"there is no feature store at .*{name}, so nothing was deleted"):
            delete(tmp_path / name)
    assert tree(tmp_path) == before


def test_a_link_to_a_store_is_not_followed(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("store")
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="link is a link to store, so nothing was deleted: name the store itself"):
        delete(tmp_path / "link")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("url", ["s3://bucket/features", "https://host/features"])
def test_an_object_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match=f"{url} is an object store, which is read only"):
        delete(url)


def test_what_would_be_deleted_is_told_in_the_order_of_deletion_and_stays(store: Path) -> None:
    before = tree(store)
    parts = deletable(store)
    assert tree(store) == before
    assert sorted(path.relative_to(store).as_posix() for path in parts) == sorted([*before, "."])
    assert parts[-2:] == [store / "store.json", store]
    assert [path.name for path in parts if path.parent == store and path.is_dir()] == ["index", "data", "tmp"]
    for position, path in enumerate(parts):
        assert not any(inside.is_relative_to(path) for inside in parts[position + 1 :])


class Stopped(BaseException):
    """The process is gone: nothing may catch this but the test."""


def stop_before(monkeypatch: pytest.MonkeyPatch, number: int) -> list[Path]:
    """Let the deletion of so many files and folders pass and stop before the next; return those that passed."""
    passed: list[Path] = []

    def stopping(remove: Callable[[Path], None]) -> Callable[[Path], None]:
        def wrapper(path: Path) -> None:
            if len(passed) == number:
                raise Stopped
            remove(path)
            passed.append(path)

        return wrapper

    monkeypatch.setattr(Path, "unlink", stopping(Path.unlink))
    monkeypatch.setattr(Path, "rmdir", stopping(Path.rmdir))
    return passed


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_stopped_anywhere_it_leaves_a_store_of_fewer_clips_that_can_be_deleted(tmp_path: Path, backend: str) -> None:
    num_parts, num_left = len(deletable(make(tmp_path / "whole", backend))), []
    assert num_parts > 12
    for number in range(num_parts):
        path = make(tmp_path / f"{number}", backend)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
            stop_before(patch, number)
            delete(path)
        if number == num_parts - 1:
            break
        left = FeatureStore.open(path)
        assert_holds(left, {clip_id: CLIPS[clip_id] for clip_id in left})
        num_left.append(len(left))
        delete(path)
        assert not path.exists()
    assert num_left[0] == len(CLIPS)
    assert num_left == sorted(num_left, reverse=True)
    assert num_left[-1] == 0


def test_stopped_at_the_very_end_it_leaves_an_empty_folder_in_which_a_store_can_be_made(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_before(patch, len(deletable(store)) - 1)
        delete(store)
    assert tree(store) == {}
    with pytest.raises(StoreError, match="there is no feature store"):
        delete(store)
    assert store.exists()
    make(store)
    assert_holds(FeatureStore.open(store), CLIPS)


def test_the_working_folder_can_be_deleted(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store)
    delete(".")
    monkeypatch.chdir(tmp_path)
    assert tree(tmp_path) == {}


def test_a_path_through_the_store_itself_deletes_it_whole(store: Path, tmp_path: Path) -> None:
    delete(store / "index" / "..")
    assert tree(tmp_path) == {}


def test_the_record_that_replaced_another_goes_after_it(store: Path) -> None:
    gone = next(iter(CLIPS))
    old = {path.name: path.read_bytes() for path in (store / "index").iterdir()}
    assert remove(store, [gone]) == [gone]
    (lost,) = set(old) - {path.name for path in (store / "index").iterdir()}
    (store / "index" / lost).write_bytes(old[lost])  # the removal was killed before this record went
    while len(deletable(store)) > 2:
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Stopped):
            stop_before(patch, 1)
            delete(store)
        assert gone not in FeatureStore.open(store)


@pytest.mark.parametrize("file", ["data/20261128.h5", "data/masks/c.7.0", "data/wide/c.99999999.0", "tmp/draft.tex"])
@pytest.mark.parametrize("care", [repair, lambda path: remove(path, list(CLIPS)[:1]), purge])
def test_no_care_takes_a_file_of_somebody_away(store: Path, file: str, care: Callable[[Path], object]) -> None:
    put(store / file)
    care(store)
    assert (store / file).read_bytes() == b"years of work"


def test_a_store_that_is_being_written_to_is_not_deleted(store: Path) -> None:
    files = FeatureStore.open(store, mode="a")._files
    assert files.claim("index/00000099.claim", b"{}")
    before = tree(store)
    with pytest.raises(StoreError, match="is being written to, so nothing was deleted"):
        delete(store)
    assert tree(store) == before
    files.close()
    delete(store)
    assert not store.exists()


def test_a_store_of_which_records_are_missing_can_go(store: Path) -> None:
    for record in sorted((store / "index").glob("*.json"))[1:]:
        record.unlink()
    delete(store)
    assert not store.exists()


def test_a_store_with_removed_clips_can_go(store: Path) -> None:
    remove(store, list(CLIPS)[:2])
    delete(store)
    assert not store.exists()
