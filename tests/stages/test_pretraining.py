"""Pre-training as published: actions, then isolated signs, then Sign2Gloss; how many views say what a clip shows."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stage_tools import change_json, refusal, trainable_of, weights
from toy_system import render, toy_recipe, write_recipe

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.config.recipe import list_recipes, load_recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.kinetics import import_kinetics
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.corpora.views import ViewClips
from slt_pipeline.corpora.wlasl import import_wlasl
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines
from slt_pipeline.stages.joint_train import joint_train
from slt_pipeline.stages.visual_pretrain import SignLabels, _Validation, visual_pretrain
from slt_pipeline.stages.visual_train import visual_train
from slt_pipeline.video.transforms import to_input

PUBLISHED = {
    "use_blocks": 5,
    "pool": "published",
    "clip": "{frames: 16, views: 2}",
    "training__epochs": 1,
}


class Chain:
    """Recipes of a small corpus, each with runs of its own."""

    def __init__(self, root: Path):
        self.root, self.clips, self.file = root, render(root), write_recipe(root)

    def recipe(self, name: str, manifest: str | None = None, **values):
        """Return the recipe whose runs are in the folder `name`, on isolated clips of a manifest of the root."""
        if manifest is not None:
            values |= {"corpus__isolated_manifest": self.root / manifest}
        return toy_recipe(self.file, runs_dir=self.root / name, **values)

    def pretraining(self, name: str, manifest: str | None = None, **values):
        return self.recipe(name, manifest, **{f"visual_pretrain__{key}": value for key, value in values.items()})


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Chain:
    return Chain(tmp_path_factory.mktemp("chain"))


def _as_kinetics(chain: Chain) -> None:
    """The videos of the corpus under the names and in the list of Kinetics."""
    lines = ["label,youtube_id,time_start,time_end,split"]
    (chain.root / "k400").mkdir()
    for number, clip in enumerate(clip for clip in chain.clips if clip.split != "test"):
        name = f"video{number:06d}"
        shutil.copy(chain.root / "corpus" / clip.video, chain.root / "k400" / f"{name}_000000_000010.mp4")
        lines.append(f"{(clip.gloss or ('',))[0]},{name},0,10,{'train' if clip.split == 'train' else 'validate'}")
    (chain.root / "k400.csv").write_text("\n".join(lines))
    import_kinetics([chain.root / "k400.csv"], chain.root / "k400", chain.root / "k400" / "manifest.jsonl")


def _as_wlasl(chain: Chain) -> None:
    """Of the same videos the first twelve frames, in a list like that of WLASL."""
    entries = [
        {
            "gloss": (clip.gloss or ("",))[-1].lower(),
            "instances": [
                {
                    "video_id": f"{number:05d}",
                    "url": f"https://youtu.be/video{number:06d}",
                    "split": "train" if clip.split == "train" else "val",
                    "frame_start": 1,
                    "frame_end": 12,
                }
            ],
        }
        for number, clip in enumerate(clip for clip in chain.clips if clip.split != "test")
    ]
    (chain.root / "wlasl.json").write_text(json.dumps(entries))
    (chain.root / "wlasl").mkdir()
    for path in (chain.root / "k400").glob("*.mp4"):
        shutil.copy(path, chain.root / "wlasl" / f"{path.stem[:11]}.mp4")
    import_wlasl(chain.root / "wlasl.json", chain.root / "wlasl", chain.root / "wlasl" / "manifest.jsonl")


def test_actions_then_signs_then_sign2gloss_each_from_the_weights_before_and_block_five_is_dropped(chain):
    _as_kinetics(chain)
    _as_wlasl(chain)
    assert {clip.frames for clip in read_manifest(chain.root / "wlasl" / "manifest.jsonl")} == {(0, 12)}
    actions = chain.pretraining("actions", "k400/manifest.jsonl", **PUBLISHED)
    result = visual_pretrain(actions, device="cpu")
    assert result["score"] == "accuracy" and 0 <= result["best_score"] <= 100
    scores = [
        row for row in read_json_lines(actions.run_folder("visual_pretrain") / "metrics.jsonl") if "accuracy" in row
    ]
    num_signs = len(read_json(actions.run_folder("visual_pretrain") / "signs.json")) - 4
    assert all(("accuracy_top5" in row) == (num_signs >= 5) for row in scores) and scores
    still = {"training__optimiser__lr": "{default: 0.0}", "init": chain.root / "actions/toy/visual_pretrain"}
    signs = chain.pretraining("signs", "wlasl/manifest.jsonl", **PUBLISHED | still)
    visual_pretrain(signs, device="cpu")
    run = signs.run_folder("visual_pretrain")
    recipe = chain.recipe(
        "sentences",
        visual_train__init=run,
        visual_train__training__epochs=1,
        visual_train__training__optimiser__lr="{default: 0.0}",
    )
    visual_train(recipe, device="cpu")
    first, second, last = (
        weights(actions, "visual_pretrain"),
        weights(signs, "visual_pretrain"),
        weights(recipe, "visual_train"),
    )
    trunk = [name for name in first if name.startswith("s3d.") and "running" not in name and "num_batches" not in name]
    assert all(torch.equal(first[name], second[name]) for name in trunk)  # at rate 0 they are what they began as
    kept = [name for name in trunk if name in last]
    assert all(torch.equal(second[name], last[name]) for name in kept) and len(kept) > 50
    assert {name.split(".")[2] for name in trunk if name not in last} == {"14", "15"}


def test_a_run_of_other_colours_is_refused_as_a_start(chain):
    visual_pretrain(chain.pretraining("small", training__epochs=1), device="cpu")
    start = chain.root / "small" / "toy" / "visual_pretrain"
    other = chain.recipe("other", visual_pretrain__init=start, video__transform__color_order="bgr")
    assert "was made with video.transform.color_order = 'rgb', but now it is 'bgr'" in refusal(visual_pretrain, other)
    for stage, name in ((visual_pretrain, "visual_pretrain"), (visual_train, "visual_train")):
        empty = chain.recipe("other", **{f"{name}__init": chain.root / "corpus"})
        assert "no trained weights in" in refusal(stage, empty)
    more = chain.pretraining("other", use_blocks=5, init=start)
    assert "it is not an S3D of 5 blocks" in refusal(visual_pretrain, more)


def test_a_run_of_before_there_was_a_choice_goes_on_and_refuses_what_it_was_not(chain):
    recipe = chain.pretraining("before", training__epochs=1)
    visual_pretrain(recipe, device="cpu")
    change_json(
        recipe.run_folder("visual_pretrain") / "inputs.json",
        lambda inputs: [inputs.pop(key) for key in ("pool", "clip")],
    )
    assert visual_pretrain(recipe, device="cpu")["best_step"] > 0
    for key, value, words in (
        ("pool", "published", "pool = 'mean', but now it is 'published'"),
        ("clip", "{frames: 64}", "clip = 'whole', but now it is '64 frames, 1 x 1 views'"),
        ("use_blocks", 5, "s3d.use_blocks = 4, but now it is 5"),
    ):
        assert words in refusal(visual_pretrain, chain.pretraining("before", training__epochs=1, **{key: value}))


class _Counted(torch.nn.Module):
    """Says what brightness it saw: logits that are different for every view, and not linear in it."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.powers = torch.arange(num_classes) / num_classes

    def forward(self, frames, frame_lengths):
        assert frame_lengths.tolist() == [frames.shape[2]]
        return (8 * frames.mean((1, 2, 3, 4))[:, None].sin()) * self.powers * 5 - 3 * self.powers**2


