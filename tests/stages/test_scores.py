"""A trained thing is opened once, decodes a split once, and a number keeps what it is a number of."""

import json
import re
import shutil
from pathlib import Path

import pytest
from stage_tools import rows

from slt_pipeline.files import file_hash
from slt_pipeline.models import language
from slt_pipeline.models.taps import HeadFront
from slt_pipeline.models.translator import Translator
from slt_pipeline.systems import tasks
from slt_pipeline.systems.predictions import read_predictions
from slt_pipeline.training.checkpoint import Checkpoint, best_checkpoint


@pytest.fixture
def counted(monkeypatch):
    """How often a function or method is called from now on."""

    def count(owner, name: str) -> list[int]:
        calls, function = [], getattr(owner, name)

        def call(*arguments, **options):
            calls.append(1)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, call)
        return calls

    return count


def test_every_model_is_opened_once_and_every_split_searched_once(toy, stages, counted):
    built, opened = counted(language, "build_mbart"), counted(Checkpoint, "load_model")
    searched, decoded = counted(tasks, "recognise"), counted(Translator, "generate")
    assert len(stages["evaluate"](toy.recipe(), device="cpu")["rows"]) == 8
    assert (len(built), len(opened)) == (2, 2)  # Gloss2Text and Sign2Text
    assert len(searched) == 2  # Sign2Gloss and Sign2Gloss2Text read one search, of dev and of test
    assert len(decoded) == 6  # three tasks write text, of two splits of one batch


def test_a_head_runs_once_a_batch_for_all_tasks(own, stages, counted):
    recipe = own.recipe(translator__head="trained", translate_train__training__epochs=1)
    stages["translate_train"](recipe, device="cpu", overwrite=True)
    built, headed, searched = (
        counted(*where) for where in ((language, "build_mbart"), (HeadFront, "forward"), (tasks, "recognise"))
    )
    assert len(stages["evaluate"](recipe, device="cpu")["rows"]) == 8
    assert (len(built), len(headed), len(searched)) == (2, 2, 2)


def test_a_task_that_needs_no_store_opens_none(own, stages, monkeypatch):
    monkeypatch.setattr(tasks, "open_features", None)
    recipe = own.recipe(evaluate__tasks="[gloss2text]")
    assert rows(stages["evaluate"](recipe, device="cpu")).keys() == {("gloss2text", "dev"), ("gloss2text", "test")}


def test_every_row_says_what_it_is_a_number_of(toy):
    best = {
        name: best_checkpoint(toy.recipe().run_folder(stage), made_by="").weights_hash[:12]
        for name, stage in (
            ("encoder", "visual_train"),
            ("language", "gloss2text_train"),
            ("translator", "translate_train"),
        )
    }
    used = {
        "sign2gloss": ["encoder"],
        "gloss2text": ["language"],
        "sign2gloss2text": ["encoder", "language"],
        "sign2text": ["translator"],
    }
    for (task, split), row in rows(toy.results["evaluate"]).items():
        assert row["protocol"] == "plain-word"
        assert re.fullmatch("[0-9a-f]{12}", row["recipe"])
        assert row["checkpoints"] == {name: best[name] for name in used[task]}
        assert row["clips"] == file_hash(Path(toy.recipe().corpus.manifest))[:12]
        assert row["protocol_version"] == 2
        assert row["signature"]["wer"] == "case:upper|cleanup:none|costs:1/1/1|by:jiwer|version:4.0.0"
        written = toy.recipe().run_folder("evaluate") / f"{task}-{split}.jsonl"
        assert row["predictions"] == read_predictions(written).digest


def test_a_row_names_the_same_recipe_whatever_is_asked_for_beside_it(own, stages):
    expected = rows(stages["evaluate"](own.recipe(), device="cpu"))["sign2text", "dev"]["recipe"]
    alone = {"evaluate__tasks": "[sign2text]", "evaluate__splits": "[dev]", "seed": 99, "evaluate__batch_size": 1}
    others = {"text__gloss_splits": "[train, dev]"}
    same, other = (stages["evaluate"](own.recipe(**alone, **more), device="cpu") for more in ({}, others))
    assert rows(same)["sign2text", "dev"]["recipe"] == expected
    assert rows(other)["sign2text", "dev"]["recipe"] != expected


