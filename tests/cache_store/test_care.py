"""Care for a store that others use, or that is damaged in more ways than one, costs nobody anything."""

import errno
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nobody import as_nobody

from cache import FeatureStore, StoreError, StreamSpec
from cache.care.convert import convert, merge
from cache.care.info import info
from cache.care.repair import Dropped, remove, repair
from cache.care.verify import verify
from cache.index import record_path
from cache.places.local import LocalFiles
from cache.testing import STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

CLIPS = make_clips(8, max_steps=4)
A, B, C, D = list(CLIPS)[:4]


def fill(store: FeatureStore, *groups: dict[str, Any]) -> FeatureStore:
    """Commit a shard for each group of clips."""
    with store.writer() as writer:
        for clips in groups:
            for clip_id, features in clips.items():
                writer.write(clip_id, features)
            writer.commit()
    return store


def pick(*clip_ids: str) -> dict[str, Any]:
    return {clip_id: CLIPS[clip_id] for clip_id in clip_ids}


def memory(*groups: dict[str, Any], files: MemoryFiles | None = None, backend: str = "zarr") -> MemoryFiles:
    files = files or MemoryFiles()
    fill(FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=files, backend=backend), *groups)
    return files


@pytest.fixture
def local(tmp_path: Path) -> FeatureStore:
    store = FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={}, durable=False)
    return fill(store, pick(A, B), pick(C))


# Others are writing, or have the store open


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
@pytest.mark.parametrize("moment", ["tmp/", "data/", "index/"])
@pytest.mark.parametrize("care", ["remove", "repair"])
def test_clips_are_removed_while_another_process_commits_and_neither_loses_one(
    care: str, moment: str, backend: str
) -> None:
    class Busy(MemoryFiles):
        """While its writer has just written a file of such a folder, somebody else prunes."""

        armed = False

        def rename_new(self, source: str, target: str) -> None:
            super().rename_new(source, target)
            self.prune(target)

        def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> None:
            super().write(path, parts, size)
            self.prune(path)

        def prune(self, path: str) -> None:
            if self.armed and path.startswith(moment):
                self.armed = False
                remove("s", [A], files=self) if care == "remove" else repair("s", files=self)

    files = Busy()
    memory(pick(A, B), files=files, backend=backend)
    store = FeatureStore.open("s", mode="a", files=files)
    with store.writer() as writer:
        writer.write(C, CLIPS[C])
        files.armed = True
    assert not files.armed
    assert verify("s", files=files) == []
    expected = pick(B, C) if care == "remove" else pick(A, B, C)
    assert_holds(FeatureStore.open("s", files=files), expected)
    store.refresh()
    assert_holds(store, expected)


def test_a_claim_counts_as_long_as_its_maker_holds_it_however_long_that_is(local: FeatureStore) -> None:
    name, others = "index/00000077.claim", LocalFiles(local.path)
    assert local._files.claim(name, b'{"store":"x"}')
    assert not others.claim(name, b'{"store":"y"}')
    os.utime(local.path / name, (time.time() - 30 * 24 * 3600,) * 2)
    assert others.claim_is_live(name)
    local._files.close()  # as the system does when the process ends
    assert not others.claim_is_live(name)
    others.remove(name)
    assert not others.claim_is_live(name)


@pytest.mark.parametrize("content", [b"", b"another-machine 1\n", b"host \xc2\xb2\n", b"\xff\xfe", b"9" * 5000])
def test_a_claim_that_says_nothing_counts_for_an_hour(local: FeatureStore, content: bytes) -> None:
    name = "index/00000077.claim"
    (local.path / name).write_bytes(content)
    assert local._files.claim_is_live(name)
    os.utime(local.path / name, (time.time() - 2 * 3600,) * 2)
    assert not local._files.claim_is_live(name)


