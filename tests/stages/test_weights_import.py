"""A published translator becomes a run that opens, evaluates and translates as a trained one does."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from published_weights import Calls, as_published, write_checkpoint
from stage_tools import refusal
from test_mbart_folder import recipe_on_folder

from slt_pipeline.config.recipe import Recipe, load_recipe, with_values
from slt_pipeline.errors import SltError
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.stages.weights_import import Said, weights_import
from slt_pipeline.systems.features import open_features, widths_of
from slt_pipeline.systems.start import Start
from slt_pipeline.systems.tasks import Systems
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import list_checkpoints

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Published:
    """A recipe that uses the toy's encoder and store, its mBART folder, and a checkpoint."""

    file: Path
    recipe: Recipe
    checkpoint: Path
    weights: dict[str, torch.Tensor]


@pytest.fixture
def published(toy, tmp_path) -> Published:
    file = recipe_on_folder(
        toy,
        tmp_path,
        translator={"system": "cvslt", "head": "trained", "latent": 4},
        translate_train={"objective": {"prior": 1, "posterior": 1, "gaussian_kl": 1, "output_kl": 1, "recognition": 0}},
        evaluate={"tasks": ["sign2gloss", "sign2text"], "splits": ["dev"]},
    )
    recipe = load_recipe(str(file))
    torch.manual_seed(5)
    weights = Start.of_published(recipe).build(widths_of(open_features(recipe))).state_dict()
    return Published(file, recipe, write_checkpoint(tmp_path / "a.ckpt", as_published(weights)), weights)


def test_the_run_opens_evaluates_and_translates_like_a_trained_one(toy, published, slt):
    imported = slt("weights", "import", published.checkpoint, "-r", published.file)
    assert (imported.status, "bleu4 12.5 at step 90" in imported.out) == (0, True), imported.err
    run = published.recipe.run_folder("translate_train")
    opened = Systems(published.recipe, CPU).sign2text.model.state_dict()
    assert all(torch.equal(opened[name], value) for name, value in published.weights.items())
    evaluated = slt("evaluate", "--run", run, "--oracle")
    assert evaluated.status == 0, evaluated.err
    assert {"sign2gloss", "sign2text", "oracle"} <= set(evaluated.out.replace("(oracle)", "oracle").split())
    translated = slt("translate", toy.video(toy.of("test")[0]), "-r", published.file)
    assert translated.status == 0, translated.err
    assert list_checkpoints(run / "checkpoints")[0].meta["step"] == 90


def test_training_does_not_take_it_for_its_own(published):
    weights_import(published.recipe, published.checkpoint)
    from_nothing = {"translate_train.init_head": None, "translate_train.init_language": None}
    told = refusal(translate_train, with_values(published.recipe, from_nothing))
    assert "was made with imported = " in told and "--overwrite" in told


def test_nothing_changes_until_the_weights_fit(published, slt, tmp_path):
    kept = weights_import(published.recipe, published.checkpoint)
    mark, run = tmp_path / "mark", published.recipe.run_folder("translate_train")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    hostile = write_checkpoint(tmp_path / "b.ckpt", {}, optimizer_state=Calls(os.system, f"touch {mark}"))
    state = as_published(published.weights)
    lacking = write_checkpoint(tmp_path / "c.ckpt", {key: state[key] for key in state if "mapping.0.b" not in key})
    for checkpoint, message in (
        (hostile, f"refused: it asks for {os.system.__module__}.system"),
        (lacking, "1 missing (translator.mapper.mapping.0.bias)"),
    ):
        ended = slt("weights", "import", checkpoint, "-r", published.file, "--overwrite")
        assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
        assert message in ended.err
    assert not mark.exists()
    assert {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()} == before
    assert weights_import(published.recipe, published.checkpoint) == kept


def test_another_checkpoint_needs_overwrite(published, tmp_path):
    weights_import(published.recipe, published.checkpoint)
    other = write_checkpoint(tmp_path / "b.ckpt", as_published(published.weights), global_step=91)
    with pytest.raises(SltError, match=r"was made with imported = .*--overwrite"):
        weights_import(published.recipe, other)
    assert weights_import(published.recipe, other, overwrite=True)["best_step"] == 91
    run = published.recipe.run_folder("translate_train")
    assert [path.name for path in run.parent.iterdir()] == [run.name]  # the first one is gone for good


def test_gloss_classes_may_be_a_published_table(published, tmp_path):
    classes = Start.of_published(published.recipe).classes
    table = tmp_path / "gloss2ids.pkl"
    table.write_bytes(pickle.dumps({name: number for number, name in enumerate(classes)}))
    orphan = with_values(published.recipe, {"uses.encoder": None, "extract.store": str(published.recipe.store)})
    with pytest.raises(SltError, match="name the published table with --gloss-classes"):
        weights_import(orphan, published.checkpoint)
    weights_import(orphan, published.checkpoint, said=Said(classes=table))
    assert GlossVocabulary.load(orphan.run_folder("translate_train") / "glosses.json") == classes
    table.write_bytes(pickle.dumps({name: number for number, name in enumerate([*classes, "more"])}))
    with pytest.raises(SltError, match=rf"has number of gloss classes {len(classes)}, the recipe {len(classes) + 1}"):
        weights_import(orphan, published.checkpoint, said=Said(classes=table), overwrite=True)
    table.write_bytes(pickle.dumps(Calls(os.system, f"touch {tmp_path / 'mark'}")))
    with pytest.raises(SltError, match="refused: it asks for"):
        weights_import(orphan, published.checkpoint, said=Said(classes=table), overwrite=True)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"translator.head": "stored"}, "set -o translator.head=trained"),
        ({"text.tokenizer": None}, "trains a tokenizer of its own"),
        ({"translator.latent": 5}, "has translator.latent 4, the recipe 5; set -o translator.latent=4"),
        ({"translator.combine": "none"}, r"2 unexpected \(translation_network.gaussian_net.ln.weight"),
        ({"translator.attention": "separate"}, "set -o translator.attention=shared"),
    ],
)
def test_a_recipe_that_says_otherwise_is_refused(published, changes, message):
    with pytest.raises(SltError, match=message):
        weights_import(with_values(published.recipe, changes), published.checkpoint)
    assert not published.recipe.run_folder("translate_train").exists()


def test_a_dry_run_writes_nothing(published, slt):
    shown = slt("weights", "import", published.checkpoint, "-r", published.file, "--dry-run").out
    assert f"# reads weights: {published.checkpoint}\n" in shown
    assert f"# writes run: {published.recipe.run_folder('translate_train')}\n" in shown
    assert not Path(published.recipe.runs_dir).exists()
