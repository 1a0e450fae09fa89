"""A published dump becomes a store and a store a published dump, every bit of it; nothing else is believed."""

import gzip
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import FeatureStore, StoreError
from cache.care.verify import verify
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feature_pickles import export_features, import_features
from slt_pipeline.corpora.features import clip_source
from slt_pipeline.corpora.pickles import read_pickle
from slt_pipeline.errors import SltError

ROOT = Path(__file__).resolve().parents[2]


class Calls:
    """Pickles into a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def entry(name, sign):
    return {"name": name, "gloss": "TAG WARM", "text": "am tag warm .", "num_frames": 12, "sign": sign}


def features(seed, steps=3, width=8):
    return torch.from_numpy(np.random.default_rng(seed).random((steps, width), np.float32))


def write(path, content):
    """As the published code does."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        pickle.dump(content, file, protocol=3)
    return path


def dump(path, *numbers, width=8):
    """Clips `c<number>`, each with numbers of its own."""
    return write(path, [entry(f"c{n}", features(n, n + 1, width)) for n in numbers])


def clip(name, num_frames=12, gloss=("TAG", "WARM"), text="am tag warm ."):
    return Clip(name, f"{name}.mp4", num_frames, 25.0, "anna", gloss, text, "train")


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Import


def test_a_store_has_every_number_of_the_dumps(tmp_path):
    paths = [dump(tmp_path / "train.pkl", 0, 1), dump(tmp_path / "dev.pkl", 2)]
    imported = import_features(paths, tmp_path / "store", dtype="float32")
    assert (imported.num_written, imported.num_present, imported.num_repeated) == (3, 0, 0)
    store = FeatureStore.open(tmp_path / "store")
    assert store.keys() == ["c0", "c1", "c2"]
    for n in range(3):
        np.testing.assert_array_equal(store.read(f"c{n}", "s3d"), features(n, n + 1))
    assert verify(tmp_path / "store") == []


@pytest.mark.parametrize(
    "sign",
    [
        torch.arange(24.0).reshape(8, 3).T,
        torch.arange(24.0).reshape(4, 6)[1:3, 2:5],
        torch.arange(24.0).reshape(4, 6)[::2, ::3],
        torch.arange(24.0)[5:11].reshape(2, 3),
        torch.arange(24.0).reshape(4, 6).half(),
        torch.arange(6.0).reshape(1, 6),
    ],
    ids=["transposed", "window", "strided", "offset", "half", "one step"],
)
def test_a_tensor_may_be_any_part_of_its_storage(tmp_path, sign):
    store = import_features([write(tmp_path / "a.pkl", [entry("a", sign)])], tmp_path / "store").store
    np.testing.assert_array_equal(store.read("a", "s3d"), sign)


