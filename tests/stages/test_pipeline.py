import json
import math
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from cache_tools import files
from stage_tools import CPU, weights

from cache import FeatureStore
from slt_pipeline.config.recipe import load_recipe
from slt_pipeline.files import read_json_lines
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.stages import visual_train as visual_train_stage
from slt_pipeline.systems.recogniser import open_recogniser
from slt_pipeline.training.checkpoint import best_checkpoint, list_checkpoints

TRAINED = ("visual_pretrain", "visual_train", "gloss2text_train", "translate_train")


# --- what a run leaves


@pytest.mark.parametrize("stage", TRAINED)
def test_a_trained_stage_leaves_its_best_weights_its_recipe_and_its_log(toy, stage):
    folder = toy.recipe().run_folder(stage)
    result = toy.results[stage]
    assert json.loads((folder / "result.json").read_text()) == result
    assert best_checkpoint(folder, made_by="").meta["step"] == result["best_step"]
    assert load_recipe(str(folder / "recipe.yaml")) == toy.recipe()
    records = read_json_lines(folder / "metrics.jsonl")
    best = [r[result["score"]] for r in records if r["split"] == "dev" and r["step"] == result["best_step"]]
    assert best == [result["best_score"]]
    assert all(math.isfinite(record["loss"]) for record in records if record["split"] == "train")


@pytest.mark.parametrize("stage", ["visual_train", "gloss2text_train", "translate_train"])
def test_the_loss_falls(toy, stage):
    losses = [
        r["loss"] for r in read_json_lines(toy.recipe().run_folder(stage) / "metrics.jsonl") if r["split"] == "train"
    ]
    assert np.min(losses[-2:]) < 0.9 * np.mean(losses[:2])  # four steps in all of visual_train


def test_the_store_holds_what_the_encoder_makes_of_every_clip(toy):
    recipe = toy.recipe()
    store = FeatureStore.open(recipe.store)
    assert sorted(store.keys()) == sorted(clip.id for clip in toy.clips)
    recogniser = open_recogniser(recipe, CPU)
    for clip in toy.clips:
        streams = recogniser.encode_clip(clip, toy.root / "corpus")
        assert store.length(clip.id) == min(clip.num_frames, 64) // 4
        for name in ("s3d", "gloss_rep", "gloss_logits"):
            assert np.array_equal(store.read(clip.id, name), streams[name].numpy()), (clip.id, name)


def test_scores_of_a_stage_are_those_that_evaluate_finds_again(toy):
    rows = {(row["task"], row["split"]): row for row in toy.results["evaluate"]["rows"]}
    assert rows["sign2gloss", "dev"]["wer"] == pytest.approx(toy.results["visual_train"]["best_score"])
    records = read_json_lines(toy.recipe().run_folder("translate_train") / "metrics.jsonl")
    found = rows["sign2text", "dev"]
    for name in ("bleu1", "bleu4", "rouge"):
        assert found[name] == pytest.approx(records[-1][name])
    assert records[-1]["protocol"] == get_protocol(toy.recipe().corpus.protocol).title
    assert 0 < found["bleu1"] < 100  # neither nothing nor everything: the comparison compares something


def test_evaluate_writes_what_was_decoded_beside_what_was_right(toy):
    folder = toy.recipe().run_folder("evaluate")
    rows = json.loads((folder / "scores.json").read_text())
    assert rows == toy.results["evaluate"]["rows"]
    assert [(row["task"], row["split"]) for row in rows] == [
        (task, split)
        for task in ("sign2gloss", "gloss2text", "sign2gloss2text", "sign2text")
        for split in ("dev", "test")
    ]
    for task, field in (("sign2gloss", lambda c: " ".join(c.gloss)), ("sign2text", lambda c: c.text)):
        written = read_json_lines(folder / f"{task}-test.jsonl")
        assert [pair["id"] for pair in written] == [clip.id for clip in toy.of("test")]
        assert [pair["reference"] for pair in written] == [field(clip) for clip in toy.of("test")]
        assert all(isinstance(pair["hypothesis"], str) for pair in written)


def test_gloss_to_text_and_from_recognised_glosses_to_text_use_one_model(toy):
    folder = toy.recipe().run_folder("evaluate")
    read = {task: read_json_lines(folder / f"{task}-dev.jsonl") for task in ("gloss2text", "sign2gloss2text")}
    assert [p["reference"] for p in read["gloss2text"]] == [p["reference"] for p in read["sign2gloss2text"]]
    assert all(pair["hypothesis"] for pairs in read.values() for pair in pairs)


# --- how weights travel between stages; with rate 0 and no decay a run ends with the weights it began with


FIXED = {"training__optimiser__lr": "{default: 0.0}", "training__epochs": 1}


def fixed(stage: str, **more):
    return {f"{stage}__{key}": value for key, value in FIXED.items()} | more


