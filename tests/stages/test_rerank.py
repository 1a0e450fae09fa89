"""Judges of what Gloss2Text writes: Text2Gloss, runs that write backward, and `evaluate.rerank`."""

import math
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stage_tools import CPU, change_json, refusal

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.gloss_text import turned
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines, write_json
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.systems.decoded import Decoded
from slt_pipeline.systems.predictions import read_predictions, write_predictions
from slt_pipeline.systems.rerank import Judged, Points, Reranked, chosen_points, outputs_of
from slt_pipeline.systems.translator import open_gloss2text

GLOSSES = {"translator__direction": "text2gloss", "translator__gloss_input": "pieces"}
BACKWARD = {"text__order": "backward"}


@pytest.fixture(scope="module")
def judges(toy, tmp_path_factory):
    """The recipes of a trained Text2Gloss, and of a Gloss2Text that writes backward."""
    root = tmp_path_factory.mktemp("judges")
    recipes = {
        name: toy.recipe(seed=seed, runs_dir=root / name, **values)
        for seed, (name, values) in enumerate({"glosses": GLOSSES, "backward": BACKWARD}.items())
    }
    for recipe in recipes.values():
        gloss2text_train(recipe, device="cpu")
    return recipes


@pytest.fixture
def folders(judges):
    """Their runs."""
    return [recipe.run_folder("gloss2text_train") for recipe in judges.values()]


def asked(folders, weights=(0.5, 0.25), per_piece=0.5, **generation):
    """The recipe's keys with which these runs judge."""
    settings = {"num_beams": 4, "max_length": 12, **generation}
    given = f", weights: {list(weights)}, per_piece: {per_piece}" if weights else ""
    rerank = f"{{runs: [{', '.join(map(str, folders))}]{given}}}"
    return {"evaluate__generation": settings, "evaluate__rerank": rerank}


def overrides(**values):
    return [part for key, value in values.items() for part in ("-o", f"{key.replace('__', '.')}={value}")]


def test_text2gloss_reads_words_and_writes_the_names_of_glosses(judges, slt):
    folder = judges["glosses"].run_folder("gloss2text_train")
    assert slt("evaluate", "--run", folder, "--split", "dev").status == 0
    (row,) = read_json(folder / "evaluate" / "scores.json")
    assert row["task"] == "text2gloss"
    for line in read_json_lines(folder / "evaluate" / "text2gloss-dev.jsonl"):
        assert line["reference"] == line["reference"].lower()
        assert line["source"].endswith(" .") and not line["reference"].endswith(" .")
    assert turned(["JETZT", "WETTER"], "nun das  wetter .") == (("nun", "das", "wetter", "."), "jetzt wetter")


def test_a_text_that_is_written_backward_is_read_forward(judges, folders, slt):
    assert slt("evaluate", "--run", folders[1], "--split", "train").status == 0
    system = open_gloss2text(judges["backward"], CPU)
    text = system.vocabularies.text
    labels = text.encode_target(["morgen regen ."]).labels[0].tolist()
    assert labels[: labels.index(text.eos_id)] == text.encode("morgen regen .")[::-1]
    lines = read_json_lines(folders[1] / "evaluate" / "gloss2text-train.jsonl")
    assert all(line["hypothesis"].endswith(".") for line in lines)  # written first, since there is no room for all


def test_the_text_of_most_points_is_chosen_and_the_points_are_the_sum(own, judges, folders, stages):
    first = own.recipe().run_folder("gloss2text_train")
    recipe = own.recipe(evaluate__num_best=4, **asked(folders))
    stages["evaluate"](recipe, device="cpu", run=first, tasks=["gloss2text"])
    systems = [open_gloss2text(each, CPU) for each in (own.recipe(), *judges.values())]
    lines = read_json_lines(first / "evaluate" / "reranked" / "gloss2text-test.jsonl")
    assert any(len(line["nbest"]) > 1 for line in lines)
    for line in lines:
        texts = [each["text"] for each in line["nbest"]]
        assert len(set(texts)) == len(texts)
        known = [system.log_probs([line["gloss_reference"]] * len(texts), texts, 3) for system in systems]
        pieces = [len(systems[0].vocabularies.text.encode(text)) for text in texts]
        points = [a + 0.5 * b + 0.25 * c + 0.5 * n for a, b, c, n in zip(*known, pieces, strict=True)]
        assert points == pytest.approx([each["score"] for each in line["nbest"]], abs=1e-3)
        assert points == sorted(points, reverse=True)
        assert line["hypothesis"] == texts[0]