def test_where_locks_prove_nothing_a_claim_counts_for_an_hour_after_its_last_sign_of_life(
    local: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.places.local._file_system", lambda folder: "nfs4")
    monkeypatch.setattr("cache.places.local.BEAT", 0.01)
    name, others = "index/00000077.claim", LocalFiles(local.path)
    assert local._files.claim(name, b'{"store":"x"}')
    long_ago = time.time() - 2 * 3600
    os.utime(local.path / name, (long_ago,) * 2)
    end = time.monotonic() + 10
    while not others.claim_is_live(name) and time.monotonic() < end:
        time.sleep(0.01)
    assert others.claim_is_live(name)
    local._files.close()
    time.sleep(0.05)
    os.utime(local.path / name, (long_ago,) * 2)
    assert not others.claim_is_live(name)


def test_a_writer_whose_claim_was_taken_away_commits_nothing() -> None:
    class Robbed(MemoryFiles):
        def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> None:
            super().write(path, parts, size)
            for name in [name for name in self.names("index") if name.endswith(".claim")]:
                super().remove(f"index/{name}")

    files = Robbed()
    with pytest.raises(StoreError, match="was repaired or pruned while shard 0 was being written, which is given up"):
        memory(pick(A), files=files)
    assert FeatureStore.open("s", files=files).keys() == []


# A clip in two shards


def doubled() -> tuple[MemoryFiles, dict[str, Any]]:
    """A is in shard 0 and, with other numbers, in shard 1."""
    files, apart = memory(pick(A, B)), MemoryFiles()
    other = {name: array + 1 for name, array in CLIPS[A].items()}
    FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=apart)
    apart.put("store.json", files.read("store.json"))
    fill(FeatureStore.open("s", mode="a", files=apart), pick(D), {A: other, C: CLIPS[C]})
    for path in (
        *("data/wide/c.1.0", "data/narrow/c.1.0"),
        *("data/narrow/c.1.0.json", "index/00000001.json"),
    ):
        files.put(path, apart.read(path))
    for name in STREAMS:
        files.put(f"data/{name}/zarr.json", apart.read(f"data/{name}/zarr.json"))
    assert [damage.reason for damage in verify("s", files=files)] == [f"clip {A!r} is in shard 0 as well"]
    return files, other


@pytest.mark.parametrize("gone", [[], [B], [C], [B, C]])
def test_pruning_a_store_with_a_clip_in_two_shards_keeps_the_first(gone: list[str]) -> None:
    files, _ = doubled()
    store = FeatureStore.open("s", files=files)
    assert remove("s", gone, files=files) == sorted(gone)
    expected = {clip: CLIPS[clip] for clip in (A, B, C) if clip not in gone}
    assert verify("s", files=files) == []
    store.refresh()
    for reader in (store, FeatureStore.open("s", files=files)):
        assert_holds(reader, expected)


def test_a_removed_clip_that_was_in_two_shards_is_gone_from_both() -> None:
    files, _ = doubled()
    assert remove("s", [A], files=files) == [A]
    assert_holds(FeatureStore.open("s", files=files), pick(B, C))


def test_repair_takes_the_second_copy_where_the_first_is_damaged() -> None:
    files, other = doubled()
    data = bytearray(files.read("data/wide/c.0.0"))
    data[0] ^= 1
    files.put("data/wide/c.0.0", bytes(data))
    assert repair("s", files=files) == Dropped([])
    assert verify("s", files=files) == []
    assert_holds(FeatureStore.open("s", files=files), {A: other, **pick(B, C)})


# Damage


@pytest.mark.parametrize("resident", ["no", "yes"])
def test_a_refresh_that_meets_damage_leaves_the_store_as_it_was(resident: Any) -> None:
    files = memory(pick(A), pick(B))
    reader = FeatureStore.open("s", files=files, resident=resident)
    assert_holds(reader, pick(A, B))
    fill(FeatureStore.open("s", mode="a", files=files), pick(C), pick(D))
    remove("s", [A], files=files)
    _, last = FeatureStore.open("s", files=files)._index.records.popitem()
    for path in (record_path(last.shard), last.copy_path):
        files.put(path, files.read(path).replace(b'"', b"'", 1))
    with pytest.raises(StoreError, match="its checksum does not match"):
        reader.refresh()
    assert sorted(reader.keys()) == [A, B]
    np.testing.assert_array_equal(reader.read(B, "wide"), CLIPS[B]["wide"])


def test_a_store_that_lacks_a_file_can_be_looked_into(local: FeatureStore) -> None:
    (local.path / "data" / "wide" / "c.1.0").unlink()
    facts = info(FeatureStore.open(local.path))
    assert (facts["clips"], facts["shards"]) == (3, 2)


@pytest.mark.parametrize("path", ["data/wide/c.0.0", "index/00000000.json"])
def test_what_the_disk_cannot_give_back_is_damage_that_repair_drops(path: str) -> None:
    class Scratched(MemoryFiles):
        bad = ""

        def read(self, path: str) -> bytes:
            if path == self.bad and self.exists(path):
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return super().read(path)

        def rename(self, source: str, target: str) -> None:
            super().rename(source, target)
            self.bad = "" if target == self.bad else self.bad  # other sectors

        def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
            if path == self.bad and offset + out.nbytes == self.size(path):  # the sector after the clips
                error = OSError(errno.EIO, os.strerror(errno.EIO), path)
                raise StoreError(f"cannot read {path}") from error
            super().read_into(path, offset, out)

    files = Scratched()
    memory(pick(A, B), pick(C), files=files)
    files.bad = path
    assert path in [damage.file for damage in verify("s", files=files)]
    assert repair("s", files=files) == Dropped([])
    assert verify("s", files=files) == []
    assert_holds(FeatureStore.open("s", files=files), pick(A, B, C))


# A file system that refuses


