"""An S3D of others becomes a file that says for which frames it is, and training starts from it or refuses."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from published_weights import Calls, s3d_as_published
from safetensors.torch import load_file, save_file
from stage_tools import refusal, weights

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.weights_file import FRAMES, frames_said, read_account, require_new_weights, write_weights
from slt_pipeline.stages.visual_pretrain import visual_pretrain
from slt_pipeline.stages.visual_train import visual_train

HALF, KINETICS = [0.5] * 3, [0.43216, 0.394666, 0.37645]


@pytest.fixture
def trunk() -> dict[str, torch.Tensor]:
    """Five blocks at the toy's width, no two values alike."""
    torch.manual_seed(2)
    return {
        name: torch.rand_like(value) if value.is_floating_point() else value
        for name, value in S3D(S3DConfig(use_blocks=5, width=0.03)).state_dict().items()
    }


def torchvisions(trunk):
    return {**trunk, "classifier.1.weight": torch.ones(4, 8, 1, 1, 1), "classifier.1.bias": torch.ones(4)}


def kylemins(trunk):
    return {**s3d_as_published(trunk, "module."), "module.fc.0.weight": torch.ones(4, 8, 1, 1, 1)}


def glosscls(trunk):
    """As it was saved, numbers of numpy and all."""
    beside = {"epoch": 7, "best_prec1": np.float64(0.5), "optimizer": {"state": {}, "param_groups": []}}
    return {"state_dict": s3d_as_published(trunk, "backbone."), **beside}


def save(path: Path, content, how: str = "zip") -> Path:
    if how == "safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how != "old")
    if how == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("made", "how", "kind", "frames", "left_out"),
    [
        (torchvisions, "zip", "torchvision", ("rgb", KINETICS), 2),
        (torchvisions, "safetensors", "torchvision", ("rgb", KINETICS), 2),
        (kylemins, "zip", "kylemin", ("rgb", HALF), 1),
        (kylemins, "gzip", "kylemin", ("rgb", HALF), 1),
        (glosscls, "old", "glosscls", ("bgr", HALF), 3),
    ],
)
def test_every_kind_says_what_it_is_and_becomes_our_file(trunk, tmp_path, slt, made, how, kind, frames, left_out):
    file, to = save(tmp_path / "a", made(trunk), how), tmp_path / "s3d.safetensors"
    run = slt("weights", "import", file, "--to", to, "--report", tmp_path / "report.json")
    assert run.status == 0, run.err
    assert f"{file} is {kind}; 462 names matched, 0 missing, 0 unexpected, 0 of another shape" in run.out
    found, account = load_file(to), read_account(to)
    assert found.keys() == trunk.keys()
    assert all(torch.equal(found[name], value) for name, value in trunk.items())
    assert account is not None
    assert (account["kind"], account["imported_from"], account["blocks"]) == (kind, "a", 5)
    assert (account["frames"]["color_order"], account["frames"]["mean"]) == frames
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["matched"], report["missing"], len(report["left out"])) == (462, [], left_out)


