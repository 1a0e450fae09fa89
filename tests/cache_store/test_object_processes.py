"""A store in an object store is read in other processes: spawned ones, and forked ones, where obstore would hang."""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from object_server import URL, ObjectServer, s3_from

from cache import FeatureStore, StoreError
from cache.testing import STREAMS, assert_holds, make_clips

CLIPS = make_clips(20)
ONE = next(iter(CLIPS))
FORKS_WITH_THREADS = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with s3_from(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, server: ObjectServer) -> Path:
    """Make the store whose URL is `URL`."""
    path = tmp_path / "bucket" / "features"
    store = FeatureStore.create(path, streams=STREAMS, fingerprint={}, shard_steps=16, durable=False)
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
    return path


def read_everything(store: FeatureStore) -> str:
    """Return an empty text if a store holds `CLIPS`, read clip by clip and in a batch."""
    try:
        assert_holds(store, CLIPS)
        for features, row in zip(CLIPS.values(), store.read_batch(list(CLIPS), "narrow")[0], strict=True):
            np.testing.assert_array_equal(row[: len(features["narrow"])], features["narrow"], strict=True)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


def open_and_read(store: FeatureStore) -> str:
    return read_everything(FeatureStore.open(store.path))


def read_in_threads(store: FeatureStore) -> str:
    with ThreadPoolExecutor(4) as pool:
        return "".join(pool.map(read_everything, [store] * 8))


def read_in_a_child(store: FeatureStore) -> str:
    return read_everything(store) + answer_of("fork", read_everything, store) + read_everything(store)


def read_and_close(store: FeatureStore) -> str:
    found = read_everything(store)
    process = helper_of(store)
    store._files.close()
    assert process.returncode is not None, "the helper outlives its store"
    return found


def lose_the_helper(store: FeatureStore) -> str:
    store.read(ONE, "wide")
    os.kill(helper_of(store).pid, signal.SIGKILL)
    with pytest.raises(StoreError) as caught:
        store.read(ONE, "wide")
    return str(caught.value) + read_everything(store)


def helper_of(store: FeatureStore) -> Any:
    return store._files._helpers[os.getpid()]._process  # pyright: ignore[reportAttributeAccessIssue]


def answer(task: Callable[[FeatureStore], str], store: FeatureStore, sender: Any) -> None:
    try:
        sender.send(task(store))
    except BaseException as error:
        sender.send(f"{type(error).__name__}: {error}")


def answer_of(method: str, task: Callable[[FeatureStore], str], store: FeatureStore) -> str:
    """Return what `task` says in another process; fail if it hangs."""
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(task, store, sender))
    process.start()
    try:
        assert receiver.poll(30), "the process hangs"
        return receiver.recv()
    finally:
        process.kill()
        process.join()


@FORKS_WITH_THREADS
@pytest.mark.parametrize("scheme", ["s3", "file"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_reads_what_the_parent_has_read_before(folder: Path, scheme: str, method: str) -> None:
    store = FeatureStore.open(URL if scheme == "s3" else folder.as_uri())
    assert read_everything(store) == ""  # obstore's threads run here now, and not in what is forked
    assert answer_of(method, read_everything, store) == ""
    assert read_everything(store) == ""


@FORKS_WITH_THREADS
@pytest.mark.parametrize("task", [open_and_read, read_in_threads, read_in_a_child, read_and_close])
def test_a_forked_process_may(folder: Path, task: Callable[[FeatureStore], str]) -> None:
    assert answer_of("fork", task, FeatureStore.open(URL)) == ""


@FORKS_WITH_THREADS
def test_a_forked_process_is_refused_in_the_same_words(folder: Path, server: ObjectServer) -> None:
    store = FeatureStore.open(URL)
    (folder / "data" / "wide" / "c.0.0").unlink()
    with pytest.raises(StoreError) as caught:
        store.read(ONE, "wide")
    assert answer_of("fork", read_everything, store) == f"StoreError: {caught.value}"
    server.failures.append(("data/wide/c.0.0", 403))
    assert "403 Forbidden" in answer_of("fork", read_everything, store)
    assert answer_of("fork", lambda store: str(FeatureStore.exists("s3://bucket/nothing")), store) == "False"


@FORKS_WITH_THREADS
def test_a_helper_that_was_killed_is_one_error_and_is_replaced(folder: Path) -> None:
    assert answer_of("fork", lose_the_helper, FeatureStore.open(URL)) == (
        f"the helper process that reads {URL} has ended: see above, or run it again"
    )


def test_a_pickle_of_a_store_is_its_address(folder: Path) -> None:
    store = FeatureStore.open(URL)
    assert_holds(store, CLIPS)
    data = pickle.dumps(store)
    assert len(data) < 500
    assert_holds(pickle.loads(data), CLIPS)  # noqa: S301 (our own bytes)