def test_a_commit_of_which_only_the_sync_failed_is_taken_in() -> None:
    class NoSync(MemoryFiles):
        armed = False

        def sync(self, path: str) -> None:
            if self.armed and path == "index" and self.exists("index/00000000.json"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().sync(path)

    files = NoSync()
    store = FeatureStore.create("s", streams=STREAMS, fingerprint={}, files=files)
    writer = store.writer()
    writer.write(A, CLIPS[A])
    files.armed = True
    with pytest.raises(StoreError, match=r"Input/output error: what .* is intact \(1 clips\), 0 clips are not"):
        writer.commit()
    files.armed = False
    writer.write(B, CLIPS[B])
    writer.commit()
    assert_holds(FeatureStore.open("s", files=files), pick(A, B))


def test_a_writer_goes_on_after_a_clip_of_somebody_else() -> None:
    files = memory()
    one, two = (FeatureStore.open("s", mode="a", files=files).writer() for _ in range(2))
    one.write(A, CLIPS[A])
    two.write(A, CLIPS[A])
    two.write(B, CLIPS[B])
    one.commit()
    with pytest.raises(StoreError, match="so the 2 clips of this shard are given up"):
        two.commit()
    two.write(B, CLIPS[B])
    two.commit()
    assert_holds(FeatureStore.open("s", files=files), pick(A, B))


def test_what_may_not_be_looked_at_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    name = f"locked-{tmp_path.name}-{os.getpid()}"
    folder = Path("/tmp", name)
    store = fill(FeatureStore.create(folder / "s", streams=STREAMS, fingerprint={}, durable=False), pick(A))
    try:
        folder.chmod(0)
        for look in (FeatureStore.open, FeatureStore.exists, verify, repair):
            said = as_nobody(lambda look=look: look(store.path))
            assert said == f"cannot read {store.path}/store.json (Permission denied): check its permissions"
    finally:
        folder.chmod(0o755)
        remove(store.path, [A])
    with pytest.raises(StoreError, match=r"cannot read .*File name too long"):
        FeatureStore.open("x" * 300)


# Processes and arguments


def read_wide(store: FeatureStore, results: Any) -> None:
    results.put(store.read(A, "wide").tolist())


def test_a_process_forked_while_another_thread_reads_a_stream_in_does_not_wait_for_it(local: FeatureStore) -> None:
    fork = multiprocessing.get_context("fork")
    reader, results = FeatureStore.open(local.path, resident="yes"), fork.SimpleQueue()
    with reader._rows._lock:  # as a thread has it that reads a stream into memory
        process = fork.Process(target=read_wide, args=(reader, results))
        process.start()
        process.join(20)
        assert process.exitcode == 0, "the process waits for a thread that it does not have"
    assert results.get() == CLIPS[A]["wide"].tolist()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda store: remove(store.path, A), "clips is the text .* give a list"),
        (lambda store: store.read_batch(A, "wide"), "clip_ids is the text .* give a list"),
        (lambda store: convert(store, store.path.parent / "t", clips=A), "clips is the text .* give a list"),
        (lambda store: convert(store, store.path.parent / "t", shard_steps=0), "would hold 0: take .* or more"),
        (lambda store: merge([], store.path.parent / "t"), "no store was named"),
        (lambda store: StreamSpec(True), "stream dim True is not"),
    ],
)
def test_arguments_that_are_easily_got_wrong_are_refused(
    local: FeatureStore, ask: Callable[[FeatureStore], object], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        ask(local)
    assert_holds(FeatureStore.open(local.path), pick(A, B, C))
    assert not (local.path.parent / "t").exists()


def test_a_shard_that_nothing_holds_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a shard of 1000000000000000 steps would take .* make shard_steps smaller"):
        FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={}, shard_steps=10**15, durable=False)


def test_a_store_that_is_held_in_memory_is_copied_from_its_files(local: FeatureStore, tmp_path: Path) -> None:
    held = FeatureStore.open(local.path, resident="yes")
    assert_holds(convert(held, tmp_path / "t", backend="hdf5"), pick(A, B, C))


def test_a_store_opens_while_it_is_pruned() -> None:
    class Pruned(MemoryFiles):
        """Before each of the first records is read, somebody puts another in its place."""

        left = 0

        def read(self, path: str) -> bytes:
            if self.left and path.startswith("index/"):
                self.left -= 1
                remove("s", [FeatureStore.open("s", files=self.after_kill()).keys()[0]], files=self)
            return super().read(path)

    files = Pruned()
    memory(*(pick(clip) for clip in CLIPS), files=files)
    files.left = 1
    store = FeatureStore.open("s", files=files)
    assert_holds(store, {clip: CLIPS[clip] for clip in list(CLIPS)[1:]})


def test_a_full_disk_leaves_no_claim(local: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(OSError, match="No space"):
            local._files.claim("index/00000009.claim", b"{}")
    assert not list((local.path / "index").glob("*.claim"))
