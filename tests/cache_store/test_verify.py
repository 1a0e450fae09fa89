"""Damage is found, named, and can be dropped without losing what is sound."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nobody import as_nobody

from cache import FeatureStore, StoreError
from cache.care.info import info
from cache.care.repair import Dropped, remove, repair
from cache.care.verify import verify
from cache.seal import seal
from cache.testing import STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

NUM_FLIPS = int(os.environ.get("SLT_NUM_FLIPS", "250"))  # of each backend
BACKENDS = pytest.mark.parametrize("backend", ["zarr", "hdf5"])
CLIPS = make_clips(20)


@pytest.fixture
def make_store(tmp_path: Path) -> Any:
    def make(backend: str) -> Path:
        path = tmp_path / "store"
        store = FeatureStore.create(
            path, backend=backend, streams=STREAMS, fingerprint={"a": 1}, shard_steps=16, durable=False
        )
        with store.writer() as writer:
            for clip_id, features in CLIPS.items():
                writer.write(clip_id, features, source=clip_id[:3])
        return path

    return make


@BACKENDS
def test_a_sound_store_verifies(make_store: Any, backend: str) -> None:
    assert verify(make_store(backend)) == []


@BACKENDS
def test_every_flipped_bit_is_found(backend: str) -> None:
    files, rng = MemoryFiles(), np.random.default_rng(3)
    store = FeatureStore.create("m", backend=backend, streams=STREAMS, fingerprint={}, shard_steps=16, files=files)
    with store.writer() as writer:
        for clip_id, features in list(CLIPS.items())[:8]:
            writer.write(clip_id, features)
    paths = ["store.json", *files.walk("data"), *files.walk("index")]
    sizes = np.array([files.size(path) for path in paths])
    for path in [*paths, *rng.choice(paths, NUM_FLIPS, p=sizes / sizes.sum())]:
        sound = files.read(path)
        damaged, bit = bytearray(sound), int(rng.integers(len(sound) * 8))
        damaged[bit // 8] ^= 1 << bit % 8
        files.put(path, bytes(damaged))
        found = verify("m", files=files)
        assert path in {damage.file for damage in found}, f"bit {bit} of {path} was flipped and not found"
        files.put(path, sound)
    assert verify("m", files=files) == []


@BACKENDS
def test_repair_keeps_every_sound_clip(make_store: Any, backend: str) -> None:
    path = make_store(backend)
    store = FeatureStore.open(path)
    victim = list(CLIPS)[7]
    record, position = store._index.position(victim)
    extent = record.extents["narrow"]
    with (path / extent.file).open("r+b") as file:
        file.seek(extent.offset + record.rows[position] * 12 + 5)
        file.write(b"\xaa")
    (damage,) = verify(path)
    assert damage.clips == (victim,)
    assert str(damage) == f"{extent.file}: checksums of stream 'narrow' do not match: {victim!r}"
    assert repair(path) == Dropped([victim])
    assert verify(path) == []
    store = FeatureStore.open(path, mode="a")
    assert_holds(store, {clip_id: features for clip_id, features in CLIPS.items() if clip_id != victim})
    assert all(store.source(clip_id) == clip_id[:3] for clip_id in store)
    with store.writer() as writer:
        writer.write(victim, CLIPS[victim])
    assert_holds(FeatureStore.open(path), CLIPS)


@BACKENDS
def test_repair_after_loss_of_files(make_store: Any, backend: str) -> None:
    path = make_store(backend)
    records = FeatureStore.open(path)._index.records
    (path / records[1].extents["wide"].file).unlink()
    with (path / records[2].extents["wide"].file).open("r+b") as file:
        file.truncate(100)
    (path / "index" / "00000003.json").write_bytes(b"{}")
    (path / records[3].copy_path).write_bytes(b"{}")
    with pytest.raises(StoreError, match=r"00000003.json is damaged.*verify the store"):
        FeatureStore.open(path)
    lost = {clip for shard in (1, 2, 3) for clip in records[shard].clips}
    dropped = repair(path, yes=True)
    assert dropped.num_records == 1
    assert set(dropped.clips) <= lost - set(records[3].clips)
    assert verify(path) == []
    left = FeatureStore.open(path)
    assert set(left) >= set(CLIPS) - lost
    assert_holds(left, {clip_id: CLIPS[clip_id] for clip_id in left})


def test_repair_restores_the_description_for_zarr(make_store: Any) -> None:
    import zarr

    path = make_store("zarr")
    (path / "data" / "wide" / "zarr.json").unlink()
    (path / "data" / "zarr.json").write_text("{}")
    assert [damage.file for damage in verify(path)] == ["data/zarr.json", "data/wide/zarr.json"]
    assert repair(path) == Dropped([])
    assert verify(path) == []
    rows = len(FeatureStore.open(path)._index.records) * 16
    assert zarr.open_group(path / "data", mode="r")["wide"].shape == (rows, 6)


def test_a_damaged_header_cannot_be_repaired(make_store: Any) -> None:
    path = make_store("zarr")
    (path / "store.json").write_bytes((path / "store.json").read_bytes().replace(b"float16", b"float32"))
    with pytest.raises(StoreError, match="checksum does not match"):
        FeatureStore.open(path)
    (damage,) = verify(path)
    assert damage.file == "store.json"
    with pytest.raises(StoreError, match="put back a copy"):
        repair(path)


@BACKENDS
def test_leftovers_are_no_damage_and_repair_removes_them(make_store: Any, backend: str) -> None:
    path = make_store(backend)
    number = FeatureStore.open(path)._index.next_shard()
    (path / "index" / f"{number:08d}.claim").write_bytes(seal({"store": "", "writer": "who is dead"}))
    (path / "tmp" / ("0123" * 8)).write_bytes(b"1")
    stray = path / "data" / (f"wide/c.{number}.0" if backend == "zarr" else f"{number:08d}.h5")
    stray.write_bytes(b"2")
    assert verify(path) == []
    assert info(FeatureStore.open(path))["unfinished_files"] == 3
    assert repair(path) == Dropped([])
    assert not stray.exists()
    assert info(FeatureStore.open(path))["unfinished_files"] == 0
    assert_holds(FeatureStore.open(path), CLIPS)


@BACKENDS
def test_info_counts(make_store: Any, backend: str) -> None:
    facts = info(FeatureStore.open(make_store(backend)))
    steps = sum(len(features["wide"]) for features in CLIPS.values())
    assert facts["clips"] == 20
    assert facts["steps"] == steps
    assert facts["bytes"] == steps * (6 * 2 + 3 * 4)
    assert facts["bytes_on_disk"] >= facts["bytes"]
    assert facts["fill"] == round(steps / (facts["shards"] * 16), 4)
    assert facts["fingerprint"] == {"a": 1}


@BACKENDS
def test_a_copied_store_is_the_same_store(make_store: Any, tmp_path: Path, backend: str) -> None:
    path = make_store(backend)
    shutil.copytree(path, tmp_path / "elsewhere" / "copy")
    shutil.rmtree(path)
    assert verify(tmp_path / "elsewhere" / "copy") == []
    assert_holds(FeatureStore.open(tmp_path / "elsewhere" / "copy"), CLIPS)


@BACKENDS
def test_removal_does_not_make_damage_look_sound(make_store: Any, backend: str) -> None:
    path = make_store(backend)
    store = FeatureStore.open(path)
    damaged, neighbour = store._index.records[0].clips[:2]
    extent = store._index.records[0].extents["wide"]
    with (path / extent.file).open("r+b") as file:
        file.seek(extent.offset + 3)
        file.write(b"\xaa")
    with pytest.raises(StoreError, match=f"{damaged!r}.* damaged"):
        remove(path, [neighbour])
    assert [damage.clips for damage in verify(path)] == [(damaged,)]


@BACKENDS
def test_what_may_not_be_read_is_no_damage(backend: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # one that everybody may enter, which pytest's are not
        Path(folder).chmod(0o755)
        path = Path(folder, "s")
        store = FeatureStore.create(path, backend=backend, streams=STREAMS, fingerprint={}, durable=False)
        with store.writer() as writer:
            for clip_id, features in CLIPS.items():
                writer.write(clip_id, features)
        files = [path / file for record in store._index.records.values() for file in record.files]
        for closed in (path / "data", files[0], path / "index" / "00000000.json", path / "store.json"):
            before = closed.stat().st_mode
            closed.chmod(0)
            for care in (verify, repair):
                message = as_nobody(lambda care=care: care(path))
                assert message.startswith(f"cannot read {closed if closed.is_file() else files[0]} (Permission denied)")
            closed.chmod(before)
        assert verify(path) == []
        assert_holds(FeatureStore.open(path), CLIPS)


def test_what_is_no_store_or_of_a_later_version_is_no_damage(make_store: Any, tmp_path: Path) -> None:
    path = make_store("zarr")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for care in (verify, repair):
        for name, message in (
            ("nothing", "there is no f"),
            ("file", "there is no f"),
            ("loop", "cannot read .*symbol"),
        ):
            with pytest.raises(StoreError, match=message):
                care(tmp_path / name)
    header = json.loads((path / "store.json").read_bytes())
    del header["crc32"]
    (path / "store.json").write_bytes(seal({**header, "format_version": 4}))
    for care in (verify, repair):
        with pytest.raises(StoreError, match="has format version 4, this program reads up to 3: update"):
            care(path)
