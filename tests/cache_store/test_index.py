"""Index records that some other program wrote, or two writers at the same moment."""

import errno
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache import DamagedError, FeatureStore, StoreError
from cache.care.repair import remove, repair
from cache.care.verify import verify
from cache.places.local import LocalFiles
from cache.seal import seal
from cache.testing import STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

CLIPS = make_clips(5, max_steps=4)
RECORD = "index/00000000.json"


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={}, durable=False)
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
    return store


def rewrite(store: FeatureStore, change: Callable[[dict[str, Any]], object], path: str = RECORD) -> None:
    document = json.loads((store.path / path).read_bytes())
    del document["crc32"]
    change(document)
    (store.path / path).write_bytes(seal(document))


def put_file(document: dict[str, Any], file: str) -> None:
    document["files"][file] = document["files"].pop(document["extents"]["wide"]["file"])
    document["extents"]["wide"]["file"] = file


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "data/../../secret", "../secret", "index/00000000.json", "data", "data//x", "data/./x", ""]
)
def test_a_record_that_names_a_file_outside_data_is_refused(store: FeatureStore, file: str) -> None:
    rewrite(store, lambda document: put_file(document, file))
    with pytest.raises(StoreError, match=r"00000000.json is not as cache/FORMAT.md says: it names the file '.*data/$"):
        FeatureStore.open(store.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("rows"), "'rows'"),
        (lambda d: d.pop("extents"), "it lacks 'extents'"),
        (lambda d: d["rows"].pop(), "its lists are not equally long"),
        (lambda d: d["checksums"]["wide"].append("00000000"), "its lists are not equally long"),
        (lambda d: d["checksums"].pop("wide"), "its places and checksums are not those of the streams wide, narrow"),
        (lambda d: d["extents"].pop("wide"), "its places and checksums are not those of the streams wide, narrow"),
        (lambda d: d["files"].popitem(), "its files are not those of its streams"),
        (lambda d: d["files"]["data/wide/c.0.0"].pop("rest"), "does not say the bytes and the rest"),
        (lambda d: d["files"]["data/wide/c.0.0"].update(bytes=1e9), "does not say the bytes and the rest"),
        (lambda d: d["extents"]["wide"].update(offset=-1), "'wide' do not lie within data/wide/c.0.0"),
        (lambda d: d["extents"]["wide"].update(offset=10**12), "'wide' do not lie within data/wide/c.0.0"),
        (lambda d: d["extents"]["wide"].update(pieces=[[8, 4]]), "'wide' do not lie within data/wide/c.0.0"),
        (lambda d: d["lengths"].__setitem__(0, 10**13), "its rows do not lie one after the other"),
        (lambda d: d["lengths"].__setitem__(0, -1), "a number in it is not whole, or is negative"),
        (lambda d: d.update(shard="0"), "a number in it is not whole, or is negative"),
        (lambda d: d.update(replaces=["q"]), "a number in it is not whole, or is negative"),
        (lambda d: d.update(replaces=[0]), "it replaces itself"),
        (lambda d: d["clips"].__setitem__(0, []), "its clips are not texts, each another"),
        (lambda d: d["clips"].__setitem__(0, d["clips"][1]), "its clips are not texts, each another"),
        (lambda d: d.update(steps=10**13, lengths=[10**13 - 4, 1, 1, 1, 1], rows=[*range(10**13 - 4, 10**13)]), ""),
        (lambda d: d.update(extents=[]), "'list' object has no attribute"),
    ],
)
def test_a_record_that_makes_no_sense_is_one_line(
    store: FeatureStore, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite(store, change)
    with pytest.raises(StoreError, match=f"00000000.json is not as cache/FORMAT.md says: .*{message}"):
        FeatureStore.open(store.path)
    assert [damage.file for damage in verify(store.path)] == [RECORD]


def test_keys_of_a_later_version_are_passed_over(store: FeatureStore) -> None:
    def add(document: dict[str, Any]) -> None:
        document["made_on"] = "a key of the future"
        document["extents"]["wide"]["tier"] = 2

    rewrite(store, add)
    rewrite(store, lambda document: document["streams"]["wide"].update(unit="px"), "store.json")
    assert_holds(FeatureStore.open(store.path), CLIPS)


def test_a_header_that_lacks_something_is_one_line(store: FeatureStore) -> None:
    rewrite(store, lambda document: document.pop("streams"), "store.json")
    with pytest.raises(StoreError, match=r"store.json is not as cache/FORMAT.md says: it lacks 'streams'"):
        FeatureStore.open(store.path)


@pytest.mark.parametrize("folder", ["tmp", "data"])
@pytest.mark.parametrize("care", [repair, lambda path: remove(path, [])], ids=["repair", "remove"])
def test_nothing_outside_a_store_is_removed_through_a_link(
    store: FeatureStore, tmp_path: Path, folder: str, care: Callable[[Path], object]
) -> None:
    number = store._index.next_shard()
    home, name = tmp_path / "home", {"tmp": "f00d" * 8, "data": f"wide/c.{number}.0"}[folder]
    (store.path / "index" / f"{number:08d}.gone").touch()
    (store.path / folder).rename(home)
    (home / name).write_text("chapter 1")
    (store.path / folder).symlink_to(home)
    with pytest.raises(StoreError, match=rf"{folder}/{name} lies in .*/home(/wide)?, not in the store, and was not"):
        care(store.path)
    assert (home / name).read_text() == "chapter 1"


def test_files_of_strangers_are_passed_over_and_left_alone(store: FeatureStore) -> None:
    for name in ("index/._00000000.json", "index/00000000 (1).json", "index/1.json", "data/notes.txt", "data/wide/c.x"):
        (store.path / name).write_text("{")
    assert_holds(FeatureStore.open(store.path), CLIPS)
    assert verify(store.path) == []
    assert repair(store.path).clips == []
    assert remove(store.path, []) == []
    with FeatureStore.open(store.path, mode="a").writer() as writer:
        writer.write("new", CLIPS[next(iter(CLIPS))])
    assert (store.path / "data" / "notes.txt").read_text() == (store.path / "index" / "1.json").read_text() == "{"


@pytest.mark.parametrize("when", ["as we claim", "as we commit"])
def test_two_writers_that_commit_a_clip_at_the_same_moment_are_told_and_it_is_read_once(when: str) -> None:
    class Raced(MemoryFiles):
        """Between our last look and our commit, another writer commits."""

        other: FeatureStore | None = None

        def claim(self, path: str, data: bytes) -> bool:
            if when == "as we claim":
                self.be_raced()
            return super().claim(path, data)

        def rename_new(self, source: str, target: str) -> None:
            if when == "as we commit" and target.startswith("index/"):
                self.be_raced()
            super().rename_new(source, target)

        def be_raced(self) -> None:
            if self.other is not None:
                writer, self.other = self.other.writer(), None
                writer.write("both", CLIPS[next(iter(CLIPS))])
                writer.commit()

    files = Raced()
    ours = FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=files)
    files.other = FeatureStore.open("s", mode="a", files=files)
    told = pytest.raises(StoreError, match=r"clip 'both' was written .* at the same moment, and is in it twice")
    with told, ours.writer() as writer:
        writer.write("both", CLIPS[next(iter(CLIPS))])
        writer.write("ours", CLIPS[list(CLIPS)[1]])
    expected = {"both": CLIPS[next(iter(CLIPS))], "ours": CLIPS[list(CLIPS)[1]]}
    for store in (ours, FeatureStore.open("s", files=files)):
        assert_holds(store, expected)
        assert store._index.places["both"][0].shard == 0  # the lower shard counts, whichever was seen first
    assert [str(damage.reason) for damage in verify("s", files=files)] == ["clip 'both' is in shard 0 as well"]
    assert repair("s", files=files).clips == []
    assert verify("s", files=files) == []
    assert_holds(FeatureStore.open("s", files=files), expected)


