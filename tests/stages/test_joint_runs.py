"""A run of joint training opens as an encoder, as a translator of its features, and refuses every other partner."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from cache_tools import contents
from joint_tools import HEADED, Joint, recipe_of
from safetensors.torch import load_file, save_file
from stage_tools import change_json, refusal, rows

from slt_pipeline.config.recipe import load_recipe, opened_as, recipe_of_run
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.joint_train import joint_train
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems.joint import JointStart
from slt_pipeline.training.checkpoint import best_checkpoint


@pytest.fixture
def copied(joint, tmp_path) -> Joint:
    """The same for one test alone, in another place."""
    shutil.copytree(joint.recipe.runs_dir, tmp_path / "runs")
    recipe = load_recipe(str(joint.folder / "recipe.yaml"), [f"runs_dir={tmp_path}/runs"])
    return Joint(recipe, recipe.run_folder("joint_train"), joint.scores)


def test_its_store_is_its_own_encoder_s_and_its_translator_reads_it(toy, joint):
    opened = joint.opened()
    assert opened.encoder_folder == joint.folder
    assert opened.store == joint.folder.parent / "features"
    assert joint.scores.keys() == {(task, split) for task in opened.evaluate.tasks for split in ("dev", "test")}
    checkpoint = best_checkpoint(joint.folder, made_by="").weights_hash[:12]
    assert joint.scores["sign2text", "test"]["checkpoints"] == {"translator": checkpoint}
    assert joint.scores["sign2gloss", "test"]["checkpoints"] == {"encoder": checkpoint}
    stored = load_recipe(str(joint.folder / "recipe.yaml"), [f"extract.store={toy.recipe().store}"])
    assert opened_as(stored, joint.folder).store == opened.store  # that of the encoder which it started from


def test_it_is_validated_with_the_scores_that_evaluate_gives_it(joint):
    step = json.loads((joint.folder / "best.json").read_text())["step"]
    lines = read_json_lines(joint.folder / "metrics.jsonl")
    (validated,) = [line for line in lines if line["split"] == "dev" and line["step"] == step]
    scores = {task: row for (task, split), row in joint.scores.items() if split == "dev"}
    for name in ("bleu1", "bleu2", "bleu3", "bleu4", "rouge"):
        assert validated[name] == pytest.approx(scores["sign2text"][name])
    assert validated["wer"] == pytest.approx(scores["sign2gloss"]["wer"])
    for task in ("gloss2text", "sign2gloss2text"):
        assert validated[f"{task}_bleu4"] == pytest.approx(scores[task]["bleu4"])


def test_every_command_opens_it_by_its_folder(copied, toy, slt):
    folder = copied.folder
    before = contents(folder.parent / "features")
    shutil.rmtree(folder.parent / "features")
    run = slt("extract", "--run", folder, "--device", "cpu")
    assert f"{len(before)} clips written" in run.out, run.err
    after = contents(folder.parent / "features")
    assert all((after[clip][name] == value).all() for clip, found in before.items() for name, value in found.items())
    shutil.rmtree(folder / "evaluate")
    run = slt("evaluate", "--run", folder, "--device", "cpu")
    assert run.status == 0, run.err
    found = rows({"rows": json.loads((folder / "evaluate" / "scores.json").read_text())})
    assert found.keys() == {(task, split) for task in ("sign2gloss", "sign2text") for split in ("dev", "test")}
    decoded = read_json_lines(folder / "evaluate" / "sign2text-test.jsonl")
    run = slt("translate", "--run", folder, *[toy.video(clip) for clip in toy.of("test")], "--device", "cpu")
    assert [json.loads(line)["text"] for line in run.out.splitlines()] == [pair["hypothesis"] for pair in decoded]
    quick = "translate_train.training={epochs: 1, batch_size: 3}"
    options = ("-o", quick, "-o", "sweep.seeds=[3]", "-o", f"runs_dir={copied.recipe.runs_dir}")
    run = slt("sweep", "--run", folder, *options, "--device", "cpu")
    assert run.status == 0, run.err
    (table,) = (folder.parent / "sweep").glob("*/table.md")
    inputs = json.loads(next(table.parent.glob("*/inputs.json")).read_text())
    assert inputs["store.encoder_weights"] == best_checkpoint(folder, made_by="").weights_hash


def test_a_recipe_may_use_its_encoder_and_a_second_round_its_translator(joint, toy, stages, tmp_path):
    recipe = recipe_of(toy, tmp_path, uses__encoder=joint.folder, translate_train__training__epochs=1)
    stages["translate_train"](recipe, device="cpu")
    inputs = json.loads((recipe.run_folder("translate_train") / "inputs.json").read_text())
    assert inputs["store.encoder_weights"] == best_checkpoint(joint.folder, made_by="").weights_hash
    again = recipe_of(toy, tmp_path, uses__encoder=joint.folder, uses__translator=joint.folder)
    expected = best_checkpoint(joint.folder, made_by="").weights
    assert all(torch.equal(value, expected[name]) for name, value in JointStart.of(again).build().state_dict().items())
    message = refusal(joint_train, recipe_of(toy, tmp_path, uses__encoder=joint.folder))
    assert "made with store.encoder_weights = " in message


def test_a_head_that_was_trained_with_the_translator_is_the_head_of_the_encoder(toy, stages, tmp_path):
    recipe = recipe_of(toy, tmp_path, **HEADED, uses__translator="null")
    stages["translate_train"](recipe, device="cpu")
    joint_train(recipe, device="cpu")
    own = best_checkpoint(recipe.run_folder("translate_train"), made_by="").weights
    built = JointStart.of(recipe).build().state_dict()
    of_head = [name for name in own if name.startswith("front.head.")]
    assert of_head and all(torch.equal(built[name.replace("front.", "front.encoder.")], own[name]) for name in of_head)
    folder = recipe.run_folder("joint_train")
    opened = recipe_of_run(folder, ["evaluate.splits=[dev]"])
    assert opened.translator.head == "stored"
    stages["extract"](opened, device="cpu")
    found = rows(stages["evaluate"](opened, device="cpu", run=folder, tasks=["sign2text"]))
    best = json.loads((folder / "best.json").read_text())
    assert found["sign2text", "dev"]["bleu4"] == pytest.approx(best["bleu4"])


def test_features_of_another_encoder_are_refused_with_both(joint, toy, stages):
    old, new = (best_checkpoint(f, made_by="").weights_hash for f in (toy.recipe().encoder_folder, joint.folder))
    there = joint.opened(f"extract.store={toy.recipe().store}", "evaluate.tasks=[sign2text]")
    message = refusal(stages["evaluate"], there, run=joint.folder)
    assert old in message and new in message
    assert old in refusal(stages["extract"], there)
    before = json.loads((toy.recipe().run_folder("translate_train") / "inputs.json").read_text())[
        "store.encoder_weights"
    ]
    message = refusal(Translate, recipe_of(toy, Path(joint.recipe.runs_dir)), run=joint.folder)
    assert f"store.encoder_weights = '{new}', but now it is '{before}'" in message
    message = refusal(
        stages["evaluate"], joint.opened("evaluate.tasks=[sign2text]"), run=toy.recipe().run_folder("translate_train")
    )
    assert f"store.encoder_weights = '{old}', but now it is '{new}'" in message


def test_an_encoder_s_run_is_extracted_by_its_folder_and_a_translator_s_is_refused(own, slt, toy, tmp_path):
    recipe = own.recipe()
    before = contents(recipe.store)
    shutil.rmtree(recipe.store)
    run = slt("extract", "--run", recipe.run_folder("visual_train"), "--device", "cpu")
    assert run.status == 0, run.err
    after = contents(recipe.store)
    assert all((after[clip][name] == value).all() for clip, found in before.items() for name, value in found.items())
    for command in ("extract", "sweep"):
        run = slt(command, "--run", recipe.run_folder("translate_train"))
        assert run.status == 2
        assert "holds no visual encoder, which makes the features of a store; " in run.err
        assert "leave out --recipe" in slt(command, "--run", recipe.run_folder("visual_train"), "-r", own.file).err
        assert "it has no recipe.yaml" in slt(command, "--run", tmp_path).err


def test_neither_a_language_model_nor_an_encoder_is_a_translator_to_start_from(toy, tmp_path):
    for stage in ("gloss2text_train", "visual_train"):
        message = refusal(joint_train, recipe_of(toy, tmp_path, uses__translator=toy.recipe().run_folder(stage)))
        assert "holds no translator of signs" in message
    message = refusal(joint_train, recipe_of(toy, tmp_path, uses__translator="null"))
    assert "`slt translate-train`" in message and "uses.translator=" in message


def test_a_head_of_an_earlier_version_is_found_under_its_old_name(own, stages, tmp_path):
    recipe = recipe_of(own, tmp_path, **HEADED, uses__translator="null")
    stages["translate_train"](recipe, device="cpu")
    expected = JointStart.of(recipe).build().state_dict()
    folder = best_checkpoint(recipe.run_folder("translate_train"), made_by="").folder
    weights = load_file(folder / "weights.safetensors")
    old = {name.removeprefix("front."): value for name, value in weights.items()}
    assert old.keys() != weights.keys()
    save_file(old, folder / "weights.safetensors")
    change_json(folder / "meta.json", lambda meta: meta.pop("weights"))
    assert all(torch.equal(value, expected[name]) for name, value in JointStart.of(recipe).build().state_dict().items())
