"""A store in an object store is read in spawned processes; forked ones, where the client would hang, are refused."""

import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from object_server import URL, ObjectServer, s3_from

from cache import FeatureStore
from cache.testing import STREAMS, assert_holds, make_clips

CLIPS = make_clips(20)
ONE = next(iter(CLIPS))


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


def open_again(store: FeatureStore) -> str:
    return read_everything(FeatureStore.open(store.path))


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


@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_a_spawned_process_reads_what_the_parent_has_read_before(folder: Path, scheme: str) -> None:
    store = FeatureStore.open(URL if scheme == "s3" else folder.as_uri())
    assert read_everything(store) == ""
    assert answer_of("spawn", read_everything, store) == ""
    assert read_everything(store) == ""


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("task", [read_everything, open_again])
def test_a_forked_process_is_told_to_be_spawned_and_does_not_hang(
    folder: Path, task: Callable[[FeatureStore], str]
) -> None:
    store = FeatureStore.open(URL)
    assert read_everything(store) == ""  # the client's threads run here now, and not in what is forked
    said = answer_of("fork", task, store)
    assert said == f"StoreError: {URL} cannot be read in a process that was forked: start it by spawning"


def test_a_pickle_of_a_store_is_its_address(folder: Path) -> None:
    store = FeatureStore.open(URL)
    assert_holds(store, CLIPS)
    data = pickle.dumps(store)
    assert len(data) < 500
    assert_holds(pickle.loads(data), CLIPS)  # noqa: S301 (our own bytes)
