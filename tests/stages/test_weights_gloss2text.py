"""A published Gloss2Text becomes a run from which translators start, and which evaluation decodes."""

import pytest
import torch
from published_weights import write_checkpoint
from stage_tools import weights
from test_mbart_folder import recipe_on_folder

from slt_pipeline.config.recipe import Recipe, load_recipe
from slt_pipeline.files import read_json
from slt_pipeline.systems.start import published_vocabularies
from slt_pipeline.systems.translator import build_gloss2text

COPIES = ("lm_head", "model.encoder.embed_tokens", "model.decoder.embed_tokens")


def as_published(state):
    """The state of Gloss2Text under its published names."""
    found = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        found[f"translation_network.{'model' if part == 'mbart' else 'gloss_embedding'}.{rest}"] = value.clone()
    shared = found["translation_network.model.model.shared.weight"]
    return found | {f"translation_network.model.{name}.weight": shared.clone() for name in COPIES}


@pytest.fixture
def recipe(toy, tmp_path) -> Recipe:
    return load_recipe(str(recipe_on_folder(toy, tmp_path)))


@pytest.fixture
def state(recipe):
    torch.manual_seed(5)
    return build_gloss2text(recipe, published_vocabularies(recipe)).state_dict()


def test_translators_start_from_it_and_evaluation_decodes_it(recipe, state, tmp_path, slt):
    checkpoint, file = write_checkpoint(tmp_path / "g2t.ckpt", as_published(state)), tmp_path / "theirs.yaml"
    run = slt("weights", "import", checkpoint, "-r", file)
    assert run.status == 0, run.err
    assert "is gloss2text; " in run.out and "bleu4 12.5 at step 90" in run.out
    assert all(torch.equal(value, state[name]) for name, value in weights(recipe, "gloss2text_train").items())
    scored = slt("evaluate", "-r", file, "-o", "evaluate.tasks=[gloss2text, sign2gloss2text]", "--device", "cpu")
    assert scored.status == 0, scored.err
    trained = slt("translate-train", "-r", file, "--device", "cpu")
    assert trained.status == 0, trained.err
    said = read_json(recipe.run_folder("translate_train") / "inputs.json")
    best = read_json(recipe.run_folder("gloss2text_train") / "checkpoints" / "step-00000090" / "meta.json")
    assert said["language"] == best["weights"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gloss_embedding.weight", torch.ones(3, 16), "number of rows of the gloss table 3, the recipe"),
        ("model.model.encoder.layer_norm.bias", None, "1 missing (mbart.model.encoder.layer_norm.bias)"),
        ("model.model.encoder.layer_norm.bias", torch.ones(3), "1 of another shape (translation_network.model"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(recipe, state, tmp_path, slt, name, value, message):
    theirs = as_published(state)
    theirs.pop(f"translation_network.{name}")
    if value is not None:
        theirs[f"translation_network.{name}"] = value
    run = slt("weights", "import", write_checkpoint(tmp_path / "g2t.ckpt", theirs), "-r", tmp_path / "theirs.yaml")
    assert (run.status, run.out, run.err.count("\n")) == (2, "", 1)
    assert message in run.err
    assert not recipe.run_folder("gloss2text_train").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["text.order=backward"], "has text.order backward, published weights forward; set -o text.order=forward"),
        (["translator.gloss_input=pieces"], "has translator.gloss_input pieces, published weights vectors"),
        (
            ["translator.gloss_input=pieces", "translator.direction=text2gloss", "evaluate.tasks=[text2gloss]"],
            "has translator.direction text2gloss, published weights gloss2text",
        ),
    ],
)
def test_weights_that_read_or_write_otherwise_are_refused(recipe, state, tmp_path, slt, changes, message):
    checkpoint = write_checkpoint(tmp_path / "g2t.ckpt", as_published(state))
    given = [part for change in changes for part in ("-o", change)]
    run = slt("weights", "import", checkpoint, "-r", tmp_path / "theirs.yaml", *given)
    assert (run.status, run.err.count("\n")) == (2, 1)
    assert message in run.err
    assert not recipe.run_folder("gloss2text_train").exists()