def test_a_log_probability_is_the_search_s_own(own):
    system = open_gloss2text(own.recipe(), CPU)
    generation = own.recipe(
        evaluate__generation="{num_beams: 4, max_length: 40, length_penalty: 0}"
    ).evaluate.generation
    rows = [("MORGEN", "REGEN"), ("NORD",)]
    found = system.outputs(rows, generation, 8, num_best=4)
    for signed, best in zip(rows, found.nbest, strict=True):
        texts = [each.text for each in best]
        told = system.log_probs([signed] * 4, texts, 2)
        again = [system.vocabularies.text.round_trip(text) == text for text in texts]
        assert any(again)
        for value, each in zip(told, best, strict=True):
            assert value == pytest.approx(each.score, abs=1e-3) or value < each.score  # other pieces, the same text


def test_what_has_no_position_has_no_probability(own, judges):
    for recipe in (own.recipe(), judges["glosses"]):
        system = open_gloss2text(recipe, CPU)
        found = system.log_probs([("REGEN",)] * 2, ["regen .", "regen " * 100], 4)
        assert math.isfinite(found[0]) and found[1] == -math.inf


def test_outputs_with_a_text_that_a_judge_has_no_position_for_are_read_again(tmp_path):
    beams = [Judged("regen .", (-1.0, -2.0), 2), Judged("regen regen .", (-1.0, -math.inf), 3)]
    clip = Clip("a", "a.mp4", 8, 25.0, "s", ("REGEN",), "regen .", "dev")
    found = outputs_of([beams], Points((0.5,), 0.0), num_best=2)
    write_predictions(tmp_path, "gloss2text-dev", Decoded("gloss2text", [clip], found.texts, {}, found.nbest).lines())
    (line,) = read_predictions(tmp_path / "gloss2text-dev.jsonl").rows
    assert [each["score"] for each in line["nbest"]] == [-2.0, None]


def test_several_write_and_several_judge_and_each_set_has_its_scores(own, folders, slt):
    first = own.recipe().run_folder("gloss2text_train")
    second = shutil.copytree(first, first.with_name("second"))
    both, one = overrides(**asked(folders)), overrides(**asked(folders[:1], weights=[0.5]))
    for arguments in (both, one, both):
        ended = slt("evaluate", "--ensemble", f"{first},{second}", "--split", "dev", *arguments)
        assert ended.status == 0
    assert slt("evaluate", "--run", first, "--split", "dev", *both).status == 0
    found = {folder.name: read_json(folder / "scores.json") for folder in (first / "evaluate").iterdir()}
    assert found.keys() == {"reranked", "reranked-2", "reranked-3"}
    keys = [sorted(row["checkpoints"]) for name in sorted(found) for row in found[name]]
    assert keys == [
        ["judge 1", "judge 2", "language", "language 2"],
        ["judge 1", "language", "language 2"],
        ["judge 1", "judge 2", "language"],
    ]
    assert read_json(first / "evaluate" / "reranked" / "judges.json") == [str(folder) for folder in folders]


def test_judged_are_the_beams_of_all_together_of_each_writer_and_of_judges_that_write(own, judges, folders):
    recipe = own.recipe(**asked(folders))
    config, generation = recipe.evaluate.rerank, recipe.evaluate.generation
    assert config is not None
    one, other = open_gloss2text(own.recipe(), CPU), open_gloss2text(judges["backward"], CPU)
    second = replace(one, model=deepcopy(one.model))
    with torch.no_grad():
        for weight in second.model.mbart.parameters():
            weight.mul_(0.9)  # of another mind
    together = one.together_with({Path("second"): second})
    rows = [("MORGEN", "REGEN"), ("NORD",), ("MORGEN", "REGEN")]
    found = Reranked.open(together, recipe, CPU, [], config).judged(rows, generation, 2)
    searches = [system.beams(rows, generation, 2) for system in (together, one, second, other)]
    for place, judged in enumerate(found):
        texts = [text for search in searches for text in search[place]]
        assert [each.text for each in judged] == list(dict.fromkeys(texts))
    assert any({*own} - {*all_together} for own, all_together in zip(searches[3], searches[0], strict=True))
    assert found[0] == found[2]
    other.model.mbart.config.max_position_embeddings = 3
    with pytest.raises(SltError, match="a source of 2 steps"):
        other.beams(rows, generation, 2)
    found = Reranked(one, (other,)).judged(rows, generation, 2)  # others write what a judge has no position for
    assert [each.text for each in found[0]] == list(dict.fromkeys(searches[1][0]))
    assert len(found[1]) > len(dict.fromkeys(searches[1][1]))


