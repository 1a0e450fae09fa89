"""Every difference between two stores is found, named on its side, and told from how the stores are kept."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import Compression, FeatureStore, StreamSpec
from cache.care.convert import convert
from cache.care.diff import StoreDiff, diff
from cache.provenance import changes, flatten
from cache.testing import STREAMS, make_clips

CLIPS = make_clips(6)
FIRST, SECOND, THIRD = list(CLIPS)[:3]


def make(path: Path, clips: dict[str, Any] = CLIPS, sources: Any = "file of {}", **options: Any) -> FeatureStore:
    arguments = {"streams": STREAMS, "fingerprint": {"a": 1}, "shard_steps": 16, "durable": False, **options}
    store = FeatureStore.create(path, **arguments)
    with store.writer() as writer:
        for clip_id, features in clips.items():
            writer.write(clip_id, features, source=sources.format(clip_id) if sources else None)
    return store


@pytest.fixture
def a(tmp_path: Path) -> FeatureStore:
    return make(tmp_path / "a")


def test_a_store_and_its_copy_are_the_same(a: FeatureStore, tmp_path: Path) -> None:
    shutil.copytree(a.path, tmp_path / "b")
    found = diff(a, FeatureStore.open(tmp_path / "b"))
    assert found == StoreDiff({}, {}, {}, {}, 6, [], [], [], {"wide": [], "narrow": []})
    assert found.same


@pytest.mark.parametrize(
    ("options", "layout"),
    [
        ({"backend": "hdf5"}, {"backend": {"a": "zarr", "b": "hdf5"}}),
        ({"shard_steps": 64}, {"shard_steps": {"a": 16, "b": 64}}),
        (
            {"compression": Compression("blosc", 3, chunk_steps=8)},
            {"compression": {"a": None, "b": {"codec": "blosc", "level": 3, "chunk_steps": 8}}},
        ),
        (
            {"backend": "hdf5", "compression": Compression("gzip", chunk_steps=8)},
            {
                "backend": {"a": "zarr", "b": "hdf5"},
                "compression": {"a": None, "b": {"codec": "gzip", "level": 5, "chunk_steps": 8}},
            },
        ),
    ],
    ids=["hdf5", "larger shards", "blosc", "gzip"],
)
def test_how_a_store_is_kept_is_shown_and_does_not_count(
    a: FeatureStore, tmp_path: Path, options: dict[str, Any], layout: dict[str, Any]
) -> None:
    found = diff(a, make(tmp_path / "b", **options))
    assert found.layout == layout
    assert found.same
    assert (found.num_common, found.features) == (6, {"wide": [], "narrow": []})


def test_the_order_of_clips_and_of_streams_does_not_count(a: FeatureStore, tmp_path: Path) -> None:
    turned = make(tmp_path / "b", dict(reversed(CLIPS.items())), streams=dict(reversed(STREAMS.items())))
    assert diff(a, turned).same


def test_what_made_them_is_compared_key_by_key(tmp_path: Path) -> None:
    ours = {"weights": "f00d", "transform": {"size": 224, "mean": [0.5]}, "decoder": "av"}
    theirs = {"weights": "beef", "transform": {"size": 224, "mean": [0.4]}, "slt": "1.0"}
    found = diff(make(tmp_path / "a", fingerprint=ours), make(tmp_path / "b", fingerprint=theirs))
    assert found.fingerprint == {
        "weights": {"a": "f00d", "b": "beef"},
        "transform.mean": {"a": [0.5], "b": [0.4]},
        "decoder": {"a": "av"},
        "slt": {"b": "1.0"},
    }
    assert list(found.fingerprint) == ["decoder", "slt", "transform.mean", "weights"]
    assert not found.same
    assert found.features == {"wide": [], "narrow": []}


def test_streams_of_another_width_or_dtype_or_of_one_store_are_named_and_not_compared(tmp_path: Path) -> None:
    ones = {"s3d": np.ones((3, 4), np.float32), "pose": np.ones((3, 2), np.float32), "rep": np.ones((3, 5), np.float32)}
    ours = {"s3d": StreamSpec(4, "float32"), "pose": StreamSpec(2, "float32"), "rep": StreamSpec(5, "float32")}
    theirs = {"s3d": StreamSpec(4, "float16"), "pose": StreamSpec(3, "float32"), "logits": StreamSpec(5, "float32")}
    others = {"s3d": ones["s3d"], "pose": np.ones((3, 3), np.float32), "logits": ones["rep"]}
    a, b = make(tmp_path / "a", {"c": ones}, streams=ours), make(tmp_path / "b", {"c": others}, streams=theirs)
    found = diff(a, b)
    assert found.streams == {
        "s3d": {"a": {"dim": 4, "dtype": "float32"}, "b": {"dim": 4, "dtype": "float16"}},
        "pose": {"a": {"dim": 2, "dtype": "float32"}, "b": {"dim": 3, "dtype": "float32"}},
        "rep": {"a": {"dim": 5, "dtype": "float32"}},
        "logits": {"b": {"dim": 5, "dtype": "float32"}},
    }
    assert (found.features, found.rounding, found.num_common, found.same) == ({}, {}, 1, False)


def test_rounded_features_are_not_taken_for_others_and_not_for_the_same(a: FeatureStore, tmp_path: Path) -> None:
    rounded = convert(a, tmp_path / "b", compression=Compression("blosc", keep_bits=7, chunk_steps=8))
    found = diff(a, rounded)
    assert found.rounding == {"wide": {"a": 10, "b": 7}, "narrow": {"a": 23, "b": 7}}
    assert found.features == {}
    assert not found.same
    assert "keep_bits" not in found.layout["compression"]["b"]


def test_only_streams_that_lose_bits_count_as_rounded(a: FeatureStore, tmp_path: Path) -> None:
    half = convert(a, tmp_path / "a16", streams=["wide"])
    kept = convert(half, tmp_path / "b16", compression=Compression("blosc", keep_bits=10, chunk_steps=8))
    found = diff(half, kept)
    assert (found.rounding, found.features, found.same) == ({}, {"wide": []}, True)


def test_stores_that_are_rounded_alike_are_compared(a: FeatureStore, tmp_path: Path) -> None:
    blosc = convert(a, tmp_path / "b", compression=Compression("blosc", keep_bits=7, chunk_steps=8))
    gzip = convert(a, tmp_path / "g", backend="hdf5", compression=Compression("gzip", 9, keep_bits=7, chunk_steps=16))
    found = diff(blosc, gzip)
    assert found.same
    assert found.features == {"wide": [], "narrow": []}
    assert set(found.layout) == {"backend", "compression"}


def test_a_stream_of_another_dtype_is_not_called_rounded_as_well(a: FeatureStore, tmp_path: Path) -> None:
    found = diff(a, convert(a, tmp_path / "b", dtype={"wide": "float32"}))
    assert (list(found.streams), found.rounding, found.features) == (["wide"], {}, {"narrow": []})


def test_clips_of_one_store_are_named_in_its_order(tmp_path: Path) -> None:
    items = list(CLIPS.items())
    a, b = make(tmp_path / "a", dict(items[:4])), make(tmp_path / "b", dict(reversed(items[3:])))
    found = diff(a, b)
    assert found.only_a == [clip_id for clip_id, _ in items[:3]]
    assert found.only_b == [items[5][0], items[4][0]]
    assert (found.num_common, found.same) == (1, False)


def test_clips_that_say_to_be_made_from_something_else_are_named(a: FeatureStore, tmp_path: Path) -> None:
    b = make(tmp_path / "b", {FIRST: CLIPS[FIRST]}, sources="new file of {}")
    with b.writer() as writer:
        for clip_id in list(CLIPS)[1:]:
            writer.write(clip_id, CLIPS[clip_id], source=f"file of {clip_id}")
    found = diff(a, b)
    assert (found.sources, found.features, found.same) == ([FIRST], {"wide": [], "narrow": []}, False)


def test_a_clip_that_does_not_say_what_it_was_made_from_is_no_difference(a: FeatureStore, tmp_path: Path) -> None:
    silent = make(tmp_path / "b", sources=None)
    assert diff(a, silent).same
    assert diff(silent, a).same
    assert diff(silent, silent).same


def test_one_other_bit_of_one_clip_is_found_in_its_stream(a: FeatureStore, tmp_path: Path) -> None:
    wide = CLIPS[SECOND]["wide"].copy()
    wide.view(np.uint16)[0, 0] ^= 1
    found = diff(a, make(tmp_path / "b", {**CLIPS, SECOND: {**CLIPS[SECOND], "wide": wide}}))
    assert (found.features, found.same) == ({"wide": [SECOND], "narrow": []}, False)


def test_a_clip_of_another_length_differs_in_every_stream(a: FeatureStore, tmp_path: Path) -> None:
    longer = {name: np.concatenate([array, array[-1:]]) for name, array in CLIPS[THIRD].items()}
    found = diff(a, make(tmp_path / "b", {**CLIPS, THIRD: longer}))
    assert (found.features, found.same) == ({"wide": [THIRD], "narrow": [THIRD]}, False)


def test_the_features_themselves_are_not_read(a: FeatureStore, tmp_path: Path) -> None:
    b = make(tmp_path / "b")
    shutil.rmtree(a.path / "data")
    shutil.rmtree(b.path / "data")
    assert diff(FeatureStore.open(a.path), FeatureStore.open(b.path)).same


def test_all_of_it_is_json(a: FeatureStore, tmp_path: Path) -> None:
    compression = Compression("blosc", keep_bits=9, chunk_steps=8)
    b = make(
        tmp_path / "b",
        {THIRD: {"wide": CLIPS[THIRD]["wide"]}, "new": {"wide": CLIPS[FIRST]["wide"]}},
        sources="new {}",
        streams={"wide": STREAMS["wide"]},
        fingerprint={"b": None},
        shard_steps=64,
        compression=compression,
    )
    assert json.loads(json.dumps(diff(a, b).to_json())) == {
        "same": False,
        "fingerprint": {"a": {"a": 1}, "b": {"b": None}},
        "streams": {"narrow": {"a": {"dim": 3, "dtype": "float32"}}},
        "layout": {
            "shard_steps": {"a": 16, "b": 64},
            "compression": {"a": None, "b": {"codec": "blosc", "level": 5, "chunk_steps": 8}},
        },
        "rounding": {"wide": {"a": 10, "b": 9}},
        "num_common": 1,
        "only_a": [clip_id for clip_id in CLIPS if clip_id != THIRD],
        "only_b": ["new"],
        "sources": [THIRD],
        "features": {},
    }
    assert diff(a, a).to_json()["same"] is True


def test_nested_keys_are_joined_by_dots_and_empty_objects_stay() -> None:
    nested = {"transform": {"size": {"height": 224}, "mean": [1, {"x": 2}]}, "encoder": {}, "dtype": None}
    assert flatten(nested) == {
        "transform.size.height": 224,
        "transform.mean": [1, {"x": 2}],
        "encoder": {},
        "dtype": None,
    }
    assert flatten({}) == {}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"k": 1}, {"k": 1}, {}),
        ({"k": {"x": 1, "y": 2}}, {"k": {"y": 2, "x": 1}}, {}),
        ({"k": [{"x": 1, "y": 2}]}, {"k": [{"y": 2, "x": 1}]}, {}),
        ({"k": [1, 2]}, {"k": [2, 1]}, {"k": {"a": [1, 2], "b": [2, 1]}}),
        ({"k": 1}, {"k": "1"}, {"k": {"a": 1, "b": "1"}}),
        ({"k": 1}, {"k": 1.0}, {"k": {"a": 1, "b": 1.0}}),
        ({"k": 1}, {"k": True}, {"k": {"a": 1, "b": True}}),
        ({"k": None}, {}, {"k": {"a": None}}),
        ({}, {"k": {}}, {"k": {"b": {}}}),
        ({"k": {"x": 1}}, {"k": 1}, {"k": {"b": 1}, "k.x": {"a": 1}}),
    ],
)
def test_changes_hold_both_values_and_leave_a_missing_side_out(a: Any, b: Any, expected: Any) -> None:
    found = changes(a, b)
    assert json.dumps(found) == json.dumps(expected)
    turned = {key: {"ab"["ba".index(side)]: value for side, value in sides.items()} for key, sides in expected.items()}
    assert changes(b, a) == turned
