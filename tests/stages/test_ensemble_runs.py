"""Several trained runs that write every text together: `slt evaluate --ensemble`."""

import shutil
import threading
import time

import pytest
from stage_tools import change_json, rows

from slt_pipeline.files import read_json, write_json
from slt_pipeline.systems import scored_runs
from slt_pipeline.systems.scored_runs import begin_folder
from slt_pipeline.training.checkpoint import best_checkpoint


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
    assert f"member 2 of the ensemble, {other}, has other pieces of text" in ended.err
    assert not (first / "evaluate").exists()  # so that the next one is not the second


@pytest.mark.parametrize(("runs", "message"), [("{0}", "is one run"), ("{0},nowhere", "nowhere is no run folder")])
def test_an_ensemble_is_two_runs_or_more_that_are_there(own, slt, runs, message):
    ended = slt("evaluate", "--ensemble", runs.format(own.recipe().run_folder("gloss2text_train")))
    assert ended.status == 2
    assert message in ended.err


def test_translators_of_signs_are_no_ensemble_of_gloss2text(own, slt):
    folder = own.recipe().run_folder("translate_train")
    copy = shutil.copytree(folder, folder.with_name("copy"))
    ended = slt("evaluate", "--ensemble", f"{folder},{copy}", "--task", "gloss2text")
    assert ended.status == 2
    assert "one of translators of signs, and Gloss2Text is none of them" in ended.err


def test_a_run_that_is_named_twice_is_refused_and_so_is_a_recipe_beside_runs(own, slt):
    folder = own.recipe().run_folder("gloss2text_train")
    ended = slt("evaluate", "--ensemble", f"{folder},{folder.parent}/./{folder.name}")
    assert ended.status == 2
    assert "gloss2text_train twice; name other runs" in ended.err
    ended = slt("evaluate", "-r", own.file, "--ensemble", f"{folder},{folder.parent}")
    assert ended.status == 2
    assert "--ensemble brings the recipe of its first run: leave out --recipe" in ended.err


@pytest.mark.parametrize("stage", ["gloss2text_train", "translate_train"])
def test_a_member_that_was_trained_on_another_manifest_is_told(own, slt, stage):
    folder = own.recipe().run_folder(stage)
    other = shutil.copytree(folder, folder.with_name("other"))
    inputs = read_json(other / "inputs.json")
    write_json(other / "inputs.json", {**inputs, "clips": "of another corpus"})
    ended = slt("evaluate", "--ensemble", f"{folder},{other}", "--split", "dev")
    assert ended.status == 0
    assert f"{other} was trained on another manifest than {folder}" in ended.err


def test_every_set_of_members_has_scores_of_its_own(own, slt):
    first = own.recipe().run_folder("gloss2text_train")
    second, third = (shutil.copytree(first, first.with_name(name)) for name in ("second", "third"))
    together = [f"{first},{second}", f"{first},{third},{second}", f"{first},{second},{third}"]
    for members, split in zip((*together, together[0]), ("dev", "dev", "test", "test"), strict=True):
        assert slt("evaluate", "--ensemble", members, "--split", split).status == 0
    assert sorted(path.name for path in (first / "evaluate").iterdir()) == ["ensemble", "ensemble-2"]
    for folder, size in (("ensemble", 2), ("ensemble-2", 3)):
        scores = read_json(first / "evaluate" / folder / "scores.json")
        assert [row["split"] for row in scores] == ["dev", "test"]
        assert all(len(row["checkpoints"]) == size for row in scores)
        assert len(read_json(first / "evaluate" / folder / "members.json")) == size


def test_sets_of_members_that_begin_at_the_same_time_have_folders_of_their_own(tmp_path, monkeypatch):
    runs, begun = [tmp_path / name for name in ("a", "b", "c")], []
    look = scored_runs.folder_of

    def look_long(*given):
        found = look(*given)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(scored_runs, "folder_of", look_long)
    each = [
        threading.Thread(target=lambda other=other: begun.append(begin_folder(tmp_path / "ensemble", [runs[0], other])))
        for other in runs[1:]
    ]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()
    assert sorted(folder.name for folder in begun) == ["ensemble", "ensemble-2"]
    assert {read_json(folder / "members.json")[1] for folder in begun} == {str(run) for run in runs[1:]}


def test_outputs_that_were_cut_since_they_were_scored_are_told(own, slt):
    folder, said = own.recipe().run_folder("evaluate"), "is not what was scored beside it: its lines have the hash"
    for outputs in sorted(folder.glob("*.jsonl")):
        whole = outputs.read_text(encoding="utf-8")
        assert said not in slt("score", outputs).err
        outputs.write_text(whole.partition("\n")[0] + "\n", encoding="utf-8")
        assert said in slt("score", outputs).err
    assert said in slt("compare", folder, folder, "--split", "dev").err


@pytest.mark.parametrize("of", ["recipe", "run"])
def test_outputs_of_an_encoder_that_was_trained_anew_since_are_told(own, joint, slt, tmp_path, of):
    if of == "recipe":
        folder = own.recipe().run_folder("visual_train")
        evaluated = folder.parent / "evaluate"
    else:
        folder = shutil.copytree(joint.folder, tmp_path / "joint_train")
        evaluated = folder / "evaluate"
    outputs = next(evaluated.glob("sign2gloss-*.jsonl"))
    assert "has been trained to" not in slt("score", outputs).err
    change_json(best_checkpoint(folder, "slt").folder / "meta.json", lambda meta: meta.update(weights="0" * 64))
    assert f"{folder} has been trained to 000000000000 since" in slt("score", outputs).err


@pytest.mark.parametrize("of", ["recipe", "ensemble"])
def test_outputs_of_a_run_that_was_trained_anew_since_are_told(own, stages, slt, of):
    folder = own.recipe().run_folder("translate_train")
    copy = shutil.copytree(folder, folder.with_name("copy"))
    named = {"recipe": ("-r", own.file), "ensemble": ("--ensemble", f"{copy},{folder}")}
    assert slt("evaluate", *named[of], "--task", "sign2text", "--split", "dev").status == 0
    scores = {"recipe": folder.parent, "ensemble": copy / "evaluate" / "ensemble"}[of]
    outputs = next(scores.rglob("sign2text-dev.jsonl"))
    assert "has been trained to" not in slt("score", outputs).err + slt("compare", scores, scores).err
    stages["translate_train"](own.recipe(seed=7), device="cpu", overwrite=True)
    for command in (("score", outputs), ("compare", scores, scores, "--split", "dev")):
        ended = slt(*command)
        assert ended.status == 0
        assert f"{folder} has been trained to" in ended.err
