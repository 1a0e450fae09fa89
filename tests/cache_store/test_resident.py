"""Streams that are held whole: what is taken, what is refused for want of room, and what reads then come from."""

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import Compression, FeatureStore, StoreError, StreamSpec
from cache.reading import _free_memory
from cache.testing import STREAMS, assert_holds, make_clips

CLIPS = make_clips(20)
ONE, TWO, *_ = CLIPS
MEBIBYTE = 1 << 20
KINDS = pytest.mark.parametrize(
    ("backend", "compression"),
    [("zarr", None), ("hdf5", None), ("zarr", Compression("blosc", chunk_steps=8))],
    ids=["zarr", "hdf5", "blosc"],
)


def make(folder: Path, clips: dict[str, Any], **options: Any) -> Path:
    """Make a store of these clips, or add them to the one that is there."""
    if FeatureStore.exists(folder):
        store = FeatureStore.open(folder, mode="a", durable=False)
    else:
        options = {"streams": STREAMS, "shard_steps": 16, **options}
        store = FeatureStore.create(folder, fingerprint={}, durable=False, **options)
    with store.writer() as writer:
        for clip_id, features in clips.items():
            writer.write(clip_id, features)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "store", CLIPS)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Make a store whose one stream takes 3 MiB."""
    clips = {f"{number}": {"wide": np.full((16, 4096), number, np.float32)} for number in range(12)}
    return make(tmp_path / "large", clips, streams={"wide": StreamSpec(4096, "float32")})


def have_free(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    monkeypatch.setattr("cache.reading._free_memory", lambda: num_bytes)


def empty_the_files(folder: Path) -> None:
    """Leave nothing in the files, so that what can still be read comes from memory."""
    for path in (folder / "data").rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


# Memory


@KINDS
def test_a_stream_is_read_once_and_then_comes_from_memory(
    tmp_path: Path, backend: str, compression: Compression | None
) -> None:
    store = FeatureStore.open(make(tmp_path / "s", CLIPS, backend=backend, compression=compression), resident="yes")
    store.read(ONE, "wide")
    empty_the_files(tmp_path / "s")
    for clip_id, features in CLIPS.items():
        np.testing.assert_array_equal(store.read(clip_id, "wide"), features["wide"], strict=True)
        np.testing.assert_array_equal(store.read(clip_id, "wide", -2), features["wide"][-2:], strict=True)
    features, lengths = store.read_batch([TWO, ONE], "wide")
    np.testing.assert_array_equal(features[0, : lengths[0]], CLIPS[TWO]["wide"])
    with pytest.raises(StoreError, match="has 0 bytes"):
        store.read(ONE, "narrow")  # a stream that nobody had asked for was not read


def test_the_padding_of_a_batch_is_zeros_whatever_was_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore.open(folder, resident="yes")
    store.read(ONE, "wide")
    with monkeypatch.context() as patch:
        patch.setattr("cache.reading.np.empty", lambda shape, dtype: np.full(shape, 7, dtype))
        features, lengths = store.read_batch(list(CLIPS), "wide")
    for clip_id, row, length in zip(CLIPS, features, lengths, strict=True):
        np.testing.assert_array_equal(row[:length], CLIPS[clip_id]["wide"], strict=True)
        assert not row[length:].any()


def test_opening_reads_no_stream(folder: Path) -> None:
    empty_the_files(folder)
    assert len(FeatureStore.open(folder, resident="yes")) == len(CLIPS)


@pytest.mark.parametrize(("free", "is_held"), [(6 * MEBIBYTE, True), (6 * MEBIBYTE - 1, False)])
def test_auto_takes_half_of_the_free_memory_and_no_more(
    large: Path, monkeypatch: pytest.MonkeyPatch, free: int, is_held: bool
) -> None:
    have_free(monkeypatch, free)
    store = FeatureStore.open(large, resident="auto")
    assert store.read("7", "wide").max() == 7
    empty_the_files(large)
    if is_held:
        assert store.read("8", "wide").tolist() == [[8.0] * 4096] * 16
    else:
        with pytest.raises(StoreError, match="has 0 bytes"):
            store.read("8", "wide")


def test_yes_takes_all_of_the_free_memory_and_refuses_what_does_not_fit(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_free(monkeypatch, 3 * MEBIBYTE)
    assert FeatureStore.open(large, resident="yes").read("7", "wide").max() == 7
    have_free(monkeypatch, 3 * MEBIBYTE - 1)
    store = FeatureStore.open(large, resident="yes")
    with pytest.raises(StoreError) as caught:
        store.read("7", "wide")
    assert str(caught.value) == (
        f"stream 'wide' of {large} takes 3 MiB, 2 MiB are free in memory: open the store with resident='no'"
    )


def test_refresh_takes_in_what_was_committed_since(folder: Path) -> None:
    store = FeatureStore.open(folder, resident="yes")
    assert_holds(store, CLIPS)
    more = {f"new {clip_id}": features for clip_id, features in CLIPS.items()}
    make(folder, more)
    assert_holds(store, CLIPS)
    with pytest.raises(StoreError, match=f"clip 'new {ONE}' is not in"):
        store.read(f"new {ONE}", "wide")
    store.refresh()
    assert_holds(store, {**CLIPS, **more})
    empty_the_files(folder)
    assert_holds(store, {**CLIPS, **more})


def test_a_store_without_clips_is_held_like_any_other(tmp_path: Path) -> None:
    store = FeatureStore.open(make(tmp_path / "s", {}), resident="yes")
    assert store.read_batch([], "narrow")[0].shape == (0, 0, 3)
    with pytest.raises(StoreError, match="clip 'nobody' is not in"):
        store.read("nobody", "narrow")
    make(tmp_path / "s", CLIPS)
    store.refresh()
    assert_holds(store, CLIPS)


def test_a_damaged_shard_is_named_when_the_stream_is_read(folder: Path) -> None:
    os.truncate(folder / "data" / "wide" / "c.1.0", 5)
    with pytest.raises(StoreError, match=r"wide/c\.1\.0 has 5 bytes, \d+ needed"):
        FeatureStore.open(folder, resident="yes").read(ONE, "wide")


# Processes


def is_held_in(method: str, store: FeatureStore) -> bool:
    """Say whether another process reads `CLIPS` from a store."""
    process = multiprocessing.get_context(method).Process(target=assert_holds, args=(store, CLIPS))
    process.start()
    process.join(30)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("the process hangs")
    return process.exitcode == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_processes_share_what_the_parent_has_read(folder: Path) -> None:
    store = FeatureStore.open(folder, resident="yes")
    assert_holds(store, CLIPS)
    empty_the_files(folder)
    assert is_held_in("fork", store)


def test_spawned_processes_read_their_own(folder: Path) -> None:
    store = FeatureStore.open(folder, resident="yes")
    assert_holds(store, CLIPS)
    assert is_held_in("spawn", store)


def test_a_pickle_holds_no_features(large: Path) -> None:
    store = FeatureStore.open(large, resident="yes")
    assert store.read("7", "wide").max() == 7
    data = pickle.dumps(store)
    assert len(data) < 1000
    again = pickle.loads(data)  # noqa: S301 (our own bytes)
    assert again.resident == "yes"
    assert again.read("7", "wide").max() == 7
    empty_the_files(large)
    assert again.read("8", "wide").max() == 8


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resident": "maybe"}, "resident 'maybe' is not one of no, auto, yes"),
        ({"resident": "yes", "mode": "a"}, "resident 'yes' is for reading: open the store with mode='r'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(folder, **options)


def test_this_machine_has_memory() -> None:
    assert MEBIBYTE < _free_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
