from pathlib import Path

import pytest
from stores import CLIPS, NEAR_ONE, STREAMS, four_clips, tree

from cache import Compression, FeatureStore, StoreError
from cache.care.repair import remove
from cache.care.verify import verify
from slt_pipeline.errors import SltError


@pytest.fixture
def make_store(here):
    return lambda name="features", *arguments, **options: four_clips(here / name, *arguments, **options)


def kind(store: FeatureStore) -> tuple:
    return store.backend, store.shard_steps, store.compression, {n: s.dtype for n, s in store.streams.items()}


DTYPES = {"s3d": "float16", "gloss_rep": "float32"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ("zarr", 8, None, DTYPES)),
        ("--backend hdf5", ("hdf5", 8, None, DTYPES)),
        ("--dtype float32", ("zarr", 8, None, dict.fromkeys(DTYPES, "float32"))),
        ("--dtype float16", ("zarr", 8, None, dict.fromkeys(DTYPES, "float16"))),
        ("--shard-steps 5", ("zarr", 5, None, DTYPES)),
        ("--shard-steps 64 --compression blosc", ("zarr", 64, Compression("blosc"), DTYPES)),
        ("--shard-steps 128 --compression zstd --level 9", ("zarr", 128, Compression("zstd", 9), DTYPES)),
        ("--backend hdf5 --compression gzip --single-file", ("hdf5", 64, Compression("gzip"), DTYPES)),
    ],
)
def test_convert_changes_what_is_asked_for_and_no_number(slt, make_store, options, expected):
    source = make_store()
    run = slt("cache", "convert", "features", "copy", *options.split())
    assert run.exit_code == 0
    copy = FeatureStore.open("copy")
    assert kind(copy) == expected
    assert (copy.keys(), copy.fingerprint) == (CLIPS, {"slt": "1.0"})
    for number, clip_id in enumerate(CLIPS):
        assert copy.source(clip_id) == f"of {clip_id}"
        for stream in STREAMS:  # all of them are float16
            assert copy.read(clip_id, stream).tolist() == source.read(clip_id, stream).tolist()
            assert copy.read(clip_id, stream)[0, 0] == number + 2**-9
    assert verify("copy") == []


def test_convert_says_in_one_line_what_it_made(slt, make_store, here):
    make_store()
    run = slt("cache", "convert", "features", "copy", "--backend", "hdf5")
    assert run.output.startswith(f"convert: {here}/copy: 4 clips, 14 steps of s3d, gloss_rep; hdf5, ")
    assert run.output.endswith(" on disk\n")
    assert run.output.count("\n") == 1


def test_a_single_file_is_one_hdf5_file(slt, make_store):
    import h5py

    make_store()
    slt("cache", "convert", "features", "copy", "--backend", "hdf5", "--single-file")
    (file,) = Path("copy/data").glob("*.h5")
    with h5py.File(file) as opened:
        assert opened["s3d"].shape == (14, 4)
        assert opened["s3d"][2:5].tolist() == [[NEAR_ONE] * 4] * 3


def test_keep_bits_round_to_the_nearest_and_what_was_rounded_stays_so(slt, make_store):
    make_store()
    options = ("--shard-steps", 64, "--compression", "blosc", "--keep-bits", 7)
    assert slt("cache", "convert", "features", "small", *options).exit_code == 0
    store = FeatureStore.open("small")
    assert store.compression == Compression("blosc", keep_bits=7)
    assert [float(store.read(clip_id, "s3d")[0, 0]) for clip_id in CLIPS] == [2**-9, 1.0, 2.0, 3.0]
    assert [float(store.read(clip_id, "gloss_rep")[0, 0]) for clip_id in CLIPS] == [2**-9, 1.0, 2.0, 3.0]
    slt("cache", "convert", "small", "packed", "--backend", "hdf5", "--compression", "gzip")
    assert FeatureStore.open("packed").compression == Compression("gzip", keep_bits=7)
    slt("cache", "convert", "small", "smaller", "--level", 9)
    assert FeatureStore.open("smaller").compression == Compression("blosc", 9, keep_bits=7)
    slt("cache", "convert", "small", "plain", "--compression", "none")
    assert FeatureStore.open("plain").compression is None
    assert float(FeatureStore.open("plain").read("c2", "s3d")[0, 0]) == 2.0