def test_the_probabilities_of_all_views_are_averaged(chain, monkeypatch):
    recipe = chain.pretraining("views", **PUBLISHED | {"clip": "{frames: 16, views: 2, crops: 3}"})
    validate = trainable_of(monkeypatch, lambda: visual_pretrain(recipe, device="cpu")).validate
    assert isinstance(validate, _Validation)
    labels, dev, root = validate.labels, validate.dev, chain.root / "corpus"
    assert recipe.visual_pretrain.clip is not None
    model, right, mean = _Counted(sum(labels.sizes)), [], torch.zeros(0)
    clips = ViewClips(dev, root, recipe.video, validate.reader.shape, views=recipe.visual_pretrain.clip)
    for clip, item in zip(dev, map(clips.__getitem__, range(len(dev))), strict=True):
        assert item.pixels is not None and len(item.pixels) == 6 * 16
        views = [to_input(pixels, recipe.video.transform) for pixels in item.pixels.split(16)]
        logits = [model(view[None], torch.tensor([16]))[0] for view in views]
        mean = torch.stack([row.exp() / row.exp().sum() for row in logits]).sum(0) / 6
        right.append(int(mean.argmax()) == labels.encode(clip)[0])
    assert validate(model)["accuracy"] == 100 * sum(right) / len(dev)
    seen = []
    monkeypatch.setattr(SignLabels, "right", lambda self, scores, clip: seen.append(scores[0]) or {"accuracy": True})
    validate(model)
    torch.testing.assert_close(seen[-1].float(), mean)


