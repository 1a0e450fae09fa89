import gzip
import pickle

import numpy as np
import pytest
import torch

from cache import FeatureStore
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.errors import SltError


@pytest.fixture
def dump(here):
    """Write a dump of the clips 0..n-1, clip i with i + 1 steps of 8 numbers that are all i."""

    def write(name="train.pkl", num_clips=3, content=None):
        records = [
            {
                "name": f"c{i}",
                "gloss": "TAG WARM",
                "text": "am tag warm .",
                "num_frames": 4 * i + 4,
                "sign": torch.full((i + 1, 8), float(i)),
            }
            for i in range(num_clips)
        ]
        with gzip.open(here / name, "wb") as file:
            pickle.dump(records if content is None else content, file, protocol=3)
        return here / name

    return write


@pytest.fixture
def manifest(here):
    clips = [
        Clip(f"c{i}", f"{i}.mp4", 4 * i + 4, 25.0, "anna", ("TAG", "WARM"), "am tag warm .", split)
        for i, split in enumerate(("train", "train", "dev"))
    ]
    write_manifest(here / "manifest.jsonl", clips)
    return here / "manifest.jsonl"


def test_a_dump_becomes_a_store_and_the_second_run_finds_it_done(slt, dump):
    run = slt("cache", "import-pickle", dump(), "features")
    assert run.exit_code == 0
    assert "3 clips written, 0 were there" in run.output
    store = FeatureStore.open("features")
    assert (store.keys(), store.streams["s3d"].dtype, store.backend) == (["c0", "c1", "c2"], "float16", "zarr")
    assert "0 clips written, 3 were there" in slt("cache", "import-pickle", "train.pkl", "features").output


def test_options_of_the_import_reach_the_store(slt, dump):
    options = ("--stream", "pose", "--dtype", "float32", "--backend", "hdf5")
    facts = ("--fingerprint", "weights=released", "--fingerprint", "note=a=b")
    assert slt("cache", "import-pickle", dump(), "features", *options, *facts).exit_code == 0
    store = FeatureStore.open("features")
    assert (store.backend, store.streams["pose"].dtype) == ("hdf5", "float32")
    assert (store.fingerprint["weights"], store.fingerprint["note"]) == ("released", "a=b")


@pytest.mark.parametrize("fact", ["weights", "=x", "imported_from=x"])
def test_a_fact_that_cannot_be_one_exits_with_status_2(slt, dump, fact):
    run = slt("cache", "import-pickle", dump(), "features", "--fingerprint", fact)
    assert run.exit_code == 2
    assert "--fingerprint" in run.output


def test_a_fact_is_said_once(slt, dump):
    run = slt("cache", "import-pickle", dump(), "features", "--fingerprint", "a=1", "--fingerprint", "a=2")
    assert run.exit_code == 2 and "a is '1' and '2'; give it once" in run.output


def test_an_object_store_is_read_and_not_written(slt, dump, manifest, here):
    with pytest.raises(SltError, match="s3://bucket/features is an object store, which is read only"):
        slt("cache", "import-pickle", dump(), "s3://bucket/features")
    slt("cache", "import-pickle", dump(), "features")
    url = f"file://{here}/features"
    assert slt("cache", "export-pickle", url, "all.pkl", "--manifest", manifest).exit_code == 0
    assert len(_records("all.pkl")) == 3


def test_clips_are_said_by_a_manifest_or_by_a_recipe(slt, dump, manifest):
    slt("cache", "import-pickle", dump(), "features")
    run = slt("cache", "export-pickle", "features", "all.pkl", "--manifest", manifest, "-r", "demo/mmtlb")
    assert run.exit_code == 2 and "--manifest and a recipe both say which clips" in run.output


def test_what_is_no_dump_is_one_line_and_status_2(slt_process, dump, here):
    run = slt_process("cache", "import-pickle", dump("empty.pkl", content=[]), here / "features")
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("slt: error: ")
    assert "keypoint stream" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (here / "features").exists()


def test_the_largest_size_can_be_set(slt, dump):
    path = dump(content=[{"name": "a", "sign": torch.zeros(400, 832)}])
    with pytest.raises(SltError, match=r"unpacks to more than 1048576 bytes; .*--max-gib"):
        slt("cache", "import-pickle", path, "features", "--max-gib", 1 / 1024)
    assert slt("cache", "import-pickle", path, "features", "--max-gib", 2 / 1024).exit_code == 0


def test_a_split_of_a_store_becomes_a_dump(slt, dump, manifest):
    slt("cache", "import-pickle", dump(), "features")
    run = slt("cache", "export-pickle", "features", "out/train.pkl", "--manifest", manifest, "--split", "train")
    assert run.exit_code == 0
    assert "2 clips" in run.output
    records = _records("out/train.pkl")
    assert [record["name"] for record in records] == ["c0", "c1"]
    assert records[1]["sign"].tolist() == np.full((2, 8), 1.0).tolist()


def test_the_clips_are_those_of_the_recipe_if_no_manifest_is_named(slt, dump, manifest):
    slt("cache", "import-pickle", dump(), "features")
    recipe = ("-r", "demo/mmtlb", "-o", f"corpus.manifest={manifest}")
    assert "3 clips" in slt("cache", "export-pickle", "features", "all.pkl", *recipe).output


def test_a_split_without_clips_is_refused(slt, dump, manifest):
    slt("cache", "import-pickle", dump(), "features")
    with pytest.raises(SltError, match=r"manifest\.jsonl has no clips of split test"):
        slt("cache", "export-pickle", "features", "test.pkl", "--manifest", manifest, "--split", "test")


def test_a_dump_is_replaced_only_with_overwrite(slt, dump, manifest):
    slt("cache", "import-pickle", dump(), "features")
    old = dump("old.pkl", num_clips=1)
    before = old.read_bytes()
    with pytest.raises(SltError, match=r"old\.pkl is there; .*--overwrite"):
        slt("cache", "export-pickle", "features", old, "--manifest", manifest)
    assert old.read_bytes() == before
    assert slt("cache", "export-pickle", "features", old, "--manifest", manifest, "--overwrite").exit_code == 0
    assert [record["num_frames"] for record in _records(old)] == [4, 8, 12]


def test_a_dump_takes_the_place_of_no_other_file(slt, dump, manifest):
    slt("cache", "import-pickle", dump(), "features", "--backend", "hdf5")
    export, before = ("cache", "export-pickle", "features"), manifest.read_bytes()
    with pytest.raises(SltError, match=r"manifest\.jsonl is there and is not a gzip pickle"):
        slt(*export, manifest, "--manifest", manifest, "--overwrite")
    assert manifest.read_bytes() == before
    with pytest.raises(SltError, match=r"features/new\.pkl lies in features, which is read"):
        slt(*export, "features/new.pkl", "--manifest", manifest)


def _records(path):
    with gzip.open(path) as file:
        return pickle.load(file)  # noqa: S301 (as the published code reads it)