def test_what_may_be_two_kinds_is_asked_and_the_user_may_know_better(trunk, tmp_path, slt):
    file, to = save(tmp_path / "a.pt", s3d_as_published(trunk)), tmp_path / "s3d.safetensors"
    run = slt("weights", "import", file, "--to", to)
    assert (run.status, to.exists()) == (2, False)
    assert "may be kylemin or glosscls" in run.err and "--as" in run.err
    assert "not torchvision but kylemin or glosscls" in slt("weights", "import", file, "--as", "torchvision").err
    assert slt("weights", "import", file, "--to", to, "--as", "glosscls").status == 0
    assert "is there" in slt("weights", "import", file, "--to", to, "--as", "glosscls").err
    named = ("--as", "kylemin", "--color-order", "bgr", "--std", "1,1,2", "--overwrite")
    assert slt("weights", "import", file, "--to", to, *named).status == 0
    account = read_account(to)
    assert account is not None
    assert account["frames"] == {"color_order": "bgr", "mean": HALF, "std": [1, 1, 2]}


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("features.0.0.1.weight"), "1 missing (features.0.0.1.weight)"),
        (without("features.15.branch3.1.0.weight"), "1 missing (features.15.branch3.1.0.weight)"),
        (lambda state: {**state, "features.2.0.weight": torch.ones(2)}, "1 of another shape (features.2.0.weight (2,)"),
        (lambda state: {**state, "features.0.2.weight": torch.ones(2)}, "1 unexpected (features.0.2.weight)"),
        (lambda state: {**state, "a": Calls(os.system, "touch mark")}, "refused: it asks for"),
        (lambda state: {**state, "a": [1]}, "expected tensors by name"),
        (lambda _: {"conv1.weight": torch.ones(2)}, "is none of torchvision, kylemin, glosscls, sign2gloss"),
        (lambda state: {f"s3d.{name}": value for name, value in state.items()}, "weights of a run of slt itself"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(trunk, tmp_path, slt, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    save(Path("a.pt"), change(trunk))
    run = slt("weights", "import", "a.pt", "--to", "s3d.safetensors")
    assert (run.status, run.out, run.err.count("\n")) == (2, "", 1)
    assert message in run.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("how", ["zip", "old", "gzip", "safetensors"])
def test_a_damaged_file_is_one_line_and_writes_nothing(trunk, tmp_path, slt, how):
    file = save(tmp_path / "a.pt", trunk, how)
    file.write_bytes(file.read_bytes()[:2000])
    run = slt("weights", "import", file, "--to", tmp_path / "s3d.safetensors")
    assert (run.status, run.out, run.err.count("\n"), str(file) in run.err) == (2, "", 1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_gated_s3d_is_no_s3d(trunk, tmp_path, slt):
    gated = {**s3d_as_published(trunk, "module."), "module.base.5.gating.fc.weight": torch.ones(2)}
    run = slt("weights", "import", save(tmp_path / "a.pt", gated), "--to", tmp_path / "s3d.safetensors")
    assert "1 unexpected (module.base.5.gating.fc.weight)" in run.err


@pytest.fixture
def imported(trunk, tmp_path, slt) -> Path:
    to = tmp_path / "s3d.safetensors"
    assert slt("weights", "import", save(tmp_path / "a.pt", kylemins(trunk)), "--to", to).status == 0
    return to


@pytest.mark.parametrize("stage", [visual_train, visual_pretrain])
def test_training_starts_from_it(toy, trunk, imported, tmp_path, stage):
    """The frozen first block of the encoder is the file's; the isolated signs train all, from the file."""
    name = stage.__name__
    values = {f"{name}__init": imported, f"{name}__training__epochs": 1, "runs_dir": tmp_path / "runs"}
    values |= {f"{name}__training__optimiser__lr__default": 0}
    recipe = toy.recipe(**values)
    stage(recipe, device="cpu")
    stem = "features.0.0.0.weight"
    assert torch.equal(weights(recipe, name)[f"s3d.{stem}"], trunk[stem])


def test_no_file_that_is_read_or_is_somebody_elses_is_replaced(trunk, tmp_path, slt):
    file, to = save(tmp_path / "a", torchvisions(trunk)), tmp_path / "s3d.safetensors"
    assert slt("weights", "import", file, "--to", to).status == 0
    bare = save(tmp_path / "bare.safetensors", trunk, "safetensors")
    (tmp_path / "link.safetensors").symlink_to(to)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for read, more, message in (
        (to, ("--to", to), "s3d.safetensors, which is read"),
        (to, ("--to", tmp_path / "link.safetensors"), "s3d.safetensors, which is read"),
        (file, ("--to", bare), "is there and is not weights that `slt weights` has written"),
        (file, ("--to", to, "--report", file), "a, which is read"),
        (file, ("--to", to, "--report", bare), "is there and is not a report of names"),
        (file, ("--to", to, "--report", to), "is there and is not a report of names"),
        (file, ("--to", tmp_path / "b.safetensors", "--report", tmp_path / "b.safetensors"), "are both"),
    ):
        ended = slt("weights", "import", read, *more, "--overwrite")
        assert (ended.status, message in ended.err) == (2, True), ended.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    for _ in range(2):
        assert slt("weights", "import", file, "--to", to, "--report", tmp_path / "r", "--overwrite").status == 0


@pytest.mark.parametrize("stage", [visual_train, visual_pretrain])
def test_frames_that_contradict_it_are_refused(toy, imported, tmp_path, stage):
    init = {f"{stage.__name__}__init": imported, "runs_dir": tmp_path / "runs"}
    told = refusal(stage, toy.recipe(video__transform__color_order="bgr", **init))
    assert "video.transform.color_order = 'rgb', but now it is 'bgr'" in told
    assert "set -o video.transform.color_order=rgb, or" in told
    told = refusal(stage, toy.recipe(video__transform__mean=[0.4, 0.5, 0.5], **init))
    assert "= [0.5, 0.5, 0.5], but now it is [0.4, 0.5, 0.5]" in told
    assert "set -o video.transform.mean=[0.5,0.5,0.5], or" in told
    assert not (tmp_path / "runs").exists()


def test_a_file_that_says_nothing_of_frames_is_taken_with_a_warning(toy, trunk, tmp_path, caplog):
    file = save(tmp_path / "bare.safetensors", trunk, "safetensors")
    recipe = toy.recipe(visual_train__init=file, visual_train__training__epochs=1, runs_dir=tmp_path / "runs")
    visual_train(recipe, device="cpu")
    assert f"{file} does not say for which frames it is" in caplog.text


def test_a_foreign_file_is_imported_first(toy, trunk, tmp_path):
    file = save(tmp_path / "a.pt", kylemins(trunk))
    told = refusal(visual_train, toy.recipe(visual_train__init=file, runs_dir=tmp_path / "runs"))
    assert f"`slt weights import {file} --to s3d.safetensors`" in told


def test_what_is_said_of_other_weights_than_these_is_refused(tmp_path, slt):
    file = tmp_path / "a.pt"
    torch.save({"features.0.0.0.weight": torch.ones(1)}, file)
    for option, value in (("--frame-size", "210x260"), ("--fps", "25"), ("--gloss-classes", file)):
        run = slt("weights", "import", file, "--to", tmp_path / "s3d.safetensors", option, value)
        assert run.status == 2 and "a.pt is torchvision, wh" in run.err and option in run.err
    for option, value in (("--std", "0,1,1"), ("--frame-size", "0x260")):
        run = slt("weights", "import", file, "--to", tmp_path / "s3d.safetensors", option, value)
        assert run.status == 2 and "is out of range; each is more than 0" in run.err


def test_the_account_beside_weights_takes_the_place_of_no_other_file(tmp_path):
    (tmp_path / "a.pt.json").write_text('{"mine": 1}')
    for overwrite in (False, True):
        with pytest.raises(SltError, match=r"a\.pt\.json is there"):
            require_new_weights(tmp_path / "a.pt", [], overwrite)


def test_weights_that_hold_their_account_are_believed_whatever_lies_beside_them(tmp_path):
    write_weights(tmp_path / "a.safetensors", {"a": torch.ones(1)}, {}, FRAMES["torchvision"])
    (tmp_path / "a.safetensors.json").write_text("[")
    assert frames_said(tmp_path / "a.safetensors") == FRAMES["torchvision"]