def test_top_five_by_hand():
    clips = [Clip(name, name, 8, 25.0, "anna", (name,), None, "train", extra={"mouth": name}) for name in "abcdefg"]
    labels = SignLabels(clips, ["mouth"])
    scores = torch.tensor([0.0] * 4 + [0.3, 0.1, 0.2, 0.15, 0.12, 0.08, 0.05])  # four special classes, then a to g
    said = {clip.id: labels.right([scores, torch.eye(7)[0]], clip) for clip in clips}
    assert {name for name, found in said.items() if found["accuracy"]} == {"a"}
    assert {name for name, found in said.items() if found["accuracy_top5"]} == set("abcde")
    assert {name for name, found in said.items() if found["accuracy_mouth"]} == {"a"}
    unknown = replace(clips[0], gloss=("never seen",))
    assert not any(labels.right([torch.tensor([0, 1.0, *[0.0] * 9]), torch.eye(7)[1]], unknown).values())
    few = SignLabels(clips[:4], [])
    assert list(few.right([torch.zeros(8)], clips[0])) == ["accuracy"]


def test_a_clip_of_several_glosses_is_no_isolated_sign_and_is_listed(chain, tmp_path):
    clips = read_manifest(chain.root / "corpus" / "isolated.jsonl")
    clips[1] = replace(clips[1], gloss=("REGEN", "NORD"))
    write_manifest(tmp_path / "m.jsonl", clips)
    values = {"corpus__isolated_media_root": chain.root / "corpus", "corpus__isolated_manifest": tmp_path / "m.jsonl"}
    recipe = toy_recipe(chain.file, runs_dir=tmp_path / "runs", visual_pretrain__training__epochs=1, **values)
    assert f"clip {clips[1].id}: 2 glosses (REGEN NORD); an isolated sign has one" in refusal(
        visual_pretrain, recipe, strict=True
    )
    visual_pretrain(recipe, device="cpu")
    (row,) = read_json_lines(recipe.run_folder("visual_pretrain") / "rejected.jsonl")
    assert row == {
        "id": clips[1].id,
        "reason": "2 glosses (REGEN NORD); an isolated sign has one",
        "by": "visual_pretrain",
    }
    glosses = {gloss for clip in clips if clip.split == "train" and clip is not clips[1] for gloss in clip.gloss or ()}
    assert len(read_json(recipe.run_folder("visual_pretrain") / "signs.json")) == 4 + len(glosses)


def test_an_encoder_cannot_take_more_blocks_than_were_trained(chain):
    with pytest.raises(SltError, match=r"visual_pretrain.use_blocks is 3, and encoder.s3d.use_blocks 4"):
        chain.pretraining("few", use_blocks=3)


def test_nothing_is_frozen_while_it_is_random(chain, monkeypatch):
    recipe = chain.pretraining("frozen", training__epochs=1)
    assert recipe.encoder.s3d.freeze_blocks == 1 and S3DConfig().freeze_blocks == 1
    model = trainable_of(monkeypatch, lambda: visual_pretrain(recipe, device="cpu")).model
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert "random blocks would stay" in refusal(visual_train, chain.recipe("frozen", visual_train__init="null"))
    # A joint run starts from a whole encoder, or not at all.
    assert "no trained weights in" in refusal(joint_train, chain.recipe("frozen"))


@pytest.mark.parametrize("name", [name for name in list_recipes() if not name.startswith(("cvslt", "pretrain"))])
def test_in_a_shipped_recipe_the_frozen_stem_is_never_random(name):
    """A recipe that borrows its encoder trains none."""
    recipe = load_recipe(name, ["visual_train.init=null"])
    said = refusal(visual_train, recipe)
    assert "random blocks would stay as they are" in said or (recipe.uses.encoder and "uses.encoder" in said)
