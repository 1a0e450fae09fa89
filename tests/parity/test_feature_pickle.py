"""A feature dump in the published format: every number of it comes into the store, and out again as it was written."""

import gzip
import io
import json
import pickletools

import numpy as np
import pytest
from parity_data import case_names

from cache import FeatureStore
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feature_pickles import export_features, import_features
from slt_pipeline.corpora.pickles import read_pickle

CASES = case_names("checkpoints", prefix="feature_file")
SAMPLES = "s2t"  # "the same samples as case s2t"


@pytest.mark.parametrize("case", CASES)
def test_every_feature_comes_into_the_store(load_part, tmp_path, case):
    part = load_part("checkpoints")
    description = part.json["cases"][case]
    imported = import_features([part.file(description["file"])], tmp_path / "store", dtype="float32")
    assert imported.num_written == description["samples"]
    features, lengths = FeatureStore.open(tmp_path / "store").read_batch(imported.store.keys(), "s3d")
    assert features.dtype == np.float32
    np.testing.assert_array_equal(lengths, part.tensors[f"{SAMPLES}/lengths"])
    np.testing.assert_array_equal(features, part.tensors[f"{SAMPLES}/features"])


@pytest.mark.parametrize("case", CASES)
def test_an_exported_dump_says_what_the_published_one_says(load_part, tmp_path, case):
    part = load_part("checkpoints")
    published = part.file(part.json["cases"][case]["file"])
    records = read_pickle(published)
    assert [record["gloss"] for record in records] == part.json["cases"][SAMPLES]["glosses"]
    assert [record["text"] for record in records] == part.json["cases"][SAMPLES]["texts"]
    clips = [
        Clip(r["name"], "a.mp4", r["num_frames"], 25.0, "", tuple(r["gloss"].split()), r["text"], "dev")
        for r in records
    ]
    import_features([published], tmp_path / "store", dtype="float32")
    export_features(tmp_path / "store", tmp_path / "ours.pkl", clips)
    ours = read_pickle(tmp_path / "ours.pkl")
    assert [_plain(record) for record in ours] == [_plain(record) for record in records]
    for one, other in zip(ours, records, strict=True):
        assert one["sign"].shape == other["sign"].shape
        assert one["sign"].stride == other["sign"].stride
        np.testing.assert_array_equal(one["sign"].numbers(), other["sign"].numbers())


@pytest.mark.parametrize("case", CASES)
def test_an_exported_dump_asks_for_what_the_published_one_asks_for(load_part, tmp_path, case):
    part = load_part("checkpoints")
    published = part.file(part.json["cases"][case]["file"])
    import_features([published], tmp_path / "store", dtype="float32")
    clips = [Clip(r["name"], "a.mp4", r["num_frames"], 25.0, "", None, None, "dev") for r in read_pickle(published)]
    export_features(tmp_path / "store", tmp_path / "ours.pkl", clips)
    assert _needs(tmp_path / "ours.pkl") == _needs(published)


def _plain(record):
    """All but the tensor, keys in order."""
    return json.dumps({key: value for key, value in record.items() if key != "sign"})


def _needs(path):
    """Protocols and names that a reader of the file must know, in it and in the storages of its tensors."""
    needs, storages = set(), []
    for instruction, argument, _ in pickletools.genops(gzip.decompress(path.read_bytes())):
        if instruction.name in ("GLOBAL", "PROTO"):
            needs.add((instruction.name, argument))
        elif instruction.name == "BINBYTES":
            storages.append(io.BytesIO(argument))
    assert storages
    for stream in storages:
        for part in range(5):
            for instruction, argument, _ in pickletools.genops(stream):
                if instruction.name in ("GLOBAL", "PROTO", "LONG1"):
                    needs.add((part, instruction.name, argument))
    return needs
