from pathlib import Path

import pytest
from stores import CLIPS, NEAR_ONE, STREAMS, four_clips

from cache import FeatureStore, StoreError
from slt_pipeline.errors import SltError


@pytest.fixture
def make_store(here):
    return lambda name="features", *arguments, **options: four_clips(here / name, *arguments, **options)


def test_a_subset_has_the_clips_of_a_file_in_the_order_of_the_store(slt, make_store, here):
    make_store()
    (here / "ids.txt").write_text("c3\n日本/雨\n\n", encoding="utf-8")
    run = slt("cache", "subset", "features", "part", "--clips", "ids.txt")
    assert run.output.startswith(f"subset: {here}/part: 2 clips, 8 steps of s3d, gloss_rep; zarr, ")
    part = FeatureStore.open("part")
    assert part.keys() == ["日本/雨", "c3"]
    assert part.read("日本/雨", "s3d").tolist() == [[NEAR_ONE] * 4] * 3


def test_clip_ids_may_come_from_a_pipe(slt_reading, make_store):
    make_store()
    assert slt_reading("c3\n日本/雨\n", "cache", "subset", "features", "part", "--clips", "-").exit_code == 0
    assert FeatureStore.open("part").keys() == ["日本/雨", "c3"]


def test_clip_ids_may_come_from_an_editor_of_windows(slt, make_store, here):
    make_store()
    (here / "ids.txt").write_bytes("\ufeffc2\r\n日本/雨\r\n".encode())
    slt("cache", "subset", "features", "part", "--clips", "ids.txt")
    assert FeatureStore.open("part").keys() == ["日本/雨", "c2"]


@pytest.mark.parametrize("streams", ["gloss_rep", "gloss_rep,gloss_rep", " gloss_rep "])
def test_a_subset_has_the_streams_named(slt, make_store, streams):
    make_store()
    assert slt("cache", "subset", "features", "part", "--streams", streams).exit_code == 0
    part = FeatureStore.open("part")
    assert part.streams == {"gloss_rep": STREAMS["gloss_rep"]}
    assert part.keys() == CLIPS


def test_streams_and_clips_go_together(slt, make_store, here):
    make_store()
    (here / "ids.txt").write_text("c2\n")
    slt("cache", "subset", "features", "part", "--clips", "ids.txt", "--streams", "gloss_rep, s3d")
    part = FeatureStore.open("part")
    assert (part.keys(), list(part.streams)) == (["c2"], ["s3d", "gloss_rep"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "say what to keep: --clips, --split or --streams"),
        ("--clips ids.txt --split dev", "--clips and --split both say which clips: give one of them"),
        ("--clips ids.txt -r demo/mmtlb", "--recipe goes with --split"),
        ("--streams s3d -o seed=3", "--override goes with --split"),
        ("--clips nowhere.txt", "File 'nowhere.txt' does not exist"),
        ("--clips features", "File 'features' is a directory"),
    ],
)
def test_a_subset_that_is_not_said_well_is_refused(slt, make_store, here, options, message):
    make_store()
    (here / "ids.txt").write_text("c2\n")
    run = slt("cache", "subset", "features", "part", *options.split())
    assert run.exit_code == 2
    assert message in run.output
    assert not Path("part").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^ids\.txt names no clip: it should have one clip id a line$"),
        (b"\n \n", r"^ids\.txt names no clip"),
        (b"c2\n\xff\n", r"^ids\.txt is no UTF-8 text of clip ids, one a line"),
        (b"c2\nnobody\nno-one\n", "2 of the clips asked for are in no source, such as 'no-one'"),
    ],
)
def test_a_file_of_ids_that_does_not_fit_is_refused(slt, make_store, here, content, message):
    make_store()
    (here / "ids.txt").write_bytes(content)
    with pytest.raises((SltError, StoreError), match=message):
        slt("cache", "subset", "features", "part", "--clips", "ids.txt")
    assert not Path("part").exists()


def test_an_empty_pipe_is_called_what_it_is(slt_reading, make_store):
    make_store()
    with pytest.raises(SltError, match=r"^standard input names no clip"):
        slt_reading("", "cache", "subset", "features", "part", "--clips", "-")


def test_an_unknown_stream_is_answered_with_those_there_are(slt, make_store):
    make_store()
    with pytest.raises(StoreError, match=r"stream 'gloss' is not in .*/features, it has s3d, gloss_rep"):
        slt("cache", "subset", "features", "part", "--streams", "s3d,gloss")
    assert not Path("part").exists()


def test_merge_joins_parts_in_their_order_and_takes_a_clip_of_both_once(slt, make_store, here):
    make_store("part1", CLIPS[:3])
    make_store("part2", CLIPS[2:], backend="hdf5")
    run = slt("cache", "merge", "part1", "part2", "features")
    assert run.output.startswith(f"merge: {here}/features: 4 clips, 14 steps of s3d, gloss_rep; zarr, ")
    store = FeatureStore.open("features")
    assert (store.keys(), store.backend, store.shard_steps) == (CLIPS, "zarr", 4096)
    assert float(store.read("c3", "gloss_rep")[4, 1]) == 3 + 2**-9


def test_merge_makes_a_single_file(slt, make_store):
    make_store("part1", CLIPS[:2])
    make_store("part2", CLIPS[2:])
    options = ("--backend", "hdf5", "--single-file", "--dtype", "float16")
    assert slt("cache", "merge", "part1", "part2", "features", *options).exit_code == 0
    assert len(list(Path("features/data").glob("*.h5"))) == 1
    store = FeatureStore.open("features")
    assert (store.backend, store.shard_steps) == ("hdf5", 14)
    assert {spec.dtype for spec in store.streams.values()} == {"float16"}


def test_merge_goes_on_where_it_was_stopped(slt, make_store):
    make_store("part1", CLIPS[:2])
    make_store("part2", CLIPS[2:])
    slt("cache", "merge", "part1", "features")
    slt("cache", "merge", "part1", "part2", "features")
    assert FeatureStore.open("features").keys() == CLIPS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fingerprint": {"slt": "0.9"}}, r'part2, .* was made by something else: slt is "0\.9" here, "1\.0" expected'),
        ({"streams": {"s3d": STREAMS["s3d"]}}, r"part2 has the streams s3d \(4 x float16\), .*/part1 has s3d "),
        ({"offset": 1}, r"clip 'c0' is in .*/part1 and in .*/part2 with different features"),
    ],
)
def test_stores_that_do_not_go_together_are_not_merged(slt, make_store, here, options, message):
    make_store("part1")
    make_store("part2", ["c0"], **options)
    with pytest.raises(StoreError, match=message):
        slt("cache", "merge", "part1", "part2", "features")
    assert not (here / "features").exists()


def test_merge_needs_a_source_and_a_target(slt, make_store):
    make_store()
    run = slt("cache", "merge", "features")
    assert run.exit_code == 2
    assert "Missing argument" in run.output
