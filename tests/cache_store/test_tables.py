"""Tables of the index: a large store opens at once, and whatever happens to them, it is the records that count."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import Compression, FeatureStore
from cache.care.repair import remove, repair
from cache.care.verify import verify
from cache.testing import STREAMS, assert_holds, make_clips
from cache.testing.memory import MemoryFiles

CLIPS = make_clips(60)
KINDS = pytest.mark.parametrize(
    ("backend", "compression"),
    [("zarr", None), ("hdf5", None), ("zarr", Compression("blosc", chunk_steps=8))],
    ids=["zarr", "hdf5", "blosc"],
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips get a table as soon as there are ten."""
    monkeypatch.setattr("cache.index.CLIPS_UNTABLED", 10)


def make(path: Path, clips: dict[str, Any], **options: Any) -> FeatureStore:
    """Make a store of these clips in many shards, or add them to the one that is there."""
    if FeatureStore.exists(path):
        store = FeatureStore.open(path, mode="a", durable=False)
    else:
        store = FeatureStore.create(path, streams=STREAMS, fingerprint={}, shard_steps=16, durable=False, **options)
    with store.writer() as writer:
        for number, (clip_id, features) in enumerate(clips.items()):
            writer.write(clip_id, features, source=None if number % 3 else f"made of {clip_id}")
    return store


def tables(store: FeatureStore) -> list[Path]:
    return sorted(store.path.glob("index/*.table"))


def no_record_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a record was read")

    monkeypatch.setattr("cache.record.Record.from_bytes", refuse)


@KINDS
def test_a_store_of_tables_holds_what_was_written_and_says_what_its_records_say(
    tmp_path: Path, backend: str, compression: Compression | None
) -> None:
    writing = make(tmp_path / "s", CLIPS, backend=backend, compression=compression)
    reading = FeatureStore.open(tmp_path / "s")
    assert tables(reading) != []
    for store in (writing, reading):
        assert_holds(store, CLIPS)
        assert store.keys() == list(CLIPS)
        assert len(store) == len(CLIPS)
        assert [store.length(clip) for clip in CLIPS] == [len(features["wide"]) for features in CLIPS.values()]
        assert [store.source(clip) for clip in CLIPS] == [
            None if number % 3 else f"made of {clip}" for number, clip in enumerate(CLIPS)
        ]
        assert "nobody" not in store
    for path in tables(reading):
        path.unlink()
    by_records = FeatureStore.open(tmp_path / "s")
    for clip in CLIPS:
        (one, at), (other, there) = (store._index.position(clip) for store in (reading, by_records))
        assert (
            one.shard,
            one.steps,
            list(one.clips),
            one.rows,
            one.lengths,
            one.extents,
            one.files,
            one.copy_path,
        ) == (
            *(other.shard, other.steps, other.clips, other.rows, other.lengths),
            *(other.extents, other.files, other.copy_path),
        )
        assert {name: sums[at] for name, sums in one.checksums.items()} == {
            name: sums[there] for name, sums in other.checksums.items()
        }
    assert verify(tmp_path / "s") == []


def test_what_is_in_tables_is_not_read_when_a_store_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "s", CLIPS)
    monkeypatch.setattr("cache.index.CLIPS_UNTABLED", 1)
    make(tmp_path / "s", {"last": CLIPS[next(iter(CLIPS))]})
    no_record_is_read(monkeypatch)
    assert len(FeatureStore.open(tmp_path / "s")) == len(CLIPS) + 1


def test_there_are_few_tables_however_many_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.index.CLIPS_UNTABLED", 2)
    clip = {name: np.ones((1, spec.dim), spec.dtype) for name, spec in STREAMS.items()}
    store = FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={}, shard_steps=16, durable=False)
    writer = store.writer()
    for number in range(60):
        writer.write(f"{number}", clip)
        writer.commit()
    assert 1 <= len(tables(store)) <= 4
    assert FeatureStore.open(store.path).keys() == [f"{number}" for number in range(60)]