def test_weights_that_nobody_gives_are_chosen_on_dev_and_stand_beside_the_score(own, folders, slt):
    first = own.recipe().run_folder("gloss2text_train")
    ended = slt("evaluate", "--run", first, "--split", "test", *overrides(**asked(folders, weights=())))
    (row,) = read_json(first / "evaluate" / "reranked" / "scores.json")
    chosen = row["rerank"]
    assert f"{chosen['per_piece']} for every piece, chosen on dev" in ended.err
    given = overrides(**asked(folders, chosen["weights"], chosen["per_piece"]))
    assert slt("evaluate", "--run", first, "--split", "test", *given).status == 0
    (again,) = read_json(first / "evaluate" / "reranked" / "scores.json")
    assert {**again, "recipe": ""} == {**row, "recipe": ""}


def test_what_is_chosen_on_dev_is_what_scores_best_there():
    # the search likes the wrong text by 2, a judge the right one by 10, another judge is wrong throughout
    clips = [[Judged("wrong", (-1.0, -20.0, -1.0), 3), Judged("right", (-3.0, -10.0, -30.0), 3)]] * 4
    points = chosen_points(clips, 2, lambda texts: sum(text == "right" for text in texts))
    assert all(points.ranked(texts)[0].text == "right" for texts in clips)
    long = [[Judged("short", (-5.0,), 2), Judged("long", (-9.0,), 8)]]
    assert chosen_points(long, 0, lambda texts: texts.count("long")).per_piece > 0.66
    assert chosen_points(long, 0, lambda texts: texts.count("short")).per_piece < 0.67


def test_recognised_glosses_are_judged_too(own, folders, stages):
    recipe = own.recipe(**asked(folders))
    found = stages["evaluate"](recipe, device="cpu", tasks=["sign2gloss2text", "gloss2text"])
    assert {row["task"] for row in found["rows"]} == {"sign2gloss2text", "gloss2text"}
    assert all("judge 2" in row["checkpoints"] for row in found["rows"])


def test_judges_are_told_when_they_were_trained_anew_or_on_other_clips(own, judges, folders, slt, tmp_path):
    first = own.recipe().run_folder("gloss2text_train")
    judge = shutil.copytree(folders[0], tmp_path / "judge")
    inputs = read_json(judge / "inputs.json")
    write_json(judge / "inputs.json", {**inputs, "clips": "of another corpus"})
    arguments = overrides(**asked([judge], weights=[0.5]))
    ended = slt("evaluate", "--run", first, "--split", "dev", *arguments)
    assert f"{judge} was trained on another manifest than {first}" in ended.err
    outputs = first / "evaluate" / "reranked" / "gloss2text-dev.jsonl"
    assert "has been trained to" not in slt("score", outputs).err
    shutil.rmtree(judge)
    shutil.copytree(folders[1], judge)
    assert f"{judge} has been trained to" in slt("score", outputs).err


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("{first}", "which writes what it would judge: leave it out"),
        ("nowhere", "nowhere"),
        ("{signs}", "holds a translator of signs, not Gloss2Text"),
        ("{foreign}", "has text.language pl_PL, and what it would judge de_DE"),
    ],
)
def test_what_cannot_judge_is_refused_before_anything_is_written(own, folders, slt, tmp_path, judge, message):
    first = own.recipe().run_folder("gloss2text_train")
    foreign = shutil.copytree(folders[0], tmp_path / "foreign")
    saved = (foreign / "recipe.yaml").read_text(encoding="utf-8")
    (foreign / "recipe.yaml").write_text(saved.replace("language: de_DE", "language: pl_PL"), encoding="utf-8")
    named = judge.format(first=first, signs=own.recipe().run_folder("translate_train"), foreign=foreign)
    ended = slt("evaluate", "--run", first, *overrides(**asked([named], weights=[1.0])))
    assert ended.status == 2
    assert message in ended.err
    assert not (first / "evaluate").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": [0.5]}, "there are 2 judges and 1 weights"),
        ({"per_piece": "null"}, "set both, or neither"),
        ({"folders": []}, "runs and itself name no judge"),
        ({"num_beams": 1}, "rerank chooses among beams"),
    ],
)
def test_judges_have_weights_and_beams_to_judge(own, folders, values, message):
    with pytest.raises(SltError, match=message):
        own.recipe(**asked(**{"folders": folders, **values}))