def test_visual_train_starts_from_the_trunk_of_visual_pretrain(own, stages):
    recipe = own.recipe(**fixed("visual_train"))
    stages["visual_train"](recipe, device="cpu", overwrite=True)
    before, after = weights(recipe, "visual_pretrain"), weights(recipe, "visual_train")
    trunk = [name for name in before if name.startswith("s3d.") and "running" not in name and "num_batches" not in name]
    assert len(trunk) > 50
    assert all(torch.equal(before[name], after[name]) for name in trunk)


def test_visual_train_can_start_from_nothing_or_from_a_file(own, stages):
    before = weights(own.recipe(), "visual_pretrain")
    name = "s3d.features.5.branch0.0.weight"
    stages["visual_train"](
        own.recipe(**fixed("visual_train", visual_train__init="null", encoder__s3d__freeze_blocks=0)),
        device="cpu",
        overwrite=True,
    )
    assert not torch.equal(weights(own.recipe(), "visual_train")[name], before[name])
    file = best_checkpoint(own.recipe().run_folder("visual_pretrain"), made_by="").folder / "weights.safetensors"
    stages["visual_train"](own.recipe(**fixed("visual_train", visual_train__init=file)), device="cpu", overwrite=True)
    assert torch.equal(weights(own.recipe(), "visual_train")[name], before[name])


@pytest.mark.parametrize("head", ["stored", "trained"])
def test_translate_train_starts_from_the_language_model_and_the_head(own, stages, head):
    recipe = own.recipe(**fixed("translate_train", translator__head=head))
    result = stages["translate_train"](recipe, device="cpu", overwrite=True)
    language, encoder, after = (weights(recipe, s) for s in ("gloss2text_train", "visual_train", "translate_train"))
    shared = [name for name in language if "mbart" in name]
    assert len(shared) > 20
    assert all(torch.equal(language[name], after[f"translator.{name}"]) for name in shared)
    heads = [name for name in encoder if name.startswith("head.") and "running" not in name and "num_b" not in name]
    assert len(heads) > 5
    assert [f"front.{name}" in after for name in heads] == [head == "trained"] * len(heads)
    if head == "trained":
        assert all(torch.equal(encoder[name], after[f"front.{name}"]) for name in heads)
    records = read_json_lines(recipe.run_folder("translate_train") / "metrics.jsonl")
    assert [("wer" in record) for record in records if record["split"] == "dev"] == [head == "trained"]
    assert ("recognition" in records[0]["losses"]) == (head == "trained")
    assert result["score"] == "bleu4"


def test_without_a_language_model_and_a_head_they_start_at_random(own, stages):
    values = {"translator__head": "trained", "translate_train__init_head": "null"}
    recipe = own.recipe(**fixed("translate_train", translate_train__init_language="null", **values))
    stages["translate_train"](recipe, device="cpu", overwrite=True)
    language, encoder, after = (weights(recipe, s) for s in ("gloss2text_train", "visual_train", "translate_train"))
    name = next(name for name in language if name.endswith("q_proj.weight"))
    assert not torch.equal(language[name], after[f"translator.{name}"])
    assert not torch.equal(encoder["head.fc1.weight"], after["front.head.fc1.weight"])


def test_a_head_that_is_trained_changes(own, stages):
    recipe = own.recipe(translator__head="trained", translate_train__training__epochs=2)
    stages["translate_train"](recipe, device="cpu", overwrite=True)
    assert not torch.equal(
        weights(recipe, "visual_train")["head.fc1.weight"], weights(recipe, "translate_train")["front.head.fc1.weight"]
    )


@pytest.mark.parametrize("source", ["gloss_rep", "gloss_logits", "gloss_probs", "s3d"])
@pytest.mark.parametrize("head", ["stored", "trained"])
def test_the_mapper_reads_any_stream_with_either_head(own, stages, source, head):
    values = {"translator__mapper__input": source, "translator__head": head}
    recipe = own.recipe(**fixed("translate_train", **values), evaluate__tasks="[sign2text]", evaluate__splits="[dev]")
    stages["translate_train"](recipe, device="cpu", overwrite=True)
    (row,) = stages["evaluate"](recipe, device="cpu")["rows"]
    assert row["rouge"] >= 0
    assert (recipe.run_folder("evaluate") / "sign2text-dev.jsonl").is_file()


@pytest.mark.parametrize("where", ["auto", "memory", "device"])
def test_features_that_are_held_whole_train_the_same_weights(toy, own, stages, where):
    recipe = own.recipe(translate_train__features_in=where)
    stages["translate_train"](recipe, device="cpu", overwrite=True)
    for name, weight in weights(toy.recipe(), "translate_train").items():
        assert torch.equal(weight, weights(recipe, "translate_train")[name]), name


# --- sweep


