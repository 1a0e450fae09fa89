"""A published Sign2Gloss becomes a run that is extracted, fine-tuned and exported like one that was trained here."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from published_weights import encoder_as_published, write_checkpoint
from stage_tools import refusal, weights

from slt_pipeline.config.recipe import Recipe, load_recipe
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.visual_train import visual_train
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import list_checkpoints


@dataclass(frozen=True)
class Published:
    """The toy's encoder as published weights with classes in another order, and a recipe that has no encoder yet."""

    file: Path
    recipe: Recipe
    checkpoint: Path
    table: Path
    classes: tuple[str, ...]
    weights: dict[str, torch.Tensor]

    @property
    def run(self) -> Path:
        return self.recipe.run_folder("visual_train")

    def arguments(self, *more) -> tuple:
        """The toy is trained on RGB, published weights are not: the user says so."""
        said = ("--gloss-classes", self.table, "--color-order", "rgb")
        return ("weights", "import", self.checkpoint, "-r", self.file, *said, *more)


@pytest.fixture
def published(toy, tmp_path) -> Published:
    trained = weights(toy.recipe(), "visual_train")
    names = list(GlossVocabulary.load(toy.recipe().encoder_folder / "glosses.json"))
    order = [0, 1, 2, 3, *reversed(range(4, len(names)))]
    for leaf in ("weight", "bias"):
        trained[f"head.gloss_output_layer.{leaf}"] = trained[f"head.gloss_output_layer.{leaf}"][order]
    table = tmp_path / "gloss2ids.pkl"
    table.write_bytes(pickle.dumps({names[old]: new for new, old in enumerate(order)}))
    file = tmp_path / "theirs.yaml"
    file.write_text(json.dumps({"extends": str(toy.file), "runs_dir": str(tmp_path / "runs")}))
    checkpoint = write_checkpoint(tmp_path / "s2g.ckpt", encoder_as_published(trained), optimizer_state={"state": {}})
    return Published(file, load_recipe(str(file)), checkpoint, table, tuple(names[i] for i in order), trained)


def test_it_is_extracted_evaluated_and_translated_with_as_a_trained_one(toy, published, slt):
    run = slt(*published.arguments())
    assert run.status == 0, run.err
    assert "is sign2gloss; 383 names matched, 0 missing" in run.out
    assert "wer 12.5 at step 90" in run.out
    assert json.loads((published.run / "result.json").read_text())["left out"] == [
        *("recognition_network.visual_head.pe.pe", "epoch", "global_step", "best_score", "optimizer_state")
    ]
    assert GlossVocabulary.load(published.run / "glosses.json").names == published.classes
    assert json.loads((published.run / "frames.json").read_text()) == {"width": 32, "height": 32, "fps": 25.0}
    found = weights(published.recipe, "visual_train")
    assert all(torch.equal(found[name], value) for name, value in published.weights.items())
    assert list_checkpoints(published.run / "checkpoints")[0].meta["step"] == 90

    assert slt("extract", "-r", published.file, "--device", "cpu").status == 0
    scored = slt("evaluate", "-r", published.file, "-o", "evaluate.tasks=[sign2gloss]", "--device", "cpu")
    assert scored.status == 0, scored.err
    theirs, ours = (
        read_json_lines(recipe.run_folder("evaluate") / "sign2gloss-dev.jsonl")
        for recipe in (published.recipe, toy.recipe())
    )
    assert theirs == ours  # the same network, though it counts its classes otherwise
    for command in ("gloss2text-train", "translate-train"):
        ended = slt(command, "-r", published.file, "--device", "cpu")
        assert ended.status == 0, ended.err
    translated = slt("translate", toy.video(toy.of("test")[0]), "-r", published.file, "--device", "cpu")
    assert translated.status == 0, translated.err


def test_frames_that_contradict_it_are_refused(published, slt):
    run = slt("weights", "import", published.checkpoint, "-r", published.file, "--gloss-classes", published.table)
    assert (run.status, run.err.count("\n"), published.run.exists()) == (2, 1, False)
    assert "video.transform.color_order = 'bgr', but now it is 'rgb'" in run.err
    assert "set -o video.transform.color_order=bgr, or say --color-order" in run.err


