import json

import numpy as np
import pytest
from stores import STREAMS

from cache import Compression, FeatureStore, StoreError, StreamSpec
from cache.care.convert import convert

OLD, NEW = "0123456789abcdef" * 4, "fedcba9876543210" * 4
FINGERPRINT = {
    "encoder_weights": OLD,
    "encoder": {"num_classes": 30},
    "sampling": {"every": 1},
    "transform": {"size": 224, "colour": "RGB"},
    "decoder": "av 18.0.0",
    "dtype": "float16",
    "slt": "1.0.0",
}


@pytest.fixture
def make_store(here):
    """Make a store of clips of 2 steps whose numbers are all `value`, from sources by clip."""

    def make(name, clips=("c0", "c1"), sources=None, value=0.0, **options):
        arguments = {"streams": STREAMS, "fingerprint": FINGERPRINT, "shard_steps": 8, "durable": False, **options}
        store = FeatureStore.create(here / name, **arguments)
        with store.writer() as writer:
            for clip_id in clips:
                rows = {n: np.full((2, spec.dim), value, np.float32) for n, spec in store.streams.items()}
                writer.write(clip_id, rows, source=(sources or {}).get(clip_id, "video 1"))
        return store

    return make


def test_the_same_features_are_called_so_with_status_0(slt, make_store):
    make_store("a")
    make_store("b")
    run = slt("cache", "diff", "a", "b")
    assert run.exit_code == 0
    assert run.output.splitlines() == ["A: a", "B: b", "2 clips are in both", "the same features, made by the same"]