def test_tensors_may_share_a_storage(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    path = write(tmp_path / "a.pkl", [entry("a", whole[:1]), entry("b", whole[1:])])
    store = import_features([path], tmp_path / "store").store
    np.testing.assert_array_equal(store.read("b", "s3d"), whole[1:])


def test_the_fingerprint_holds_the_files_and_what_else_is_known(tmp_path):
    paths = [dump(tmp_path / "train.pkl", 0), dump(tmp_path / "dev.pkl", 1)]
    import_features(paths, tmp_path / "store", fingerprint={"weights": "released"})
    import_features([paths[1], paths[0]], tmp_path / "store", fingerprint={"weights": "released"})
    assert set(FeatureStore.open(tmp_path / "store").fingerprint) == {"imported_from", "weights"}
    with pytest.raises(StoreError, match="imported_from is"):
        import_features(paths[:1], tmp_path / "store", fingerprint={"weights": "released"})
    paths[0].write_bytes(b"a store of other settings is refused before the files are read")
    with pytest.raises(StoreError, match='weights is "released" here, "other" expected'):
        import_features(paths, tmp_path / "store", fingerprint={"weights": "other"})


def test_ranks_that_overlap_are_joined_and_counted(tmp_path):
    ranks = [dump(tmp_path / "train.pkl.rank0", 0, 1, 1), dump(tmp_path / "train.pkl.rank1", 1, 2)]
    imported = import_features(ranks, tmp_path / "store")
    assert (imported.num_written, imported.num_repeated) == (3, 2)


def test_a_second_run_finds_everything_there(tmp_path):
    paths = [dump(tmp_path / "a.pkl", 0, 1), dump(tmp_path / "b.pkl", 1, 2)]
    import_features(paths, tmp_path / "store")
    before = files_of(tmp_path / "store")
    imported = import_features(paths, tmp_path / "store")
    assert (imported.num_written, imported.num_present, imported.num_repeated) == (0, 3, 1)
    assert files_of(tmp_path / "store") == before


def test_killed_and_run_again_it_goes_on(tmp_path):
    content = [entry(f"c{n}", features(n, 1500, 2)) for n in range(7)]  # two clips a shard
    path = write(tmp_path / "a.pkl", content)
    code = f"""
import os, signal
from pathlib import Path
from slt_pipeline.corpora.feature_pickles import import_features
def until_the_sixth(names):
    for number, name in enumerate(names):
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield name
import_features([Path({str(path)!r})], Path({str(tmp_path / "store")!r}), progress=until_the_sixth)
"""
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert run.returncode == -9
    assert FeatureStore.open(tmp_path / "store").keys() == ["c0", "c1", "c2", "c3"]
    imported = import_features([path], tmp_path / "store")
    assert (imported.num_written, imported.num_present) == (3, 4)
    assert verify(tmp_path / "store") == []
    for n in range(7):
        np.testing.assert_array_equal(imported.store.read(f"c{n}", "s3d"), features(n, 1500, 2).half())


def test_a_dump_is_held_in_memory_once(tmp_path):
    path = write(tmp_path / "a.pkl", [entry(f"c{n}", torch.zeros(100, 832)) for n in range(100)])
    num_bytes = 100 * 100 * 832 * 4
    tracemalloc.start()
    read_pickle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_bytes < peak < 1.2 * num_bytes


def test_importing_needs_no_torch(tmp_path):
    path = dump(tmp_path / "a.pkl", 0)
    code = "import sys; from pathlib import Path; from slt_pipeline.corpora.feature_pickles import import_features; "
    code += (
        f"import_features([Path({str(path)!r})], Path({str(tmp_path / 'store')!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


# Refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"no clips in it; .*keypoint stream"),
        ({"a": 1}, "expected a list of clips, found dict"),
        ([7], "entry 0: expected a dict with name and sign, found int"),
        ([{"name": "a"}], "entry 0: expected a dict with name and sign, found the keys name"),
        ([entry(3, torch.zeros(2, 8))], "entry 0: name must be a text"),
        ([entry("", torch.zeros(2, 8))], "entry 0: name must be a text"),
        ([entry("a", [[1.0]])], "entry 0: sign of clip 'a' must be a tensor, found list"),
        ([entry("a", torch.zeros(0))], r"sign of clip 'a' has shape \(0,\), .* placeholder"),
        ([entry("a", torch.zeros(1, 1))], r"sign of clip 'a' has shape \(1, 1\), .* placeholder"),
        ([entry("a", torch.zeros(2, 8, 1))], r"has shape \(2, 8, 1\), \(steps, width\) is needed"),
        (
            [entry("a", torch.zeros(2, 8)), entry("b", torch.zeros(2, 4))],
            "'b' has features of width 4, the first has 8",
        ),
        ([entry("a", torch.zeros(2, 8)), entry("a", torch.ones(2, 8))], "'a' comes twice, with different features"),
        ([entry("a", torch.zeros(2, 8).double())], "'a': .*asks for torch.DoubleStorage; float32 and float16"),
    ],
)
def test_what_is_no_dump_is_refused_and_no_store_is_made(tmp_path, content, message):
    with pytest.raises(SltError, match=rf"a\.pkl: .*{message}"):
        import_features([write(tmp_path / "a.pkl", content)], tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_clip_that_another_file_has_with_other_features_is_refused(tmp_path):
    paths = [dump(tmp_path / "a.pkl", 0, 1), write(tmp_path / "b.pkl", [entry("c1", features(9, 2))])]
    with pytest.raises(SltError, match=r"b\.pkl: clip 'c1' is in .*store with different features"):
        import_features(paths, tmp_path / "store")
    assert FeatureStore.open(tmp_path / "store").keys() == ["c0", "c1"]


def test_files_of_different_widths_are_refused(tmp_path):
    paths = [dump(tmp_path / "a.pkl", 0), dump(tmp_path / "b.pkl", 1, width=4)]
    with pytest.raises(
        SltError, match=r"b\.pkl needs a store of zarr, s3d 4 x float16, .*store is one of zarr, s3d 8 x"
    ):
        import_features(paths, tmp_path / "store")


@pytest.mark.parametrize("other", [{"dtype": "float32"}, {"backend": "hdf5"}, {"stream": "pose"}])
def test_a_store_of_another_kind_is_refused(tmp_path, other):
    path = dump(tmp_path / "a.pkl", 0)
    import_features([path], tmp_path / "store")
    with pytest.raises(SltError, match=r"a\.pkl needs a store of .*, .*store is one of zarr, s3d 8 x float16"):
        import_features([path], tmp_path / "store", **other)


def test_numbers_that_are_not_finite_are_refused_by_clip(tmp_path):
    path = write(tmp_path / "a.pkl", [entry("a", torch.zeros(2, 8)), entry("b", torch.full((2, 8), torch.inf))])
    with pytest.raises(StoreError, match=r"clip 'b', stream 's3d': inf at step 0"):
        import_features([path], tmp_path / "store")


def test_a_dump_that_was_cut_short_is_refused(tmp_path):
    whole = dump(tmp_path / "a.pkl", *range(20)).read_bytes()
    for kept in (len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.pkl").write_bytes(whole[:kept])
        with pytest.raises(SltError, match=r"a\.pkl: cannot be read: Compressed file ended"):
            import_features([tmp_path / "a.pkl"], tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_flipped_bit_is_found_by_the_checksum_of_gzip(tmp_path):
    path = write(tmp_path / "a.pkl", [entry("a", features(0, 200, 832))])
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1
    path.write_bytes(whole)
    with pytest.raises(SltError, match=r"a\.pkl: cannot be read: CRC check failed"):
        import_features([path], tmp_path / "store")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SltError, match=r"a\.pkl: cannot be read: No such file"):
        import_features([tmp_path / "a.pkl"], tmp_path / "store")


# Hostile


def test_a_call_beside_the_tensors_is_refused_and_not_made(tmp_path):
    content = [entry("a", torch.zeros(2, 8)), entry(Calls(os.system, f"touch {tmp_path / 'mark'}"), torch.zeros(2, 8))]
    with pytest.raises(SltError, match=r"a\.pkl: refused: it asks for posix\.system"):
        import_features([write(tmp_path / "a.pkl", content)], tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pkl"]


def test_a_call_within_the_storage_of_a_tensor_is_refused_by_clip_and_not_made(tmp_path):
    rebuild, (_, *place) = torch.zeros(2, 8).__reduce_ex__(2)
    call = pickle.dumps(Calls(os.system, f"touch {tmp_path / 'mark'}"), protocol=2)
    sign = Calls(rebuild, Calls(torch.storage._load_from_bytes, call), *place)
    with pytest.raises(SltError, match=r"entry 1: clip 'b': its tensor is refused: it asks for posix\.system"):
        import_features(
            [write(tmp_path / "a.pkl", [entry("a", torch.zeros(2, 8)), entry("b", sign)])], tmp_path / "store"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pkl"]


def test_a_dump_that_unpacks_to_too_much_is_refused(tmp_path):
    path = write(tmp_path / "a.pkl", [entry("a", torch.zeros(1000, 1000))])
    assert path.stat().st_size < 50_000
    with pytest.raises(SltError, match="unpacks to more than 1000000 bytes; if you trust it, allow more"):
        import_features([path], tmp_path / "store", max_bytes=1_000_000)


def test_many_clips_of_the_same_bytes_are_refused_too(tmp_path):
    once = torch.zeros(100, 100)
    path = write(tmp_path / "a.pkl", [entry(str(n), once) for n in range(100)])
    with pytest.raises(SltError, match="its features take more than 1000000 bytes"):
        import_features([path], tmp_path / "store", max_bytes=1_000_000)


# Export


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_store_comes_back_byte_for_byte(tmp_path, dtype):
    import_features([dump(tmp_path / "a.pkl", 0, 1, 2)], tmp_path / "one", dtype=dtype)
    export_features(tmp_path / "one", tmp_path / "b.pkl", [clip(f"c{n}") for n in range(3)])
    import_features([tmp_path / "b.pkl"], tmp_path / "two", dtype=dtype)
    one, two = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    named = {Path("store.json"), *(name for name in one if re.fullmatch(r"[0-9]+\.json|c\..*\.json", name.name))}
    assert {name for name in one if one[name] != two.get(name)} == named  # store.json names the files, they the store
    assert set(one) == set(two)


def test_the_published_way_of_reading_gives_the_same(tmp_path):
    import_features([dump(tmp_path / "a.pkl", 0, 1)], tmp_path / "store", dtype="float32")
    export_features(tmp_path / "store", tmp_path / "b.pkl", [clip("c1"), clip("c0", gloss=None, text=None)])
    with gzip.open(tmp_path / "b.pkl") as file:
        records = pickle.load(file)  # noqa: S301 (our own file)
    assert [list(record) for record in records] == [["name", "gloss", "text", "num_frames", "sign"]] * 2
    assert [record["name"] for record in records] == ["c1", "c0"]
    assert (records[0]["gloss"], records[0]["text"], records[0]["num_frames"]) == ("TAG WARM", "am tag warm .", 12)
    assert (records[1]["gloss"], records[1]["text"]) == (None, None)
    for record, n in zip(records, (1, 0), strict=True):
        sign = record["sign"]
        assert (sign.dtype, sign.device.type, sign.requires_grad) == (torch.float32, "cpu", False)
        assert torch.equal(sign, features(n, n + 1))


def test_the_clips_advance_one_by_one(tmp_path):
    import_features([dump(tmp_path / "a.pkl", 0, 1)], tmp_path / "store")
    steps = []
    export_features(tmp_path / "store", tmp_path / "b.pkl", [clip("c0"), clip("c1")], advance=lambda: steps.append(1))
    assert len(steps) == 2


def test_an_export_holds_a_few_clips_at_a_time(tmp_path):
    path = write(tmp_path / "a.pkl", [entry(f"c{n}", torch.zeros(100, 832)) for n in range(40)])
    import_features([path], tmp_path / "store")
    clips = [clip(f"c{n}") for n in range(40)]
    tracemalloc.start()
    export_features(tmp_path / "store", tmp_path / "b.pkl", clips)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 100 * 832 * 4 < peak < 10 * 100 * 832 * 4


def test_an_export_that_is_stopped_leaves_the_old_file_and_nothing_else(tmp_path):
    old = dump(tmp_path / "a.pkl", 0, 1)
    import_features([old], tmp_path / "store")
    before = old.read_bytes()

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_features(tmp_path / "store", old, [clip("c0")], overwrite=True, advance=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pkl", "store"]
    assert old.read_bytes() == before


def test_an_existing_file_is_not_overwritten_unasked(tmp_path):
    old = dump(tmp_path / "a.pkl", 0)
    import_features([old], tmp_path / "store")
    with pytest.raises(SltError, match=r"a\.pkl is there; .*--overwrite"):
        export_features(tmp_path / "store", old, [clip("c0")])


def test_clips_that_the_store_lacks_are_counted_and_named(tmp_path):
    import_features([dump(tmp_path / "a.pkl", 0)], tmp_path / "store")
    with pytest.raises(SltError, match=r"store lacks 2 of 3 clips, such as c7; add them with `slt extract`"):
        export_features(tmp_path / "store", tmp_path / "b.pkl", [clip("c0"), clip("c7"), clip("c8")])


def test_a_stream_that_the_store_lacks_is_named(tmp_path):
    import_features([dump(tmp_path / "a.pkl", 0)], tmp_path / "store", stream="pose")
    with pytest.raises(SltError, match="no stream s3d, only pose"):
        export_features(tmp_path / "store", tmp_path / "b.pkl", [clip("c0")])


def test_a_clip_that_has_changed_since_is_refused(tmp_path):
    store = import_features([dump(tmp_path / "a.pkl", 0)], tmp_path / "store").store
    with store.writer() as writer:
        writer.write("new", {"s3d": np.ones((2, 8), np.float32)}, source=clip_source(clip("new"), tmp_path))
    export_features(tmp_path / "store", tmp_path / "b.pkl", [clip("new")])
    with pytest.raises(SltError, match=r"1 clips have changed .*: new;"):
        export_features(tmp_path / "store", tmp_path / "c.pkl", [clip("new", num_frames=8)])