def test_size_and_rate_are_asked_where_no_clip_tells_them(published, slt):
    bare = ("-o", "corpus.manifest=nothing.jsonl")
    run = slt(*published.arguments(*bare))
    assert (run.status, published.run.exists()) == (2, False)
    assert "such as --frame-size 210x260 --fps 25" in run.err
    assert slt(*published.arguments(*bare, "--frame-size", "210x260", "--fps", "30")).status == 0
    assert json.loads((published.run / "frames.json").read_text()) == {"width": 210, "height": 260, "fps": 30.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "encoder.head.hidden=8"), "has encoder.head.hidden 16, the recipe 8; set -o encoder.head.hidden=16"),
        (("-o", "encoder.head.positional_encoding=false"), "set -o encoder.head.positional_encoding=true"),
        (("-o", "encoder.s3d.width=0.25"), "of another shape (recognition_network.visual_backbone.backbone.base.0"),
        (("-o", "uses.encoder=demo/mmtlb"), "nothing would read what is trained here"),
        (("--to", "a.safetensors"), "becomes a run of the recipe; leave out --to"),
        (("--as", "cvslt"), "is not cvslt but sign2gloss"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(published, slt, options, message):
    run = slt(*published.arguments(*options))
    assert (run.status, run.out, run.err.count("\n"), published.run.exists()) == (2, "", 1, False)
    assert message in run.err


def test_a_key_that_is_needed_is_missed(published, slt, tmp_path):
    state = encoder_as_published(published.weights)
    del state["recognition_network.visual_head.fc1.bias"]
    write_checkpoint(published.checkpoint, state)
    run = slt(*published.arguments("--report", tmp_path / "report.json"))
    assert (run.status, published.run.exists()) == (2, False)
    assert "1 missing (head.fc1.bias)" in run.err
    assert json.loads((tmp_path / "report.json").read_text())["missing"] == ["head.fc1.bias"]


def test_without_a_table_of_classes_nothing_is_known_of_them(published, slt):
    run = slt("weights", "import", published.checkpoint, "-r", published.file, "--color-order", "rgb")
    assert "name its table with --gloss-classes" in run.err


def test_training_does_not_take_it_for_its_own(toy, published, slt):
    assert slt(*published.arguments()).status == 0
    start = f"visual_train.init={toy.recipe().run_folder('visual_pretrain')}"
    same = ("-o", start, "-o", f"visual_train.vocabulary={published.table}")
    trained = slt("visual-train", "-r", published.file, *same, "--device", "cpu")
    assert (trained.status, "was made with imported = " in trained.err) == (2, True), trained.err


def fine_tuned(toy, published, tmp_path, init, **values) -> Recipe:
    """A recipe that trains nothing further, so that what it starts from is what it ends with."""
    rest = {"visual_train__training__epochs": 1, "visual_train__training__optimiser__lr__default": 0}
    return toy.recipe(visual_train__init=init, runs_dir=tmp_path / "tuned", **rest, **values)


def test_a_published_encoder_is_fine_tuned_whole(toy, published, slt, tmp_path):
    assert slt(*published.arguments()).status == 0
    recipe = fine_tuned(toy, published, tmp_path, published.run, visual_train__vocabulary=published.table)
    visual_train(recipe, device="cpu")
    found = weights(recipe, "visual_train")
    for name in ("head.gloss_output_layer.weight", "head.fc1.weight", "s3d.features.12.branch0.0.weight"):
        assert torch.equal(found[name], published.weights[name]), name
    assert GlossVocabulary.load(recipe.encoder_folder / "glosses.json").names == published.classes


def test_other_classes_than_those_of_its_classifier_are_refused(toy, published, slt, tmp_path):
    assert slt(*published.arguments()).status == 0
    told = refusal(visual_train, fine_tuned(toy, published, tmp_path, published.run))
    assert f"has {len(published.classes)} gloss classes, the recipe others, or in another order" in told
    assert f"-o visual_train.vocabulary={published.run}/glosses.json" in told
    less = tmp_path / "less.json"
    less.write_text(json.dumps(published.classes[:-2]))
    told = refusal(visual_train, fine_tuned(toy, published, tmp_path, published.run, visual_train__vocabulary=less))
    assert f"has {len(published.classes)} gloss classes, the recipe {len(published.classes) - 2};" in told
    assert not (tmp_path / "tuned").joinpath("toy", "visual_train").exists()
    exported = tmp_path / "s3d.safetensors"  # the cure that is named
    assert slt("weights", "export", published.run, "--to", exported).status == 0
    visual_train(fine_tuned(toy, published, tmp_path, exported), device="cpu")


def test_another_network_or_other_frames_than_its_own_are_refused(toy, published, slt, tmp_path):
    assert slt(*published.arguments()).status == 0
    told = refusal(visual_train, fine_tuned(toy, published, tmp_path, published.run, video__transform__std=[1, 1, 1]))
    assert "video.transform.std = [0.5, 0.5, 0.5], but now it is [1.0, 1.0, 1.0]" in told
    told = refusal(visual_train, fine_tuned(toy, published, tmp_path, published.run, encoder__head__feedforward=8))
    assert "encoder.head.feedforward = 16, but now it is 8" in told


@pytest.mark.parametrize("form", ["list", "table", "pickle"])
def test_classes_are_taken_from_a_table_and_glosses_beside_it_counted(toy, tmp_path, caplog, form):
    glosses = [gloss.lower() for clip in toy.of("train") for gloss in clip.gloss]
    names = ["<si>", "<unk>", "<pad>", "</s>", "never-seen", *dict.fromkeys(glosses[1:])]
    names = [name for name in names if name != glosses[0]]
    file, ids = tmp_path / "classes", {name: number for number, name in enumerate(names)}
    file.write_bytes(pickle.dumps(ids) if form == "pickle" else json.dumps(names if form == "list" else ids).encode())
    scratch = {"visual_train__init": "null", "encoder__s3d__freeze_blocks": 0, "visual_train__training__epochs": 1}
    recipe = toy.recipe(visual_train__vocabulary=file, runs_dir=tmp_path / "runs", **scratch)
    visual_train(recipe, device="cpu")
    assert list(GlossVocabulary.load(recipe.encoder_folder / "glosses.json")) == names
    assert f"{glosses.count(glosses[0])} glosses of training clips are no classes and become <unk>" in caplog.text
