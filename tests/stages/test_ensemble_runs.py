"""Several trained runs that write every text together: `slt evaluate --ensemble`."""

import pytest
from stage_tools import rows

from slt_pipeline.files import read_json


@pytest.fixture
def second(own, stages, tmp_path):
    """A second run of a stage, with another seed, in a folder of its own; the tokenizer is that of the same texts."""

    def run(stage: str, **values):
        recipe = own.recipe(seed=5, runs_dir=str(tmp_path / "second"), **values)
        stages[stage](recipe, device="cpu")
        return recipe.run_folder(stage)

    return run


def test_gloss2text_runs_write_together_and_leave_their_own_scores_alone(own, second, slt):
    first, other = own.recipe().run_folder("gloss2text_train"), second("gloss2text_train")
    assert slt("evaluate", "--run", first, "--split", "dev").status == 0
    assert slt("evaluate", "--ensemble", f"{first},{other}", "--split", "dev").status == 0
    (row,) = read_json(first / "evaluate" / "ensemble" / "scores.json")
    (single,) = read_json(first / "evaluate" / "scores.json")
    assert row["task"] == single["task"] == "gloss2text"
    assert row["checkpoints"].keys() == {"language", "language 2"}
    assert row["checkpoints"]["language"] == single["checkpoints"]["language"] != row["checkpoints"]["language 2"]


def test_a_run_together_with_itself_scores_as_alone(own, stages):
    folder = own.recipe().run_folder("translate_train")
    alone = rows(stages["evaluate"](own.recipe(), device="cpu", run=folder, tasks=["sign2text"]))
    twice = rows(stages["evaluate"](own.recipe(), device="cpu", run=folder, others=[folder], tasks=["sign2text"]))
    assert {key: row["bleu4"] for key, row in twice.items()} == {key: row["bleu4"] for key, row in alone.items()}


def test_runs_with_other_pieces_of_text_are_refused(own, second, slt):
    first, other = own.recipe().run_folder("gloss2text_train"), second("gloss2text_train", text__vocab_size=60)
    ended = slt("evaluate", "--ensemble", f"{first},{other}")
    assert ended.status == 2
    assert "member 2 of the ensemble has other pieces of text" in ended.err


@pytest.mark.parametrize(("runs", "message"), [("{0}", "is one run"), ("{0},nowhere", "nowhere is no run folder")])
def test_an_ensemble_is_two_runs_or_more_that_are_there(own, slt, runs, message):
    ended = slt("evaluate", "--ensemble", runs.format(own.recipe().run_folder("gloss2text_train")))
    assert ended.status == 2
    assert message in ended.err


def test_translators_of_signs_are_no_ensemble_of_gloss2text(own, slt):
    folder = own.recipe().run_folder("translate_train")
    ended = slt("evaluate", "--ensemble", f"{folder},{folder}", "--task", "gloss2text")
    assert ended.status == 2
    assert "one of translators of signs, and Gloss2Text is none of them" in ended.err