def test_another_way_of_keeping_them_is_told_with_status_0(slt, make_store):
    make_store("a")
    make_store("b", backend="hdf5", shard_steps=64, compression=Compression("gzip", 9))
    run = slt("cache", "diff", "a", "b")
    assert run.exit_code == 0
    assert run.output.splitlines()[2:] == [
        "backend: zarr in A, hdf5 in B (no number depends on it)",
        "shard steps: 8 in A, 64 in B (no number depends on it)",
        "compression: none in A, gzip level 9 in pieces of 64 steps in B (no number depends on it)",
        "2 clips are in both",
        "the same features, made by the same",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder_weights": NEW}, "the encoder's weights differ: 01234567… in A, fedcba98… in B"),
        ({"encoder": {"num_classes": 31}}, "the encoder is built differently: num_classes is 30 in A, 31 in B"),
        ({"sampling": {"every": 2}}, "frames are sampled differently: every is 1 in A, 2 in B"),
        (
            {"transform": {"size": 256, "colour": "BGR"}},
            "pictures are prepared differently: colour is RGB in A, BGR in B; size is 224 in A, 256 in B",
        ),
        ({"decoder": "av 19.1.0"}, "videos were decoded by other software: av 18.0.0 in A, av 19.1.0 in B"),
        ({"dtype": "float32"}, "features were extracted in another number format: float16 in A, float32 in B"),
        ({"slt": "1.1.0"}, "features were extracted by other versions of slt: 1.0.0 in A, 1.1.0 in B"),
        ({"imported_from": NEW}, "features were imported from other files: nothing in A, fedcba98… in B"),
        ({"note": "mine"}, "note differs: nothing in A, mine in B"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_made_them_differently_is_said_in_words_with_status_1(slt, make_store, change, words):
    make_store("a")
    make_store("b", fingerprint={**FINGERPRINT, **change})
    run = slt("cache", "diff", "a", "b")
    assert run.exit_code == 1
    assert run.output.splitlines() == ["A: a", "B: b", words, "2 clips are in both"]


def test_a_number_and_its_text_are_told_apart_and_every_value_stays_on_its_line(slt, make_store):
    make_store("a", fingerprint={"k": 1, "note": ""})
    make_store("b", fingerprint={"k": "1", "note": "two\nlines"})
    assert slt("cache", "diff", "a", "b").output.splitlines()[2:4] == [
        'k differs: 1 in A, "1" in B',
        r'note differs: "" in A, "two\nlines" in B',
    ]


def test_clips_that_were_made_from_other_videos_are_named(slt, make_store):
    make_store("a")
    make_store("b", sources={"c1": "video 2"})
    run = slt("cache", "diff", "a", "b")
    assert run.exit_code == 1
    assert run.output.splitlines()[2:] == ["2 clips are in both", "1 clips were made from other videos or frames: c1"]


def test_clips_of_one_side_are_counted_and_the_first_are_named(slt, make_store):
    make_store("a", ["c0", "only\there"])
    make_store("b", ["c0", *(f"d{number}" for number in range(7))])
    run = slt("cache", "diff", "a", "b")
    assert run.exit_code == 1
    assert run.output.splitlines()[2:] == [
        "1 clips are in both",
        r'1 clips are only in A: "only\there"',
        "7 clips are only in B: d0, d1, d2, d3, d4 and 2 more",
    ]


def test_other_features_are_named_by_stream(slt, make_store):
    make_store("a")
    make_store("b", value=1.0)
    run = slt("cache", "diff", "a", "b")
    assert run.exit_code == 1
    assert run.output.splitlines()[3:] == [
        "2 clips have other features in stream s3d: c0, c1",
        "2 clips have other features in stream gloss_rep: c0, c1",
    ]


def test_streams_that_cannot_be_compared_are_said_to_be(slt, make_store):
    make_store("a", streams={**STREAMS, "pose": StreamSpec(3, "float32")})
    make_store("b", streams={**STREAMS, "s3d": StreamSpec(5, "float32")})
    run = slt("cache", "diff", "a", "b")
    assert run.exit_code == 1
    assert run.output.splitlines()[2:] == [
        "stream s3d: 4 x float16 in A, 5 x float32 in B",
        "stream pose: 3 x float32 in A, nothing in B",
        "2 clips are in both",
        "features cannot be compared in s3d: their numbers are of other widths or rounding",
    ]


def test_rounding_that_changes_nothing_is_a_way_of_keeping_the_same(slt, make_store):
    a = make_store("a", value=1.5)
    b = convert(a, "b", compression=Compression("blosc", keep_bits=7, chunk_steps=8))
    convert(b, "c", compression=None)
    for other in ("b", "c"):
        run = slt("cache", "diff", "a", other)
        assert (run.exit_code, run.output.splitlines()[-1]) == (0, "the same features, made by the same")


def test_rounding_is_no_way_of_keeping_the_same(slt, make_store):
    a = make_store("a", value=1.001)
    convert(a, "b", compression=Compression("blosc", keep_bits=7, chunk_steps=8))
    run = slt("cache", "diff", "a", "b")
    assert run.exit_code == 1
    assert run.output.splitlines()[2:] == [
        "stream s3d was rounded differently, to bits of mantissa: 10 in A, 7 in B",
        "stream gloss_rep was rounded differently, to bits of mantissa: 23 in A, 7 in B",
        "compression: none in A, blosc level 5 in pieces of 8 steps in B (no number depends on it)",
        "2 clips are in both",
        "features cannot be compared in s3d, gloss_rep: their numbers are of other widths or rounding",
    ]


def test_json_has_the_clips_in_full_and_the_same_status(slt, make_store):
    make_store("a")
    make_store("b", [f"ü{number}" for number in range(7)], fingerprint={**FINGERPRINT, "encoder_weights": NEW})
    run = slt("cache", "diff", "a", "b", "--json")
    assert run.exit_code == 1
    assert run.output.count("\n") == 1
    assert json.loads(run.output) == {
        "same": False,
        "fingerprint": {"encoder_weights": {"a": OLD, "b": NEW}},
        "streams": {},
        "layout": {},
        "rounding": {},
        "num_common": 0,
        "only_a": ["c0", "c1"],
        "only_b": ["ü0", "ü1", "ü2", "ü3", "ü4", "ü5", "ü6"],
        "sources": [],
        "features": {"s3d": [], "gloss_rep": []},
    }
    same = slt("cache", "diff", "a", "a", "--json")
    assert (same.exit_code, json.loads(same.output)["same"]) == (0, True)


def test_a_process_that_finds_differences_says_nothing_on_stderr(slt_process, make_store):
    a, b = make_store("a"), make_store("b", ["c0"])
    run = slt_process("cache", "diff", a.path, b.path)
    assert (run.returncode, run.stderr) == (1, "")
    assert run.stdout.splitlines() == [
        f"A: {a.path}",
        f"B: {b.path}",
        "1 clips are in both",
        "1 clips are only in A: c1",
    ]


def test_a_store_that_is_missing_is_no_difference_but_a_mistake(slt_process, make_store, here):
    a = make_store("a")
    run = slt_process("cache", "diff", a.path, here / "nowhere")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert f"there is no feature store at {here}/nowhere" in run.stderr


def test_a_damaged_index_is_named(slt, make_store, here):
    make_store("a")
    make_store("b")
    for record in (here / "b" / "index" / "00000000.json", *(here / "b" / "data").rglob("c.0.0.json")):
        record.write_bytes(b"{}")
    with pytest.raises(StoreError, match=r"b/index/00000000\.json is damaged, .*verify the store"):
        slt("cache", "diff", "a", "b")