def test_a_compression_that_the_other_backend_has_not_must_be_chosen_anew(slt, make_store, here):
    make_store(compression=Compression("blosc", chunk_steps=8))
    run = slt("cache", "convert", "features", "copy", "--backend", "hdf5")
    assert run.exit_code == 2
    assert "features has compression blosc, which hdf5 has not: say --compression gzip or none" in run.output
    assert not (here / "copy").exists()
    assert slt("cache", "convert", "features", "copy", "--backend", "hdf5", "--compression", "none").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--single-file --shard-steps 99", "--single-file is one shard, whatever its steps: leave out --shard-steps"),
        ("--level 3", "--level and --keep-bits go with a --compression other than none"),
        ("--compression none --keep-bits 3", "--level and --keep-bits go with a --compression other than none"),
        ("--compression lz4", "'lz4' is not one of 'blosc', 'zstd', 'gzip', 'none'"),
        ("--dtype float64", "'float64' is not one of 'float16', 'float32'"),
        ("--compression zstd --level 10", "10 is not in the range 1<=x<=9"),
        ("--shard-steps 0", "0 is not in the range x>=1"),
    ],
)
@pytest.mark.parametrize("command", ["convert", "merge"])
def test_options_that_mean_nothing_are_refused_before_anything_is_made(slt, make_store, command, options, message):
    make_store()
    run = slt("cache", command, "features", "copy", *options.split())
    assert run.exit_code == 2
    assert message in " ".join(run.output.split())
    assert not Path("copy").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--compression gzip", "a zarr store has compression blosc or zstd, not gzip"),
        ("--shard-steps 4", "clip 'c3' has 5 steps, a shard would hold 4"),
        ("--compression blosc", "shard_steps 8 is not a multiple of .* 64"),
        ("--shard-steps 64 --compression blosc --keep-bits 11", "stream 's3d' is float16 with 10 bits of mantissa"),
    ],
)
def test_a_kind_of_store_that_cannot_be_is_refused_before_anything_is_made(slt, make_store, options, message):
    make_store()
    with pytest.raises(StoreError, match=message):
        slt("cache", "convert", "features", "copy", *options.split())
    assert not Path("copy").exists()


def test_a_second_run_over_its_own_output_changes_no_byte(slt, make_store):
    make_store()
    options = ("--backend", "hdf5", "--dtype", "float32")
    first = slt("cache", "convert", "features", "copy", *options)
    before = tree(Path("copy"))
    second = slt("cache", "convert", "features", "copy", *options)
    assert (second.exit_code, second.output) == (0, first.output)
    assert tree(Path("copy")) == before


def test_a_copy_that_was_stopped_goes_on(slt, make_store):
    make_store()
    slt("cache", "convert", "features", "copy")
    remove("copy", ["c0", "c3"])
    assert "4 clips, 14 steps" in slt("cache", "convert", "features", "copy").output
    assert float(FeatureStore.open("copy").read("c3", "s3d")[4, 3]) == 3 + 2**-9


def test_an_output_of_another_kind_or_of_no_kind_is_left_as_it_is(slt, make_store, here):
    make_store()
    make_store("other", backend="hdf5")
    make_store("foreign", fingerprint={"slt": "0.9"})
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("keep")
    before = tree(here)
    with pytest.raises(StoreError, match="other exists and is another kind of store, its backend is hdf5, not zarr"):
        slt("cache", "convert", "features", "other")
    with pytest.raises(StoreError, match=r'foreign, which exists, was made by something else: slt is "0\.9" here, '):
        slt("cache", "convert", "features", "foreign")
    for name in ("mine", "mine/notes.txt"):
        with pytest.raises(StoreError, match=f"{here}/{name} exists"):
            slt("cache", "convert", "features", name)
    assert tree(here) == before


@pytest.mark.parametrize(
    "command", ["convert features {}", "subset features {} --streams s3d", "merge other features {}"]
)
def test_a_store_is_not_copied_to_itself_by_whatever_name(slt, make_store, here, command):
    make_store()
    make_store("other", ["c0"])
    (here / "link").symlink_to("features")
    before = tree(here)
    for name in ("features", f"{here}/features", "other/../features", "link"):
        with pytest.raises(SltError, match=f"{name} is to be copied to itself: choose another folder for the copy"):
            slt("cache", *command.format(name).split())
    assert tree(here) == before


@pytest.mark.parametrize("name", ["features/inner", "features/data/inner", "link/inner"])
def test_a_store_is_not_made_in_a_store_which_could_then_not_be_removed(slt, make_store, here, name):
    make_store()
    (here / "link").symlink_to("features")
    before = tree(here)
    with pytest.raises(StoreError, match=r"it lies in the store .*features, where nothing else may be"):
        slt("cache", "convert", "features", name)
    assert tree(here) == before


@pytest.mark.parametrize("command", ["convert features {}", "subset features {} --streams s3d", "merge features {}"])
def test_a_copy_is_not_made_at_a_url(slt, make_store, command):
    make_store()
    with pytest.raises(SltError, match="s3://bucket/copy is an object store, which is read only"):
        slt("cache", *command.format("s3://bucket/copy").split())


def test_a_damaged_source_is_named_and_the_rest_of_it_can_be_copied_after_a_repair(slt, make_store):
    make_store()
    file = Path("features/data/s3d/c.0.0")
    file.write_bytes(b"\x99" + file.read_bytes()[1:])
    with pytest.raises(StoreError, match=r"clip 'c0', stream 's3d' of .*/features is damaged: .*repair it"):
        slt("cache", "convert", "features", "copy")
    slt("cache", "repair", "features")
    assert slt("cache", "convert", "features", "copy").exit_code == 0
    assert sorted(FeatureStore.open("copy")) == sorted(CLIPS[1:])


def test_a_mistake_is_one_line_and_status_2(slt_process, make_store):
    store = make_store()
    run = slt_process("cache", "convert", store.path, store.path)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"slt: error: {store.path} is to be copied to itself: choose another folder for the copy\n"
