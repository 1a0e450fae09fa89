"""Gloss2Text with a GPT-2 as a stage: it learns, goes on after a kill, is evaluated, and reads no signs."""

from pathlib import Path

import pytest
import torch
from gloss_corpus import GlossCorpus, trained_on
from stage_tools import CPU, KilledError, refusal, rows, weights

from slt_pipeline.config.recipe import with_values
from slt_pipeline.stages.confidence import confidence
from slt_pipeline.stages.evaluate import evaluate
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.stages.translate import Translate
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.training.checkpoint import list_checkpoints
from slt_pipeline.training.objective import Objective

STAGE = "gloss2text_train"
SHORT = {"gloss2text_train__training__epochs": 4, "gloss2text_train__training__validate_every": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> GlossCorpus:
    return trained_on(tmp_path_factory.mktemp("glosses"))


def test_it_learns_eight_sentences_and_opens_from_its_run(trained):
    folder = trained.recipe().run_folder(STAGE)
    assert rows(evaluate(trained.recipe(), device="cpu", run=folder))["gloss2text", "dev"]["bleu4"] == pytest.approx(
        100
    )
    opened = open_gloss2text(trained.recipe(), CPU)
    assert opened.translate([("SCHNEE", "OSTEN")], trained.recipe().evaluate.generation, 8) == [
        "im osten gibt es schnee ."
    ]
    assert (folder / "gpt2.json").is_file() and not (folder / "mbart.json").exists()


def test_killed_on_the_way_it_goes_on_to_the_same_weights(trained, tmp_path, monkeypatch):
    values = {**SHORT, "translator__gloss_input": "pieces", "gloss2text_train__regularise__agreement": 1}
    recipes = [trained.recipe(runs_dir=tmp_path / name, **values) for name in ("whole", "killed")]
    gloss2text_train(recipes[0], device="cpu")
    often = with_values(recipes[1], {f"{STAGE}.training.checkpoint_minutes": 1e-9})
    total, steps = Objective.total, []

    def killed_in_the_sixth(*of_step):
        steps.append(1)
        if len(steps) == 6:
            raise KilledError
        return total(*of_step)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "total", killed_in_the_sixth)
        with pytest.raises(KilledError):
            gloss2text_train(often, device="cpu")
    assert list_checkpoints(recipes[1].run_folder(STAGE) / "checkpoints")[-1].meta["step"] == 5
    gloss2text_train(recipes[1], device="cpu")
    one, other = (weights(recipe, STAGE) for recipe in recipes)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_writes_together_with_an_mbart_of_the_same_pieces(trained, slt):
    folders = [trained.recipe(model).run_folder(STAGE) for model in ("gpt2", "mbart")]
    ended = slt("evaluate", "--ensemble", ",".join(map(str, folders)))
    assert ended.status == 0
    assert "gloss2text" in ended.out and "100.00" in ended.out


def test_what_reads_signs_is_refused_in_one_line(trained, slt):
    recipe, file = trained.recipe(), trained.file()
    expected = "translator.language_model is gpt2, which reads glosses alone"
    assert expected in refusal(translate_train, recipe)
    for command in (
        ("joint-train", "-r", file),
        ("evaluate", "-r", file, "--task", "sign2text"),
        ("evaluate", "--run", recipe.run_folder(STAGE), "--task", "sign2text"),
        ("confidence", "-r", file),
        ("confidence", "--run", recipe.run_folder(STAGE)),
        ("sweep", "-r", file),
        ("translate", "no.mp4", "-r", file),
        ("translate", "no.mp4", "--run", recipe.run_folder(STAGE)),
    ):
        ended = slt(*command)
        assert ended.status == 2 and expected in ended.err and ended.err.count("\n") == 1, command


def test_a_run_of_gloss2text_translates_no_video_and_says_so(trained):
    recipe = trained.recipe("mbart")
    found = refusal(Translate, recipe, run=recipe.run_folder(STAGE))
    assert "holds no translator of signs" in found
    assert found == refusal(confidence, recipe, run=recipe.run_folder(STAGE))
    assert found == refusal(evaluate, recipe, run=recipe.run_folder(STAGE), tasks=["sign2text"])


def test_a_gpt2_and_an_mbart_are_not_taken_for_each_other(trained, slt):
    run = trained.recipe().run_folder(STAGE)
    for values, expected in (
        ({"translator.language_model": "mbart"}, "language_model.language_model = 'gpt2', but now it is 'mbart'"),
        ({"translator.gpt2.num_layers": 2}, "language_model.gpt2.num_layers = 1, but now it is 2"),
        ({"translator.mbart.num_layers": 2}, "translator.mbart.num_layers = 2 does nothing"),
    ):
        options = [part for key, value in values.items() for part in ("-o", f"{key}={value}")]
        for command in (("gloss2text-train", "-r", trained.file()), ("evaluate", "--run", run)):
            ended = slt(*command, *options)
            assert ended.status == 2 and expected in ended.err, ended.err


def test_a_text_that_has_no_room_behind_its_glosses_is_found_before_training(trained, tmp_path):
    letters = {"text__vocab_size": 30, "translator__gloss_input": "pieces", "translator__gpt2__max_positions": 24}
    found = refusal(gloss2text_train, trained.recipe(runs_dir=tmp_path, **letters))
    assert "steps with a text, GPT-2 has 24 positions" in found and "raise translator.gpt2.max_positions" in found
    assert not list(Path(tmp_path).rglob("checkpoints"))
