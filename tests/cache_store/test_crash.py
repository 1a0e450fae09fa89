"""Whatever instant a writer dies at, the store opens, holds what was committed, and resumes."""

import errno
import os
from collections.abc import Iterable
from typing import Any

import pytest

from cache import FeatureStore, StoreError
from cache.memory_files import MemoryFiles
from cache.testing import SHARD_STEPS, STREAMS, assert_holds, make_clips


class Stopped(BaseException):
    """The process is gone: nothing may catch this but the test."""


class FaultyFiles(MemoryFiles):
    """Fails at the n-th changing operation once `armed`: stops for good, or raises `error` that once.

    torn: a write that is stopped leaves its first half.
    """

    def __init__(self, stop_at: int, *, torn: bool = False, error: OSError | None = None) -> None:
        super().__init__()
        self.armed, self.stopped = False, False
        self._left_to_do, self._torn, self._error = stop_at, torn, error

    def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> None:
        """Write a new file, or the first half of it."""
        parts = list(parts)
        stop = self._count(quiet=self._torn)
        super().write(path, [b"".join(bytes(part) for part in parts)[: 10 if stop else None]], None if stop else size)
        if stop:
            self._count()

    def sync(self, path: str) -> None:
        """Sync, or fail."""
        self._count()
        super().sync(path)

    def rename(self, source: str, target: str) -> None:
        """Rename, or fail."""
        self._count()
        super().rename(source, target)

    def claim(self, path: str) -> bool:
        """Claim, or fail."""
        self._count()
        return super().claim(path)

    def remove(self, path: str) -> None:
        """Remove, or fail."""
        self._count()
        super().remove(path)

    def _count(self, quiet: bool = False) -> bool:
        """Count an operation; at the one to fail raise, or if `quiet` return True."""
        if not self.armed:
            return False
        self._left_to_do -= 1
        if self._left_to_do >= 0 or (self._error and self.stopped):
            return False
        if quiet and not self.stopped:
            self._left_to_do = 0
            return True
        self.stopped = True
        raise self._error or Stopped


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_writer_that_stops_at_any_operation_loses_and_tears_nothing(backend: str, torn: bool) -> None:
    clips = make_clips(7)
    for stop_at in range(1000):
        place = FaultyFiles(stop_at, torn=torn)
        committed = write_until_stopped(place, backend, clips)
        for left in place.after_kill(), *place.after_power_cuts():
            check_resumes(left, clips, committed)
        if not place.stopped:
            break
    assert 30 < stop_at < 999, "the loop has not seen every operation of several shards"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_any_operation_that_fails_gives_one_error_and_a_valid_store(backend: str, number: int) -> None:
    clips = make_clips(7)
    for stop_at in range(1000):
        place = FaultyFiles(stop_at, error=OSError(number, os.strerror(number)))
        committed: list[str] = []
        try:
            write_until_stopped(place, backend, clips, committed)
        except StoreError as error:
            assert os.strerror(number) in str(error)
            assert "\n" not in str(error)
        check_resumes(place, clips, committed)
        if not place.stopped:
            break
    assert 30 < stop_at < 999, "the loop has not seen every operation of several shards"


def write_until_stopped(
    place: FaultyFiles, backend: str, clips: dict[str, Any], committed: list[str] | None = None
) -> list[str]:
    """Return the clips of which the writer was told that they are in the store."""
    committed = [] if committed is None else committed
    store = FeatureStore.create(
        "store", backend=backend, streams=STREAMS, fingerprint={}, shard_steps=SHARD_STEPS, files=place
    )
    place.armed = True
    try:
        with store.writer() as writer:
            for clip_id, features in clips.items():
                writer.write(clip_id, features)
                committed[:] = store.keys()
        committed[:] = store.keys()
    except Stopped:
        pass
    finally:
        place.armed = False
    return committed


def check_resumes(place: MemoryFiles, clips: dict[str, Any], committed: list[str]) -> None:
    store = FeatureStore.open("store", mode="a", files=place)
    assert set(committed) <= set(store.keys())
    assert_holds(store, {clip_id: clips[clip_id] for clip_id in store})
    with store.writer() as writer:
        for clip_id in clips:
            if clip_id not in store:
                writer.write(clip_id, clips[clip_id])
    assert_holds(FeatureStore.open("store", files=place), clips)
    doubled = [clip for record in store._index.records.values() for clip in record.clips]
    assert sorted(doubled) == sorted(clips)