def write_the_same(path: Path, results: Any) -> None:
    store = FeatureStore.open(path, mode="a", durable=False)
    try:
        with store.writer() as writer:
            for clip_id, features in CLIPS.items():
                writer.write(clip_id, features)
    except StoreError:
        results.put("refused")
    else:
        results.put("written")


def test_of_many_writers_of_the_same_clips_at_most_one_is_not_told(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    for attempt in range(5):
        path, results = tmp_path / str(attempt), fork.SimpleQueue()
        FeatureStore.create(path, streams=STREAMS, fingerprint={}, durable=False)
        processes = [fork.Process(target=write_the_same, args=(path, results)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [results.get() for _ in processes].count("written") <= 1
        repair(path)
        assert verify(path) == []
        assert_holds(FeatureStore.open(path), CLIPS)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
@pytest.mark.parametrize("what", ["a bit", "all", "the disk"])
def test_a_record_that_is_damaged_is_taken_from_beside_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, what: str
) -> None:
    store = filled(tmp_path / "s", backend)
    record = store.path / "index" / "00000001.json"
    if what == "the disk":
        real = LocalFiles.read

        def read(files: LocalFiles, path: str) -> bytes:
            if path == "index/00000001.json":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(files, path)

        monkeypatch.setattr(LocalFiles, "read", read)
    else:
        sound = record.read_bytes()
        record.write_bytes(bytes([sound[0] ^ 1]) + sound[1:] if what == "a bit" else b"")
    assert_holds(FeatureStore.open(store.path), CLIPS)
    copy = store.path / store._index.records[1].copy_path
    copy.write_bytes(copy.read_bytes()[:-2])
    with pytest.raises(DamagedError, match=r"00000001\.json is damaged"):
        FeatureStore.open(store.path)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_record_that_was_removed_does_not_come_back_from_beside_its_data(tmp_path: Path, backend: str) -> None:
    store = filled(tmp_path / "s", backend)
    record = store._index.records[1]
    remove(store.path, record.clips)
    assert (store.path / record.copy_path).exists()
    assert not {*record.clips} & {*FeatureStore.open(store.path)}


def filled(path: Path, backend: str) -> FeatureStore:
    """Return a store with a clip a shard."""
    store = FeatureStore.create(path, streams=STREAMS, fingerprint={}, backend=backend, durable=False)
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
            writer.commit()
    return store
