"""The S3D of a run goes back to torchvision, loads there and computes the same."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stage_tools import weights
from torchvision.models.video import s3d as torchvision_s3d

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.visual_classifier import VisualClassifier
from slt_pipeline.training.run import find_run

FRAMES = {"color_order": "rgb", "mean": [0.5] * 3, "std": [0.5] * 3}


def run_of(recipe: Recipe, model: torch.nn.Module, s3d: S3DConfig) -> Path:
    """A finished run of visual-pretrain with these weights: none is trained at the published width."""
    run = find_run(recipe.run_folder("visual_pretrain"), "visual_pretrain", {"s3d": s3d, "video": recipe.video})
    names = json.dumps(["<si>", "<unk>", "<pad>", "</s>", "rain"])
    folder = run.begin(recipe, lambda folder: (folder / "signs.json").write_text(names))
    run.keep(model, 1, "accuracy", 50.0, {})
    return folder


def differ(state):
    """No two values alike, norms that do something, and the size of activations kept."""
    for name, value in state.items():
        if "running_var" in name or name.endswith(("1.weight", "norm.weight")):
            value.copy_(0.8 + 0.4 * torch.rand_like(value))
        elif value.is_floating_point() and value.ndim < 2:
            value.copy_(0.2 * torch.randn_like(value))
    return state


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.randn(1, 3, 16, 224, 224, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_five_blocks_and_their_classifier_are_torchvisions(toy, tmp_path, slt, frames, suffix):
    config = S3DConfig(use_blocks=5, freeze_blocks=0)
    torch.manual_seed(3)
    model = VisualClassifier(config, 5).eval()
    differ(model.state_dict())
    torch.nn.init.normal_(model.classifier.weight, std=0.1)
    run, to = run_of(toy.recipe(runs_dir=tmp_path), model, config), tmp_path / f"s3d{suffix}"
    ended = slt("weights", "export", run, "--to", to)
    assert (ended.status, ended.out.count("\n")) == (0, 1), ended.err
    assert "5 blocks, frames in [0, 1], rgb, mean 0.5, 0.5, 0.5" in ended.out

    theirs = torchvision_s3d(num_classes=5).eval()
    theirs.load_state_dict(load_file(to) if suffix == ".safetensors" else torch.load(to, weights_only=True))
    features, _ = model.s3d(frames, torch.tensor([16]))
    torch.testing.assert_close(theirs.features(frames).mean((3, 4)).transpose(1, 2), features, rtol=1e-5, atol=1e-5)
    # Over two steps its average is ours: over more it counts those at the ends less.
    torch.testing.assert_close(theirs(frames), model(frames, torch.tensor([16])), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_four_blocks_are_its_trunk_and_what_it_has_more_is_told(toy, tmp_path, slt, frames):
    config = S3DConfig()
    torch.manual_seed(3)
    model = VisualClassifier(config, 5).eval()
    differ(model.s3d.state_dict())
    run, to = run_of(toy.recipe(runs_dir=tmp_path), model, config), tmp_path / "s3d.pt"
    ended = slt("weights", "export", run, "--to", to)
    assert "torchvision's S3D has more: block 5, the classifier; load with strict=False" in ended.out
    told = json.loads((tmp_path / "s3d.pt.json").read_text())
    assert (told["blocks"], told["frames"], told["lacks"]) == (4, FRAMES, ["block 5", "the classifier"])
    trunk = torch.nn.ModuleDict({"features": torchvision_s3d().features[:13]}).eval()
    trunk.load_state_dict(torch.load(to, weights_only=True))
    features, _ = model.s3d(frames, torch.tensor([16]))
    found = trunk["features"](frames).mean((3, 4)).transpose(1, 2)
    torch.testing.assert_close(found, features, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stage", ["visual_train", "visual_pretrain"])
def test_what_is_exported_comes_back_with_its_frames(toy, tmp_path, slt, stage):
    out, back = tmp_path / "s3d.pt", tmp_path / "back.safetensors"
    ended = slt("weights", "export", toy.recipe().run_folder(stage), "--to", out)
    assert ended.status == 0, ended.err
    assert "its width: it has 1, the run 0.03" in ended.out
    run = slt("weights", "import", out, "--to", back)  # in torchvision's names, and in our frames
    assert run.status == 0, run.err
    assert "rgb, mean 0.5, 0.5, 0.5" in run.out
    trained = weights(toy.recipe(), stage)
    assert all(torch.equal(value, trained[f"s3d.{name}"]) for name, value in load_file(back).items())
    S3D(S3DConfig(width=0.03)).load_state_dict(load_file(back))


def test_a_joint_runs_own_encoder_is_exported(joint, tmp_path, slt):
    to = tmp_path / "s3d.safetensors"
    ended = slt("weights", "export", joint.folder, "--to", to)
    assert ended.status == 0, ended.err
    whole = weights(joint.recipe, "joint_train")
    assert all(torch.equal(value, whole[f"front.encoder.s3d.{name}"]) for name, value in load_file(to).items())


def test_a_checkpoint_is_not_replaced_and_an_earlier_export_is(toy, tmp_path, slt):
    run = toy.recipe().run_folder("visual_train")
    checkpoint = next(run.rglob("weights.safetensors"))
    before = checkpoint.read_bytes()
    ended = slt("weights", "export", run, "--to", checkpoint, "--overwrite")
    assert ended.status == 2 and "is not weights that `slt weights` has written" in ended.err
    assert checkpoint.read_bytes() == before
    for suffix in ("safetensors", "pt"):
        for _ in range(2):
            assert slt("weights", "export", run, "--to", tmp_path / f"s3d.{suffix}", "--overwrite").status == 0


@pytest.mark.parametrize(
    ("run", "to", "message"),
    [
        ("visual_train", "s3d.bin", "does not end in .safetensors or .pt or .pth"),
        ("visual_train", "there.pt", "is there; name another file"),
        ("translate_train", "s3d.pt", "holds no visual encoder"),
        ("nothing", "s3d.pt", "is no run folder"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_writes_nothing(toy, tmp_path, slt, run, to, message):
    (tmp_path / "there.pt").touch()
    (tmp_path / "nothing").mkdir()
    folder = tmp_path / run if run == "nothing" else toy.recipe().run_folder(run)
    ended = slt("weights", "export", folder, "--to", tmp_path / to)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nothing", "there.pt"]
