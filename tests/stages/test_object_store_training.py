"""A recipe trains from a store that lies in an object store, as from one on the disk."""

import shutil
from collections.abc import Iterator

import pytest
import torch
from object_server import URL, ObjectServer, s3_from
from stage_tools import refusal, weights


@pytest.fixture
def server(toy, tmp_path, monkeypatch) -> Iterator[ObjectServer]:
    shutil.copytree(toy.recipe().store, tmp_path / "bucket" / "features")
    with s3_from(tmp_path, monkeypatch) as server:
        yield server


def test_features_of_an_object_store_train_the_same_translator(toy, stages, tmp_path, server):
    lender = toy.root / "runs" / "toy"
    uses = {"uses__encoder": lender, "uses__language": lender, "runs_dir": tmp_path / "runs"}
    recipe = toy.recipe(**uses, extract__store=URL)
    assert stages["translate_train"](recipe, device="cpu") == toy.results["translate_train"]
    expected = weights(toy.recipe(), "translate_train")
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(recipe, "translate_train").items())
    assert server.sent() > 0
    assert "is an object store, which is only read; extract into a folder" in refusal(stages["extract"], recipe)
