import json
import shutil

import pytest
from stage_tools import refusal

from slt_pipeline.training.checkpoint import best_checkpoint


@pytest.mark.parametrize(
    ("stage", "values", "key", "before", "now"),
    [
        ("visual_pretrain", {"seed": 4}, "seed", 3, 4),
        ("visual_train", {"seed": 4}, "seed", 3, 4),
        ("gloss2text_train", {"seed": 4}, "seed", 3, 4),
        ("translate_train", {"seed": 4}, "seed", 3, 4),
        ("visual_train", {"visual_train__training__batch_size": 2}, "training.batch_size", 3, 2),
        ("visual_train", {"encoder__head__dropout": 0.5}, "encoder.head.dropout", 0.1, 0.5),
        ("visual_train", {"encoder__s3d__freeze_blocks": 0}, "encoder.s3d.freeze_blocks", 1, 0),
        ("visual_pretrain", {"video__sampling__tmin": 0.5}, "video.sampling.tmin", 0.9, 0.5),
        ("gloss2text_train", {"translator__mbart__dropout": 0.5}, "mbart.dropout", 0.1, 0.5),
        ("gloss2text_train", {"gloss2text_train__training__optimiser__lr": "{default: 0.5}"}, "lr.default", 0.01, 0.5),
        ("translate_train", {"translator__head": "trained"}, "head", "", ""),
        ("translate_train", {"translator__mapper__input": "s3d"}, "translator.mapper.input", "'gloss_rep'", "'s3d'"),
    ],
    ids=lambda value: value if isinstance(value, str) and "_train" in value else "",
)
def test_other_inputs_on_a_finished_run_are_refused_by_key_and_both_values(
    toy, stages, stage, values, key, before, now
):
    message = refusal(stages[stage], toy.recipe(**values))
    assert str(toy.recipe().run_folder(stage)) in message
    assert f"{key} = " in message
    assert str(before) in message
    assert str(now) in message
    assert "--overwrite" in message


def test_other_start_weights_are_refused(toy, stages):
    file = best_checkpoint(toy.recipe().run_folder("gloss2text_train"), made_by="").folder / "weights.safetensors"
    before = best_checkpoint(toy.recipe().run_folder("visual_pretrain"), made_by="").weights_hash
    assert f"init = '{before}', but now it is '" in refusal(stages["visual_train"], toy.recipe(visual_train__init=file))


def test_another_corpus_is_refused(own, stages):
    with (own.root / "corpus" / "manifest.jsonl").open("a") as file:
        file.write("\n")
    assert "clips = " in refusal(stages["gloss2text_train"], own.recipe())


@pytest.mark.parametrize("values", [{"num_workers": 1}, {"log_every": 9}, {"checkpoint_minutes": 1}, {"keep_last": 4}])
def test_what_does_not_change_the_result_may_change(toy, stages, values):
    recipe = toy.recipe(**{f"gloss2text_train__training__{key}": value for key, value in values.items()})
    assert stages["gloss2text_train"](recipe, device="cpu") == toy.results["gloss2text_train"]


def test_overwrite_starts_anew(own, stages):
    recipe = own.recipe(seed=4, gloss2text_train__training__epochs=1)
    folder = recipe.run_folder("gloss2text_train")
    (folder / "left-over").touch()
    before = best_checkpoint(folder, made_by="").meta["step"]
    result = stages["gloss2text_train"](recipe, device="cpu", overwrite=True)
    assert result["best_step"] == 2 != before
    assert not (folder / "left-over").exists()
    assert json.loads((folder / "inputs.json").read_text())["seed"] == 4
    assert stages["gloss2text_train"](recipe, device="cpu") == result


def test_an_unfinished_run_with_other_inputs_is_refused_too(own, stages):
    (own.recipe().run_folder("gloss2text_train") / "result.json").unlink()
    assert "seed = 3" in refusal(stages["gloss2text_train"], own.recipe(seed=4))


@pytest.mark.parametrize(
    ("key", "before", "now"),
    [
        ("video.transform.color_order", "'rgb'", "'bgr'"),
        ("video.sampling.max_frames", "64", "32"),
        ("encoder.head.dropout", "0.1", "0.5"),
    ],
)
@pytest.mark.parametrize("stage", ["translate_train", "extract", "sweep", "evaluate"])
def test_an_encoder_that_was_trained_otherwise_is_refused_by_key_and_both_values(toy, stages, stage, key, before, now):
    recipe = toy.recipe(**{key.replace(".", "__"): now.strip("'")}, evaluate__tasks="[sign2gloss]")
    message = refusal(stages[stage], recipe)
    assert f"{recipe.encoder_folder} was made with {key} = {before}, but now it is {now}; " in message
    assert "`slt visual-train`" in message