def test_scoring_one_task_on_one_split_keeps_the_other_rows(own, slt):
    path = own.recipe().run_folder("evaluate") / "scores.json"
    before = rows({"rows": json.loads(path.read_text())})
    chosen = ("--task", "sign2text", "--split", "test", "-o", "corpus.protocol=plain-char")
    run = slt("evaluate", "-r", own.file, "--device", "cpu", *chosen, "-o", "evaluate.generation.max_length=3")
    assert (run.status, run.err) == (0, "")
    after = rows({"rows": json.loads(path.read_text())})
    assert list(after) == list(before)
    assert len(after) == 8
    assert [key for key, row in after.items() if row != before[key]] == [("sign2text", "test")]
    row, old = after["sign2text", "test"], before["sign2text", "test"]
    assert (row["protocol"], old["protocol"]) == ("plain-char", "plain-word")
    assert row["recipe"] != old["recipe"]
    assert row["checkpoints"] == old["checkpoints"]


def test_scores_on_another_manifest_are_told_from_those_beside_them(own, slt, tmp_path):
    path = own.recipe().run_folder("evaluate") / "scores.json"
    lines = Path(own.recipe().corpus.manifest).read_text().splitlines(keepends=True)
    other = Path(own.recipe().corpus.manifest).with_name("other.jsonl")
    other.write_text("".join(line for line in lines if '"test"' not in line or line is lines[-1]))
    chosen = ("--task", "sign2text", "--split", "test", "-o", f"corpus.manifest={other}")
    run = slt("evaluate", "-r", own.file, "--device", "cpu", *chosen)
    assert run.status == 0
    assert f"{path} has scores on another manifest (" in run.err
    assert "sign2text test" in run.err
    row = rows({"rows": json.loads(path.read_text())})["sign2text", "test"]
    assert row["clips"] == file_hash(other)[:12]


def test_what_is_refused_leaves_the_recipe_beside_earlier_scores_as_it_is(own, slt):
    folder = own.recipe().run_folder("evaluate")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for task in (("--task", "gloss2text", "--task", "sign2text"), ("--oracle",)):
        ended = slt("evaluate", "-r", own.file, *task, "-o", "translator.mapper.input=gloss_logits")
        assert ended.status == 2
        assert "translator.mapper.input" in ended.err
    assert slt("evaluate", "-r", own.file, "--oracle").status == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_translator_that_is_missing_is_told_before_other_tasks_are_decoded(own, slt):
    recipe = own.recipe()
    shutil.rmtree(recipe.run_folder("evaluate"))
    recipe.run_folder("translate_train").rename(recipe.run_folder("joint_train"))
    ended = slt("evaluate", "-r", own.file)
    assert ended.status == 2
    assert (
        f"no trained weights in {recipe.run_folder('translate_train')}; make them with `slt translate-train`"
        in ended.err
    )
    assert f"or name the joint run with --run {recipe.run_folder('joint_train')}" in ended.err
    assert not recipe.run_folder("evaluate").exists()


@pytest.mark.parametrize(
    ("in_the_way", "message"),
    [
        ("", "evaluate/scores.json: cannot be written: .*evaluate is no folder"),
        ("scores.json", "evaluate/scores.json is a folder; name a file"),
        ("gloss2text-dev.jsonl", "evaluate/gloss2text-dev.jsonl is a folder; name a file"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_decoded(own, slt, monkeypatch, in_the_way, message):
    folder = own.recipe().run_folder("evaluate")
    shutil.rmtree(folder)
    if in_the_way:
        (folder / in_the_way).mkdir(parents=True)
    else:
        folder.write_text("somebody's")
    monkeypatch.setattr(tasks.Systems, "decode", lambda *_: pytest.fail("decoded"))
    ended = slt("evaluate", "-r", own.file, "--task", "gloss2text", "--split", "dev")
    assert ended.status == 2
    assert re.search(message, ended.err)


def test_a_sweep_is_no_run_and_says_so(own, slt):
    folder = next(own.recipe().run_folder("sweep").iterdir())
    ended = slt("evaluate", "--run", folder)
    assert ended.status == 2
    assert "is a sweep; name the folder of one of its runs" in ended.err


def test_a_new_split_is_a_new_row(own, stages):
    path = own.recipe().run_folder("evaluate") / "scores.json"
    stages["evaluate"](own.recipe(evaluate__tasks="[sign2gloss]", evaluate__splits="[train]"), device="cpu")
    assert len(json.loads(path.read_text())) == 9
