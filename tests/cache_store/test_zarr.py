"""What lies in a Zarr store's chunks: as many rows as there are, where the zarr library and the index say."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from cache import FeatureStore, StoreError, StreamSpec
from cache.care.convert import convert
from cache.care.repair import remove, repair
from cache.care.verify import verify
from cache.seal import seal
from cache.testing import STREAMS, assert_holds, make_clips

CLIPS = make_clips(20)
ONE, TWO, *_ = CLIPS


def make(path: Path, shard_steps: int = 16, clips: dict[str, Any] = CLIPS, **options: Any) -> FeatureStore:
    options = {"streams": STREAMS, **options}
    store = FeatureStore.create(path, fingerprint={}, shard_steps=shard_steps, durable=False, **options)
    return add(store, clips)


def add(store: FeatureStore, clips: dict[str, Any]) -> FeatureStore:
    with store.writer() as writer:
        for clip_id, features in clips.items():
            writer.write(clip_id, features)
    return store


@pytest.fixture
def former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Make a store of format 1, whose chunks are `shard_steps` rows each and nothing else."""
    with monkeypatch.context() as patch:
        patch.setattr("cache.store.CHUNK_STEPS", None)
        return make(tmp_path / "former")


def files_of(store: FeatureStore) -> list[Path]:
    return [path for path in sorted((store.path / "data").rglob("*")) if path.is_file()]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2) + "\n")


# What other tools find


@pytest.mark.parametrize("shard_steps", [1, 7, 16, 64, 100, 1000])
def test_zarr_reads_every_clip_where_the_format_says(tmp_path: Path, shard_steps: int) -> None:
    clips = {clip_id: features for clip_id, features in CLIPS.items() if len(features["wide"]) <= shard_steps}
    store = make(tmp_path / "s", shard_steps, clips)
    group = zarr.open_group(store.path / "data", mode="r")
    for name in STREAMS:
        array: Any = group[name]
        assert array.chunks[0] == min(64, shard_steps)
        rows, found = array.shards[0], np.array(array[:])
        assert shard_steps <= rows < shard_steps + 64
        for clip_id, features in clips.items():
            record, row, length = store._place(clip_id)
            start = record.shard * rows + row
            np.testing.assert_array_equal(found[start : start + length], features[name], strict=True)
            found[start : start + length] = 0
        assert not found.any(), "rows of no clip read as zero"


def test_a_chunk_is_its_rows_and_the_table_of_zarrs_sharding_format(tmp_path: Path) -> None:
    clips = {f"{number}": {"a": np.full((30, 5), number, np.float16)} for number in range(1, 4)}
    store = make(tmp_path / "s", 1000, clips, streams={"a": StreamSpec(5)})
    data = (store.path / "data" / "a" / "c.0.0").read_bytes()
    piece, num_pieces = 64 * 5 * 2, 16  # 90 rows take two of the 16 pieces that 1,000 rows may take
    assert data[: 90 * 10] == b"".join(features["a"].tobytes() for features in clips.values())
    assert data[90 * 10 : 2 * piece] == bytes(2 * piece - 90 * 10)
    table = np.array([[0, piece], [piece, piece]] + 14 * [[2**64 - 1, 2**64 - 1]], "<u8").tobytes()
    assert data[2 * piece :] == table + google_crc32c.value(table).to_bytes(4, "little")
    assert len(table) == 16 * num_pieces


def test_zarr_fetches_a_few_rows_for_a_clip_not_the_shard(tmp_path: Path) -> None:
    clips = {f"{number}": {"a": np.full((60, 100), number, np.float32)} for number in range(64)}
    store = make(tmp_path / "s", 4096, clips, streams={"a": StreamSpec(100, "float32")})
    fetched = []

    class Counting(LocalStore):
        async def get(self, key: str, *rest: Any, **options: Any) -> Any:
            buffer = await super().get(key, *rest, **options)
            fetched.append(len(buffer) if buffer is not None else 0)
            return buffer

    array: Any = zarr.open_array(Counting(store.path / "data" / "a", read_only=True), mode="r")
    fetched.clear()
    np.testing.assert_array_equal(array[60:120], clips["1"]["a"])
    assert sum(fetched) <= 3 * 64 * 400


def test_a_copy_by_any_tool_takes_what_the_store_takes(tmp_path: Path) -> None:
    short = {"c": {"a": np.ones((28, 64), np.float16)}}
    store = make(tmp_path / "s", 400_000, short, streams={"a": StreamSpec(64)})
    for path in files_of(store):
        with path.open("rb") as file:
            assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == path.stat().st_size, "a file with holes"
    assert sum(path.stat().st_size for path in files_of(store)) < 120_000  # where 51 MB could lie
    shutil.make_archive(str(tmp_path / "packed"), "tar", store.path)
    assert (tmp_path / "packed.tar").stat().st_size < 150_000
    shutil.unpack_archive(tmp_path / "packed.tar", tmp_path / "copy")
    assert verify(tmp_path / "copy") == []
    assert_holds(FeatureStore.open(tmp_path / "copy"), short)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