def test_removed_clips_are_gone_and_the_others_read_on_whatever_tables_say(tmp_path: Path) -> None:
    reader = make(tmp_path / "s", CLIPS)
    gone = list(CLIPS)[3:40:5]
    left = {clip: features for clip, features in CLIPS.items() if clip not in gone}
    assert remove(tmp_path / "s", gone) == sorted(gone)
    assert verify(tmp_path / "s") == []
    reader.refresh()
    assert_holds(reader, left)
    assert_holds(FeatureStore.open(tmp_path / "s"), left)
    make(tmp_path / "s", {clip: CLIPS[clip] for clip in gone})
    make(tmp_path / "s", {f"new {clip}": CLIPS[clip] for clip in gone})
    more = {**CLIPS, **{f"new {clip}": CLIPS[clip] for clip in gone}}
    reader.refresh()
    assert_holds(reader, more)
    assert_holds(FeatureStore.open(tmp_path / "s"), more)
    assert verify(tmp_path / "s") == []


def test_tables_hold_on_when_whole_shards_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = make(tmp_path / "s", CLIPS)
    gone = [clip for shard in (0, 2) for clip in reader._index.records[shard].clips]
    left = {clip: features for clip, features in CLIPS.items() if clip not in gone}
    remove(tmp_path / "s", gone)
    make(tmp_path / "s", {"last": CLIPS[gone[0]]})  # now nothing stands for what was removed any more
    left["last"] = CLIPS[gone[0]]
    reader.refresh()
    assert_holds(reader, left)
    again = FeatureStore.open(tmp_path / "s")
    assert_holds(again, left)
    assert again._index.places.tables != []
    assert remove(tmp_path / "s", list(left)) == sorted(left)
    assert FeatureStore.open(tmp_path / "s").keys() == []
    assert verify(tmp_path / "s") == []


@pytest.mark.parametrize("harm", ["gone", "empty", "cut", "of another store", "no table"])
def test_a_table_that_cannot_be_used_is_done_without(tmp_path: Path, harm: str) -> None:
    store = make(tmp_path / "s", CLIPS)
    for path in tables(store):
        if harm == "gone":
            path.unlink()
        elif harm == "of another store":
            path.write_bytes(path.read_bytes().replace(store._header.id.encode(), b"0" * 32))
        elif harm == "no table":
            path.write_bytes(b"\xff" * 5000)
        else:
            os.truncate(path, 0 if harm == "empty" else path.stat().st_size - 1)
    assert_holds(FeatureStore.open(tmp_path / "s"), CLIPS)
    make(tmp_path / "s", {f"new {clip}": features for clip, features in CLIPS.items()})
    assert len(FeatureStore.open(tmp_path / "s")) == 2 * len(CLIPS)


def test_every_flipped_bit_of_a_table_is_found_and_mended(tmp_path: Path) -> None:
    store = make(tmp_path / "s", CLIPS)
    path = tables(store)[0]
    sound = path.read_bytes()
    for place in range(0, len(sound), max(1, len(sound) // 40)):
        data = bytearray(sound)
        data[place] ^= 4
        path.write_bytes(data)
        found = [damage for damage in verify(store.path) if damage.file == f"index/{path.name}"]
        assert [damage.clips for damage in found] in ([()], []) and (found or not any(sound[place : place + 1])), place
    path.write_bytes(data)
    repair(store.path)
    assert verify(store.path) == []
    assert_holds(FeatureStore.open(store.path), CLIPS)


def test_a_record_that_is_lost_is_missed_though_a_table_has_it(tmp_path: Path) -> None:
    store = make(tmp_path / "s", CLIPS)
    record = store._index.position(list(CLIPS)[7])[0]
    (store.path / "index" / f"{record.shard:08d}.json").unlink()
    assert [damage.file for damage in verify(store.path)] == [f"index/{record.shard:08d}.json"]
    left = {clip: features for clip, features in CLIPS.items() if clip not in [*record.clips]}
    assert_holds(FeatureStore.open(store.path), left)


def test_a_place_without_a_map_has_tables_too() -> None:
    place = MemoryFiles()
    store = FeatureStore.create("s", streams=STREAMS, fingerprint={}, shard_steps=16, files=place)
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
    assert any(name.endswith(".table") for name in place.names("index"))
    assert_holds(FeatureStore.open("s", files=place), CLIPS)