def test_only_a_text_that_is_written_of_glosses_has_judges(own, judges, folders, stages):
    recipe = own.recipe(**asked(folders))
    assert "sign2text writes none" in refusal(stages["evaluate"], recipe, tasks=["sign2text"])
    recipe = judges["glosses"].model_copy(update={"evaluate": recipe.evaluate})
    assert "text2gloss writes none" in refusal(stages["evaluate"], recipe, run=folders[0], tasks=["text2gloss"])


def test_each_direction_has_its_own_task(own, judges, folders, slt):
    ended = slt("evaluate", "--run", folders[0], "--task", "gloss2text")
    assert "the task gloss2text is none of a recipe whose translator.direction is text2gloss" in ended.err
    ended = slt("evaluate", "-r", own.file, "--task", "text2gloss")
    assert "asks for the glosses of texts, which" in ended.err and "has not learned" in ended.err


def test_runs_of_other_directions_and_orders_are_no_ensemble_and_teach_nothing(own, folders, slt, tmp_path):
    first = own.recipe().run_folder("gloss2text_train")
    assert "one writes glosses and the other texts" in slt("evaluate", "--ensemble", f"{first},{folders[0]}").err
    assert "has other pieces of text" in slt("evaluate", "--ensemble", f"{first},{folders[1]}").err
    for folder in folders:
        teachers = {"gloss2text_train__teachers": f"[{folder}]", "gloss2text_train__regularise__distillation": 1}
        assert "the teacher" in refusal(gloss2text_train, own.recipe(runs_dir=tmp_path / "taught", **teachers))


def test_no_translator_of_signs_starts_from_text2gloss(own, judges, folders, stages, tmp_path):
    message = "direction = 'text2gloss', but now it is 'gloss2text'"
    uses = f"{{encoder: {own.root}/runs/toy, language: {folders[0]}}}"
    recipe = own.recipe(runs_dir=tmp_path / "runs", uses=uses, translator__gloss_input="pieces")
    assert message in refusal(stages["translate_train"], recipe)
    assert "reads texts and writes glosses" in refusal(stages["translate_train"], own.recipe(**GLOSSES))
    with pytest.raises(SltError, match="read by its pieces"):
        own.recipe(translator__direction="text2gloss")


def test_a_translator_of_signs_may_write_backward(own, folders, stages, tmp_path):
    uses = f"{{encoder: {own.root}/runs/toy, language: {folders[1]}}}"
    recipe = own.recipe(runs_dir=tmp_path / "runs", uses=uses, **BACKWARD)
    stages["translate_train"](recipe, device="cpu")
    (folder,) = (tmp_path / "runs").glob("*/translate_train")
    assert read_json(folder / "tokenizer" / "slt_tokenizer.json")["order"] == "backward"
    assert "order = 'backward', but now it is 'forward'" in refusal(
        stages["translate_train"], own.recipe(runs_dir=tmp_path / "other", uses=uses)
    )


def test_a_run_of_before_there_was_an_order_writes_forward(own):
    folder = own.recipe().run_folder("gloss2text_train")
    for key in ("text.order", "language_model.direction"):
        change_json(folder / "inputs.json", lambda data, key=key: data.pop(key))
    assert open_gloss2text(own.recipe(), CPU).vocabularies.text.order == "forward"
    assert gloss2text_train(own.recipe(), device="cpu") == own.results["gloss2text_train"]
    assert "order = 'forward', but now it is 'backward'" in refusal(gloss2text_train, own.recipe(**BACKWARD))
