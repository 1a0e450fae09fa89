"""Streams that are held whole: what is taken, what is refused for want of room, and what reads then come from."""

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import Compression, FeatureStore, StoreError, StreamSpec
from cache.resident import _free_memory
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
    monkeypatch.setattr("cache.resident._free_memory", lambda: num_bytes)


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
        patch.setattr("cache.resident.np.empty", lambda shape, dtype: np.full(shape, 7, dtype))
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


@pytest.mark.parametrize("options", [{"resident": "yes"}, {"resident": "device", "device": "cpu"}])
def test_a_pickle_holds_no_features(large: Path, options: dict[str, Any]) -> None:
    store = FeatureStore.open(large, **options)
    assert store.read("7", "wide").max() == 7
    data = pickle.dumps(store)
    assert len(data) < 1000
    again = pickle.loads(data)  # noqa: S301 (our own bytes)
    assert again.resident == options["resident"]
    assert type(again.read("7", "wide")) is type(store.read("7", "wide"))
    empty_the_files(large)
    assert again.read("8", "wide").max() == 8


# A device


@KINDS
def test_a_device_yields_the_same_numbers_as_tensors(
    tmp_path: Path, backend: str, compression: Compression | None
) -> None:
    make(tmp_path / "s", CLIPS, backend=backend, compression=compression)
    store = FeatureStore.open(tmp_path / "s", resident="device", device="cpu")
    for stream, dtype in [("wide", torch.float16), ("narrow", torch.float32)]:
        for clip_id, features in CLIPS.items():
            for start, stop in [(None, None), (0, 2), (1, None), (None, -1), (2, 1), (-2, 100), (50, 60)]:
                found = store.read(clip_id, stream, start, stop)
                assert isinstance(found, torch.Tensor)
                assert found.dtype == dtype
                np.testing.assert_array_equal(found.numpy(), features[stream][start:stop], strict=True)


def test_a_batch_on_a_device_is_padded_with_zeros_and_its_lengths_are_there_too(folder: Path) -> None:
    store = FeatureStore.open(folder, resident="device", device=torch.device("cpu"))
    chosen = [*list(CLIPS)[::-2], ONE, ONE]
    features, lengths = store.read_batch(chosen, "narrow")
    assert isinstance(features, torch.Tensor)
    assert isinstance(lengths, torch.Tensor)
    assert (features.dtype, lengths.dtype) == (torch.float32, torch.int64)
    assert lengths.tolist() == [len(CLIPS[clip_id]["narrow"]) for clip_id in chosen]
    assert features.shape == (len(chosen), max(lengths), 3)
    for clip_id, row, length in zip(chosen, features, lengths, strict=True):
        np.testing.assert_array_equal(row[:length].numpy(), CLIPS[clip_id]["narrow"], strict=True)
        assert not row[length:].any()


def test_an_empty_batch_on_a_device_is_empty(folder: Path) -> None:
    features, lengths = FeatureStore.open(folder, resident="device", device="cpu").read_batch([], "narrow")
    assert (features.shape, features.dtype) == ((0, 0, 3), torch.float32)
    assert (lengths.shape, lengths.dtype) == ((0,), torch.int64)


def test_what_a_device_gives_away_is_no_part_of_what_it_holds(folder: Path) -> None:
    store = FeatureStore.open(folder, resident="device", device="cpu")
    store.read(ONE, "wide").fill_(9)
    store.read(ONE, "wide", 0, 1).fill_(9)
    store.read_batch([ONE, TWO], "wide")[0].fill_(9)
    np.testing.assert_array_equal(store.read(ONE, "wide").numpy(), CLIPS[ONE]["wide"])
    features, lengths = store.read_batch(list(CLIPS), "wide")
    assert not any(row[length:].any() for row, length in zip(features, lengths, strict=True))


def test_a_device_is_asked_for_what_is_not_there_in_the_same_words(folder: Path) -> None:
    store = FeatureStore.open(folder, resident="device", device="cpu")
    with pytest.raises(StoreError, match=r"clip 'nobody' is not in .* \(20 clips\)"):
        store.read("nobody", "wide")
    with pytest.raises(StoreError, match="clip 'nobody' is not in"):
        store.read_batch([ONE, "nobody"], "wide")
    with pytest.raises(StoreError, match=r"stream 'tall' is not in .*, it has wide, narrow"):
        store.read_batch([ONE], "tall")