@pytest.mark.parametrize("stage", ["translate_train", "extract", "sweep", "evaluate"])
def test_a_store_in_another_number_format_is_refused_by_both_values(toy, stages, stage):
    message = refusal(stages[stage], toy.recipe(extract__dtype="float16", evaluate__tasks="[sign2gloss]"))
    folder = toy.recipe().store
    assert f"the store {folder} was made with dtype = 'float32', but now it is 'float16'; " in message
    assert "-o extract.store=" in message


def test_a_store_that_other_weights_made_is_refused(own, stages):
    recipe = own.recipe(visual_train__training__epochs=1)
    stages["visual_train"](recipe, device="cpu", overwrite=True)
    for stage in ("translate_train", "extract"):
        assert "encoder_weights = " in refusal(stages[stage], recipe)


@pytest.mark.parametrize(
    ("stage", "absent", "command"),
    [
        ("visual_train", "visual_pretrain", "slt visual-pretrain"),
        ("extract", "visual_train", "slt visual-train"),
        ("translate_train", "features", "slt extract"),
        ("translate_train", "gloss2text_train", "slt gloss2text-train"),
        ("sweep", "features", "slt extract"),
        ("evaluate", "translate_train", "slt translate-train"),
        ("evaluate", "gloss2text_train", "slt gloss2text-train"),
        ("evaluate", "features", "slt extract"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(own, stages, stage, absent, command):
    shutil.rmtree(own.recipe().run_folder(absent))
    assert f"`{command}" in refusal(stages[stage], own.recipe())


def test_a_clip_that_the_store_lacks_is_named(own, stages):
    recipe = own.recipe(extract__store=own.root / "part")
    stages["extract"](recipe, split="train", device="cpu")
    shutil.rmtree(recipe.run_folder("translate_train"))
    message = refusal(stages["translate_train"], recipe)
    assert "lacks 2 of 2 clips, such as dev-00000; add them with `slt extract --split dev`" in message
    assert "slt extract --split dev" in message


def test_a_stream_that_the_store_lacks_is_named(own, stages):
    recipe = own.recipe(
        extract__store=own.root / "part", extract__streams="[gloss_rep]", translator__mapper__input="s3d"
    )
    stages["extract"](recipe, device="cpu")
    shutil.rmtree(recipe.run_folder("translate_train"))
    message = refusal(stages["translate_train"], recipe)
    assert "s3d" in message
    assert "gloss_rep" in message


def test_clips_without_what_a_stage_needs_are_named(own, stages):
    manifest = own.root / "corpus" / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    lines[0]["text"] = None
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.rmtree(own.recipe().run_folder("gloss2text_train"))
    message = refusal(stages["gloss2text_train"], own.recipe())
    assert "1 train clips have no text" in message
    assert lines[0]["id"] in message


def test_a_corpus_that_ctc_cannot_learn_is_refused_before_training(own, stages):
    manifest = own.root / "corpus" / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for line in lines:
        line["gloss"] = line["gloss"] * 4
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.rmtree(own.recipe().run_folder("visual_train"))
    message = refusal(stages["visual_train"], own.recipe())
    assert "6 of 6 training clips" in message
    assert "visual_train.max_infeasible" in message


# --- what decides a result is part of its inputs


@pytest.mark.parametrize(
    ("stage", "key", "value"),
    [
        pytest.param("gloss2text_train", "translator__label_smoothing", 0.0),
        pytest.param("gloss2text_train", "corpus__protocol", "plain-char"),
        pytest.param("translate_train", "corpus__protocol", "plain-char"),
        pytest.param("visual_train", "corpus__protocol", "phoenix14t"),
        ("visual_train", "visual_train__beam_size", 3),
    ],
)
def test_whatever_changes_a_result_is_refused_on_a_finished_run(toy, stages, stage, key, value):
    assert key.replace("__", ".").rpartition(".")[2] in refusal(stages[stage], toy.recipe(**{key: value}))


def test_a_sweep_scores_again_when_evaluation_changes(own, stages):
    recipe = own.recipe(evaluate__splits="[dev]", evaluate__generation__max_length=3)
    results = stages["sweep"](recipe, device="cpu")["results"]
    assert [list(result["scores"]) for result in results] == [["dev"]] * 4
    assert results != own.results["sweep"]["results"]


def test_a_sweep_refuses_a_bad_value_before_its_first_run(own, stages):
    shutil.rmtree(own.recipe().run_folder("sweep"))
    recipe = own.recipe(sweep__grid="{translator.mapper.input: [gloss_rep, gloss_reps]}", sweep__seeds="[5]")
    assert "gloss_reps" in refusal(stages["sweep"], recipe)
    assert not list(own.recipe().run_folder("sweep").glob("*/checkpoints"))


def test_a_model_is_not_evaluated_as_another_of_the_same_shape(own, stages):
    logits = {"translator__mapper__input": "gloss_logits", "evaluate__tasks": "[sign2text]"}
    stages["translate_train"](own.recipe(**logits), device="cpu", overwrite=True)
    message = refusal(stages["evaluate"], own.recipe(**logits | {"translator__mapper__input": "gloss_probs"}))
    assert "gloss_logits" in message
    assert "gloss_probs" in message
