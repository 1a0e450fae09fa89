"""Whatever instant a writer dies at, the store opens, holds what was committed, and resumes."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from faulty import FaultyFiles, Stopped, each_operation, until_stopped

from cache import Compression, FeatureStore, StoreError
from cache.care.verify import verify
from cache.places import create as create_module
from cache.testing import SHARD_STEPS, STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

pytestmark = pytest.mark.long

CLIPS = make_clips(7)
KINDS = pytest.mark.parametrize(
    ("backend", "compression"),
    [("zarr", None), ("hdf5", None), ("zarr", Compression("zstd", chunk_steps=8))],
    ids=["zarr", "hdf5", "zarr-zstd"],
)


@pytest.mark.parametrize("torn", [False, True])
@KINDS
def test_a_writer_that_stops_at_any_operation_loses_and_tears_nothing(
    backend: str, compression: Compression | None, torn: bool
) -> None:
    for place in each_operation(20, torn=torn):
        store, committed = create(place, backend, compression), []
        until_stopped(place, lambda store=store, committed=committed: write(store, committed))
        for left in place.after_kill(), *place.after_power_cuts():
            check_resumes(left, committed)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@KINDS
def test_any_operation_that_fails_gives_one_error_and_a_valid_store(
    backend: str, compression: Compression | None, number: int
) -> None:
    for place in each_operation(20, error=OSError(number, os.strerror(number))):
        store, committed = create(place, backend, compression), []
        try:
            until_stopped(place, lambda store=store, committed=committed: write(store, committed))
        except StoreError as error:
            assert os.strerror(number) in str(error)
            assert "\n" not in str(error)
        check_resumes(place, committed)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_making_that_stops_at_any_operation_leaves_a_store_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    steps = [(create_module, "_write"), (create_module, "sync_path"), (Path, "mkdir"), (Path, "rename")]
    real = {name: getattr(owner, name) for owner, name in steps}
    monkeypatch.setattr("cache.places.create._remove_tree", lambda folder: None)  # who is killed does not clean up
    made: list[bool] = []

    def step(name: str, left_to_do: list[int], *arguments: Any, **options: Any) -> Any:
        if not left_to_do[0]:
            raise Stopped
        left_to_do[0] -= 1
        return real[name](*arguments, **options)

    for stop_at in range(1000):
        path, left_to_do = tmp_path / str(stop_at), [stop_at]
        with monkeypatch.context() as patch, contextlib.suppress(Stopped):
            for owner, name in steps:
                patch.setattr(owner, name, lambda *a, _name=name, _left=left_to_do, **o: step(_name, _left, *a, **o))
            FeatureStore.create(path, backend=backend, streams=STREAMS, fingerprint={})
        made.append(FeatureStore.exists(path))
        store = (
            FeatureStore.open(path, mode="a")
            if made[-1]
            else FeatureStore.create(path, backend=backend, streams=STREAMS, fingerprint={})
        )
        write(store)
        assert_holds(FeatureStore.open(path), CLIPS)
        if left_to_do[0]:
            break
    assert stop_at > 8
    assert sorted(made) == made, "once it is made it stays"


def create(place: FaultyFiles, backend: str, compression: Compression | None) -> FeatureStore:
    return FeatureStore.create(
        "store",
        backend=backend,
        streams=STREAMS,
        fingerprint={},
        shard_steps=SHARD_STEPS,
        compression=compression,
        files=place,
    )


def write(store: FeatureStore, committed: list[str] | None = None) -> None:
    """Write all clips; note those of which the store says that they are committed, as soon as it says so."""
    committed = [] if committed is None else committed
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
            committed[:] = store.keys()
    committed[:] = store.keys()


def check_holds(place: MemoryFiles, clips: dict[str, Any]) -> None:
    """At least these clips are there, and whatever is there is whole."""
    store = FeatureStore.open("store", files=place)
    assert set(clips) <= set(store.keys())
    assert_holds(store, {clip_id: CLIPS[clip_id] for clip_id in store})


def check_resumes(place: MemoryFiles, committed: list[str]) -> None:
    assert verify("store", files=place) == []
    check_holds(place, {clip_id: CLIPS[clip_id] for clip_id in committed})
    store = FeatureStore.open("store", mode="a", files=place)
    with store.writer() as writer:
        for clip_id in CLIPS:
            if clip_id not in store:
                writer.write(clip_id, CLIPS[clip_id])
    assert_holds(FeatureStore.open("store", files=place), CLIPS)
    doubled = [clip for record in store._index.records.values() for clip in record.clips]
    assert sorted(doubled) == sorted(CLIPS)