def test_a_sweep_tries_every_value_with_every_seed(toy):
    results = toy.results["sweep"]["results"]
    assert [(r["values"]["translator.mapper.input"], r["seed"]) for r in results] == [
        (source, seed) for source in ("gloss_rep", "gloss_probs") for seed in (3, 4)
    ]
    folder = Path(toy.results["sweep"]["folder"])
    assert [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()] == results
    assert "gloss_probs" in (folder / "table.md").read_text()


def test_every_run_of_a_sweep_has_a_folder_of_its_own_and_scores_like_the_recipe_alone(toy):
    sweep = toy.results["sweep"]
    rows = {(row["task"], row["split"]): row for row in toy.results["evaluate"]["rows"]}
    assert sweep["results"][0]["scores"]["dev"]["bleu1"] == rows["sign2text", "dev"]["bleu1"]
    folders = [Path(sweep["folder"]) / result["folder"] for result in sweep["results"]]
    assert len(set(folders)) == 4
    assert all((folder / "result.json").is_file() for folder in folders)
    assert folders[0].name == "translator.mapper.input=gloss_rep_seed=3"


def test_the_table_shows_mean_and_spread_over_seeds(toy):
    sweep = toy.results["sweep"]
    row = next(row for row in sweep["rows"] if row["translator.mapper.input"] == "gloss_probs")
    figures = [
        r["scores"]["dev"]["rouge"] for r in sweep["results"] if r["values"]["translator.mapper.input"] == "gloss_probs"
    ]
    assert row["seeds"] == 2
    assert row["dev rouge"] == pytest.approx(np.mean(figures))
    assert row["dev rouge sd"] == pytest.approx(np.std(figures, ddof=1))


# --- again, and on


def test_run_again_every_stage_returns_the_same_and_computes_nothing_anew(toy, stages, monkeypatch):
    recipe = toy.recipe()
    folders = [recipe.run_folder(stage) for stage in (*TRAINED, "features", "sweep")]
    before = [
        {path: found for path, found in files(folder).items() if path.suffix in (".safetensors", ".pt", ".jsonl", "")}
        for folder in folders
    ]
    for name, stage in stages.items():
        if name == "extract":
            report = stage(recipe, device="cpu")
            assert (report.written, report.present, report.rejected) == (0, len(toy.clips), 0)
        else:
            assert stage(recipe, device="cpu") == toy.results[name]
    for folder, found in zip(folders, before, strict=True):
        after = files(folder)
        for path, (content, written_at) in found.items():
            assert after[path][0] == content
            if path.suffix == ".safetensors":
                assert after[path][1] == written_at


def test_a_stage_that_was_interrupted_goes_on_to_the_same_weights(own, stages, monkeypatch):
    recipe = own.recipe()
    expected = weights(recipe, "visual_train")
    log = (recipe.run_folder("visual_train") / "metrics.jsonl").read_text()
    calls = []

    def loss_and_ctrl_c(*arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return ctc_loss(*arguments)

    monkeypatch.setattr(visual_train_stage, "ctc_loss", loss_and_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        stages["visual_train"](recipe, device="cpu", overwrite=True)
    folder = recipe.run_folder("visual_train")
    assert [c.meta["step"] for c in list_checkpoints(folder / "checkpoints")][-1] == 3
    assert not (folder / "result.json").exists()
    assert stages["visual_train"](recipe, device="cpu") == own.results["visual_train"]
    found = weights(recipe, "visual_train")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (folder / "metrics.jsonl").read_text() == log


@pytest.mark.parametrize("name", TRAINED)
def test_data_of_a_stage_can_be_sent_to_loader_processes(toy, stages, name, tmp_path, monkeypatch):
    sent = []

    def train(job, *arguments, **options):
        sent.append(pickle.loads(pickle.dumps((job.dataset, job.collate))))  # noqa: S301
        raise StopIteration

    monkeypatch.setattr("slt_pipeline.training.run.train", train)
    recipe = toy.recipe()
    folder = recipe.run_folder(name)
    monkeypatch.setattr(
        type(recipe), "run_folder", lambda self, stage: tmp_path / "new" if stage == name else folder.parent / stage
    )
    with pytest.raises(StopIteration):
        stages[name](recipe, device="cpu")
    ((dataset, collate),) = sent
    keys = [(0, 1), (0, 2)]
    batch = collate(dataset.__getitems__(keys) if hasattr(dataset, "__getitems__") else [dataset[key] for key in keys])
    assert {len(value) for value in batch.values()} == {2}


@pytest.mark.parametrize("stage", [pytest.param("visual_pretrain"), *TRAINED[1:]])
def test_a_last_batch_of_one_clip_trains_too(own, stages, stage):
    recipe = own.recipe(**{f"{stage}__training__batch_size": 5, f"{stage}__training__epochs": 1})
    assert stages[stage](recipe, device="cpu", overwrite=True)["best_step"] == 2
