"""Many processes, killed processes, forked and spawned processes."""

import gc
import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import FeatureStore, StreamSpec
from cache.places.local import _Descriptor
from cache.testing import STREAMS, assert_holds, make_clips

pytestmark = pytest.mark.long

NUM_KILLS = int(os.environ.get("SLT_NUM_KILLS", "25"))  # of each backend; 200 on request
fork = multiprocessing.get_context("fork")


def write_missing(path: Path, clips: dict[str, Any], told: Path | None = None) -> None:
    """Write what the store lacks; note in `told` the clips of which the store said that they are committed."""
    store = FeatureStore.open(path, mode="a", durable=False)  # killing a process does not undo what the kernel has
    noted = set(store.keys())
    with store.writer() as writer:
        for clip_id, features in clips.items():
            if clip_id not in store:
                writer.write(clip_id, features)
                fresh = [key for key in store if key not in noted]
                noted.update(fresh)
                if told and fresh:
                    with told.open("a") as file:
                        file.write("".join(f"{key}\n" for key in fresh))


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_killed_writers_lose_tear_and_double_nothing(tmp_path: Path, backend: str) -> None:
    clips, rng, kills = make_clips(400), np.random.default_rng(1), 0
    for attempt in range(100):
        path, told = tmp_path / str(attempt), tmp_path / f"{attempt}.told"
        told.touch()
        FeatureStore.create(path, backend=backend, streams=STREAMS, fingerprint={}, shard_steps=16, durable=False)
        while kills < NUM_KILLS:
            process = fork.Process(target=write_missing, args=(path, clips, told))
            process.start()
            time.sleep(rng.uniform(0.005, 0.1))
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            kills += process.exitcode == -signal.SIGKILL
            store = FeatureStore.open(path)
            assert set(told.read_text().split("\n")[:-1]) <= set(store.keys())
            assert_holds(store, {clip_id: clips[clip_id] for clip_id in store})
            if len(store) == len(clips):
                break
        write_missing(path, clips)
        store = FeatureStore.open(path)
        assert_holds(store, clips)
        assert sum(len(record.clips) for record in store._index.records.values()) == len(clips)
        if kills >= NUM_KILLS:
            return
    raise AssertionError(f"only {kills} processes were killed in time")


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, backend: str) -> None:
    clips = make_clips(200)
    FeatureStore.create(tmp_path / "s", backend=backend, streams=STREAMS, fingerprint={}, shard_steps=16, durable=False)
    parts = [dict(list(clips.items())[number::4]) for number in range(4)]
    processes = [fork.Process(target=write_missing, args=(tmp_path / "s", part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = FeatureStore.open(tmp_path / "s")
    assert_holds(store, clips)
    assert not list((tmp_path / "s" / "index").glob("*.claim"))
    assert not list((tmp_path / "s" / "tmp").iterdir())
    if backend == "zarr":
        import zarr

        rows = (max(store._index.records) + 1) * store.shard_steps
        array: Any = zarr.open_group(tmp_path / "s" / "data", mode="r")["wide"]
        assert rows <= array.shape[0] < rows + 8 * store.shard_steps


def create(path: Path, results: Any) -> None:
    try:
        FeatureStore.create(path, streams=STREAMS, fingerprint={}, durable=False)
        results.put(True)
    except Exception as error:
        results.put(str(error))


def test_of_many_creators_one_makes_the_store(tmp_path: Path) -> None:
    results = fork.SimpleQueue()
    processes = [fork.Process(target=create, args=(tmp_path / "s", results)) for _ in range(6)]
    for process in processes:
        process.start()
    answers = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert answers.count(True) == 1
    assert all("exists: go on with it" in answer for answer in answers if answer is not True)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert FeatureStore.open(tmp_path / "s").keys() == []


def digest(store: FeatureStore, epochs: int = 2) -> str:
    """Return a hash of everything the store yields, clip by clip and in batches."""
    found = hashlib.sha256()
    for _ in range(epochs):
        for clip_id in store:
            found.update(store.read(clip_id, "wide").tobytes())
        found.update(store.read_batch(store.keys(), "narrow")[0].tobytes())
    return found.hexdigest()


def put_digest(store: FeatureStore, results: Any) -> None:
    results.put(digest(store))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_reader_processes_read_what_the_parent_reads(tmp_path: Path, backend: str, method: str) -> None:
    store = FeatureStore.create(
        tmp_path / "s", backend=backend, streams=STREAMS, fingerprint={}, shard_steps=16, durable=False
    )
    write_missing(store.path, make_clips(60))
    store = FeatureStore.open(store.path)
    expected = digest(store)  # the parent has read, so its files are open when it forks
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    processes = [context.Process(target=put_digest, args=(store, results)) for _ in range(8)]
    for process in processes:
        process.start()
    answers = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert answers == [expected] * len(processes)
    assert digest(store) == expected


def test_threads_read_what_one_thread_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    gc.collect()
    monkeypatch.setattr("cache.places.local.MAX_OPEN_FILES", _Descriptor.num_open + 3)
    FeatureStore.create(
        tmp_path / "s", streams={"wide": StreamSpec(6), "narrow": StreamSpec(3)}, fingerprint={}, shard_steps=16
    )
    write_missing(tmp_path / "s", make_clips(60, {"wide": StreamSpec(6), "narrow": StreamSpec(3)}))
    expected = digest(FeatureStore.open(tmp_path / "s"))
    store = FeatureStore.open(tmp_path / "s")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: digest(store), range(16))) == {expected}
    assert len(store._files.open_files) == 3