@pytest.mark.parametrize("first", ["data", "index"])
def test_a_copy_made_while_others_write_opens_and_says_what_is_missing(
    tmp_path: Path, backend: str, first: str
) -> None:
    items = list(CLIPS.items())
    store = make(tmp_path / "s", clips=dict(items[:10]), backend=backend)
    copy = tmp_path / "copy"
    (copy / "tmp").mkdir(parents=True)
    shutil.copy(store.path / "store.json", copy)
    shutil.copytree(store.path / first, copy / first)
    add(store, dict(items[10:]))
    shutil.copytree(store.path / {"data": "index", "index": "data"}[first], copy / {"data": "index"}.get(first, "data"))
    found = FeatureStore.open(copy)
    assert_holds(found, dict(items[:10])) if first == "index" else found.read(items[0][0], "wide")
    if first == "data":  # the records came later than the data, and name files that did not come
        lost = {clip for damage in verify(copy) for clip in damage.clips or ()}
        assert lost == set(dict(items[10:]))
        with pytest.raises(StoreError, match=r"cannot read .*/copy/data/.* \(No such file"):
            found.read(items[-1][0], "wide")


# Stores of format 1


def test_a_store_of_format_1_is_read_written_verified_and_repaired_as_it_is(former: FeatureStore) -> None:
    assert json.loads((former.path / "store.json").read_text())["format_version"] == 1
    more = {f"new {clip_id}": features for clip_id, features in CLIPS.items()}
    add(FeatureStore.open(former.path, mode="a", durable=False), more)
    assert verify(former.path) == []
    remove(former.path, [ONE])
    (former.path / "data" / "wide" / "zarr.json").unlink()
    repair(former.path)
    assert verify(former.path) == []
    rest = {clip_id: features for clip_id, features in {**CLIPS, **more}.items() if clip_id != ONE}
    store = FeatureStore.open(former.path)
    assert_holds(store, rest)
    array: Any = zarr.open_group(former.path / "data", mode="r")["wide"]
    assert (array.shards, array.chunks) == (None, (16, 6))
    for clip_id in rest:
        record, row, length = store._place(clip_id)
        start = record.shard * 16 + row
        np.testing.assert_array_equal(array[start : start + length], rest[clip_id]["wide"], strict=True)


def test_a_copy_of_a_store_of_format_1_is_of_the_new_format(former: FeatureStore, tmp_path: Path) -> None:
    copy = convert(former, tmp_path / "copy")
    assert json.loads((copy.path / "store.json").read_text())["format_version"] == 3
    assert_holds(copy, CLIPS)
    held = [sum(path.stat().st_size for path in files_of(store) if path.suffix == ".0") for store in (former, copy)]
    assert held[1] < held[0] + 20 * len(files_of(copy))


def test_only_zarr_stores_that_are_not_compressed_have_the_new_format(tmp_path: Path) -> None:
    stores = {
        3: make(tmp_path / "zarr"),
        1: make(tmp_path / "hdf5", backend="hdf5"),
    }
    for version, store in stores.items():
        assert json.loads((store.path / "store.json").read_text())["format_version"] == version


# Numbers that make no sense


@pytest.mark.parametrize("shards", [0, 2**23, 2**56, 10**4000], ids=["none", "2^23", "2^56", "4000 digits"])
def test_a_shape_that_is_far_from_what_is_there_is_found_and_mended(tmp_path: Path, shards: int) -> None:
    store = make(tmp_path / "s")
    path = store.path / "data" / "wide" / "zarr.json"
    if shards < 2**63:
        edit(path, shape=[shards * 16, 6], attributes={"num_shards": shards})
    else:
        path.write_bytes(path.read_bytes().replace(b'"shape": [\n', b'"shape": [\n1' + 4000 * b"0"))
    (damage,) = verify(store.path)
    assert damage.file == "data/wide/zarr.json"
    repair(store.path)
    assert verify(store.path) == []
    add(FeatureStore.open(store.path, mode="a"), {"new": CLIPS[ONE]})
    array: Any = zarr.open_group(store.path / "data", mode="r")["wide"]
    assert array.shape[0] < 1000


@pytest.mark.parametrize("chunk_steps", [-64, 1 << 40, 64.5, "64", True])
def test_chunks_of_a_length_that_makes_no_sense_are_refused(tmp_path: Path, chunk_steps: object) -> None:
    path = make(tmp_path / "s").path / "store.json"
    document = json.loads(path.read_bytes())
    del document["crc32"]
    path.write_bytes(seal({**document, "chunk_steps": chunk_steps}))
    with pytest.raises(StoreError, match=r"chunk_steps .* is not a whole number from 1 to"):
        FeatureStore.open(path.parent)


def test_what_zarr_writes_into_a_shard_is_found(tmp_path: Path) -> None:
    store = make(tmp_path / "s")
    array: Any = zarr.open_group(store.path / "data", mode="r+")["wide"]
    array[:1] = 7
    lost = {clip for damage in verify(store.path) for clip in damage.clips or ()}
    assert lost == {ONE}


def test_a_reader_of_many_clips_keeps_the_places_of_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.reading.KEPT_PLACES", 3)
    store = make(tmp_path / "s")
    for _ in range(2):
        assert_holds(store, CLIPS)
    kept: Any = store._rows["wide"]
    assert len(kept) <= 3
