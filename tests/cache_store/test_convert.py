"""Copies of stores hold what the originals hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import FeatureStore, NotFoundError, StoreError, StreamSpec
from cache.care.contents import checksum
from cache.care.convert import convert, merge
from cache.care.lost import purge
from cache.care.repair import remove
from cache.care.verify import verify
from cache.testing import STREAMS, assert_holds, make_clips

CLIPS = make_clips(20)


def make(path: Path, clips: dict[str, Any], backend: str = "zarr", **options: Any) -> FeatureStore:
    arguments = {"streams": STREAMS, "fingerprint": {"a": 1}, "shard_steps": 16, "durable": False, **options}
    store = FeatureStore.create(path, backend=backend, **arguments)
    with store.writer() as writer:
        for clip_id, features in clips.items():
            writer.write(clip_id, features, source=f"of {clip_id}")
    return store


@pytest.mark.parametrize(("before", "after"), [("zarr", "hdf5"), ("hdf5", "zarr")])
def test_another_backend_holds_the_same(tmp_path: Path, before: str, after: str) -> None:
    source = make(tmp_path / "a", CLIPS, before)
    store = convert(source, tmp_path / "b", backend=after)
    assert (store.backend, store.shard_steps, store.fingerprint) == (after, 16, {"a": 1})
    assert store.keys() == list(CLIPS)
    assert_holds(FeatureStore.open(tmp_path / "b"), CLIPS)
    assert all(store.source(clip_id) == f"of {clip_id}" for clip_id in CLIPS)


def test_another_dtype_is_rounded_once(tmp_path: Path) -> None:
    source = make(tmp_path / "a", CLIPS)
    store = convert(source, tmp_path / "b", dtype={"narrow": "float16"})
    assert store.streams == {"wide": StreamSpec(6, "float16"), "narrow": StreamSpec(3, "float16")}
    assert_holds(store, {c: {"wide": f["wide"], "narrow": f["narrow"].astype(np.float16)} for c, f in CLIPS.items()})


def test_some_streams_and_some_clips(tmp_path: Path) -> None:
    source = make(tmp_path / "a", CLIPS)
    some = list(CLIPS)[3:9]
    store = convert(source, tmp_path / "b", streams=["narrow"], clips=some)
    assert list(store.streams) == ["narrow"]
    assert_holds(store, {clip_id: {"narrow": CLIPS[clip_id]["narrow"]} for clip_id in some})
    with pytest.raises(StoreError, match="1 of the clips asked for are in no source, such as 'nobody'"):
        convert(source, tmp_path / "c", clips=["nobody"])
    with pytest.raises(StoreError, match="stream 'tall' is not in"):
        convert(source, tmp_path / "c", streams=["tall"])
    assert not (tmp_path / "c").exists()


def test_merge_takes_a_clip_that_is_in_both_once(tmp_path: Path) -> None:
    items = list(CLIPS.items())
    parts = make(tmp_path / "a", dict(items[:12])), make(tmp_path / "b", dict(items[8:]), "hdf5")
    store = merge(parts, tmp_path / "c")
    assert store.keys() == list(CLIPS)
    assert_holds(store, CLIPS)


def test_part_files_of_hdf5_are_joined_to_a_single_file(tmp_path: Path) -> None:
    import h5py

    store = convert(make(tmp_path / "a", CLIPS, "hdf5"), tmp_path / "b", shard_steps=1000)
    assert len(list((tmp_path / "b" / "data").glob("*.h5"))) == 1
    store = merge([make(tmp_path / "c", CLIPS, "hdf5")], tmp_path / "d", shard_steps=None)
    assert_holds(store, CLIPS)
    (file,) = (tmp_path / "d" / "data").glob("*.h5")
    with h5py.File(file) as opened:
        assert opened["wide"].shape == (sum(len(features["wide"]) for features in CLIPS.values()), 6)


def test_stores_that_do_not_go_together_are_not_merged(tmp_path: Path) -> None:
    items = list(CLIPS.items())
    first = make(tmp_path / "a", dict(items[:5]))
    with pytest.raises(StoreError, match=r"to be merged with .*: a is 2 here, 1 expected"):
        merge([first, make(tmp_path / "b", dict(items[5:9]), fingerprint={"a": 2})], tmp_path / "t")
    other = {name: array + 1 for name, array in items[2][1].items()}
    with pytest.raises(StoreError, match=r"clip .* is in .*/a and in .*/c with different features"):
        merge([first, make(tmp_path / "c", {items[2][0]: other})], tmp_path / "t")
    narrow = {clip_id: {"narrow": features["narrow"]} for clip_id, features in items[6:8]}
    with pytest.raises(StoreError, match=r"has the streams narrow \(3 x float32\), .* has wide \(6 x float16\)"):
        merge([first, make(tmp_path / "d", narrow, streams={"narrow": STREAMS["narrow"]})], tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_damaged_source_is_not_copied(tmp_path: Path) -> None:
    source = make(tmp_path / "a", CLIPS)
    path = tmp_path / "a" / "data" / "wide" / "c.0.0"
    data = bytearray(path.read_bytes())
    data[3] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreError, match=f"clip '{next(iter(CLIPS))}', stream 'wide' of .* is damaged"):
        convert(source, tmp_path / "b")


def test_a_copy_that_was_stopped_goes_on(tmp_path: Path) -> None:
    source = make(tmp_path / "a", CLIPS)
    make(tmp_path / "b", dict(list(CLIPS.items())[:7]))
    store = convert(source, tmp_path / "b")
    assert_holds(store, CLIPS)
    assert verify(tmp_path / "b") == []
    with pytest.raises(StoreError, match="exists and is another kind of store"):
        convert(source, tmp_path / "b", backend="hdf5")


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_clip_removed_while_it_is_copied_is_an_error_that_says_so(tmp_path: Path, backend: str) -> None:
    source, removed = make(tmp_path / "a", CLIPS, backend), []

    def at_the_start(done: int, total: int) -> None:
        if not removed:
            removed.extend(remove(source.path, [list(CLIPS)[-1]]))
            purge(source.path)

    with pytest.raises(StoreError, match=r"a clip was removed while it was copied: remove .*b, and copy again"):
        convert(source, tmp_path / "b", progress=at_the_start)
    assert removed == [list(CLIPS)[-1]]


def test_the_checksum_of_a_clip_that_is_gone_is_an_error_of_the_store(tmp_path: Path) -> None:
    store = make(tmp_path / "a", CLIPS)
    with pytest.raises(NotFoundError, match="clip 'nobody' is not in"):
        checksum(store, "nobody", "wide")