def test_a_device_holds_what_refresh_found(folder: Path) -> None:
    store = FeatureStore.open(folder, resident="device", device="cpu")
    store.read(ONE, "wide")
    make(folder, {"new": CLIPS[ONE]})
    store.refresh()
    np.testing.assert_array_equal(store.read("new", "wide").numpy(), CLIPS[ONE]["wide"])
    empty_the_files(folder)
    np.testing.assert_array_equal(store.read(TWO, "wide").numpy(), CLIPS[TWO]["wide"])


def test_a_device_without_room_is_refused_before_anything_is_read(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_the_files(large)  # were they read, that would be the error
    have_free(monkeypatch, 2 * MEBIBYTE)
    store = FeatureStore.open(large, resident="device", device="cpu")
    with pytest.raises(StoreError, match=r"stream 'wide' of .* takes 3 MiB, 2 MiB are free in memory: open the store"):
        store.read("7", "wide")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize(
    ("device", "words"),
    [("cuda", "CUDA|NVIDIA"), (torch.device("cuda", 3), "CUDA|NVIDIA"), ("gpu", "device string: gpu"), (2.5, "device")],
)
def test_a_device_that_is_not_there_is_one_line_when_the_store_is_opened(large: Path, device: Any, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        FeatureStore.open(large, resident="device", device=device)
    assert str(caught.value).startswith(f"cannot hold features on device '{device}' (")
    assert str(caught.value).endswith("): open the store with another device, or with resident='no'")
    assert "\n" not in str(caught.value)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resident": "maybe"}, "resident 'maybe' is not one of no, auto, yes, device"),
        ({"resident": "device"}, "resident='device' and a device go together, got 'device' and None"),
        ({"device": "cpu"}, "resident='device' and a device go together, got 'no' and 'cpu'"),
        ({"resident": "yes", "device": "cpu"}, "resident='device' and a device go together, got 'yes' and 'cpu'"),
        ({"resident": "yes", "mode": "a"}, "resident 'yes' is for reading: open the store with mode='r'"),
        ({"resident": "device", "device": "cpu", "mode": "a"}, "resident 'device' is for reading"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(folder, **options)


# How much is free


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8 << 30),
        ({"proc/self/cgroup": "0::/\n"}, 8 << 30),
        # version 2: a limit of 1000 MiB, 600 used, of which 150 are files that can go
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{1000 << 20}\n",
                "sys/fs/cgroup/memory.current": f"{600 << 20}\n",
                "sys/fs/cgroup/memory.stat": f"anon 5\nactive_file {50 << 20}\ninactive_file {100 << 20}\n",
            },
            550 << 20,
        ),
        # the limit of a group further out, such as that of a batch job
        (
            {
                "proc/self/cgroup": "0::/job_7/step_0\n",
                "sys/fs/cgroup/job_7/memory.max": f"{300 << 20}\n",
                "sys/fs/cgroup/job_7/memory.current": f"{100 << 20}\n",
                "sys/fs/cgroup/job_7/step_0/memory.max": "max\n",
                "sys/fs/cgroup/job_7/step_0/memory.current": f"{100 << 20}\n",
            },
            200 << 20,
        ),
        # more used than allowed
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "100\n",
                "sys/fs/cgroup/memory.current": "200\n",
            },
            0,
        ),
        # version 1
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{500 << 20}\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{300 << 20}\n",
                "sys/fs/cgroup/memory/job/memory.stat": f"inactive_file 1\ntotal_inactive_file {50 << 20}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{900 << 20}\n",
            },
            250 << 20,
        ),
    ],
    ids=["no group", "no limit", "a container", "a batch job", "nothing left", "version 1"],
)
def test_free_memory_is_what_system_and_control_groups_leave(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    files = {"proc/meminfo": f"MemTotal: {16 << 20} kB\nMemFree: 9 kB\nMemAvailable: {8 << 20} kB\n", **files}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _free_memory(tmp_path) == expected


def test_free_memory_is_known_without_linux(tmp_path: Path) -> None:
    assert 1 << 20 < _free_memory(tmp_path) <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_this_machine_has_memory() -> None:
    assert _free_memory() > MEBIBYTE
