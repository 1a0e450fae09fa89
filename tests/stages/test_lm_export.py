"""The language model of any trained run leaves as a folder: transformers opens it, and other recipes start from it."""

import json
import shutil

import pytest
import torch
from gloss_corpus import GlossCorpus, trained_on
from joint_tools import BRIDGED
from stage_tools import CPU, refusal, weights
from transformers import AutoTokenizer, GPT2LMHeadModel, MBartForConditionalGeneration

from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.stages.lm_export import lm_export
from slt_pipeline.systems.parts import TRANSLATOR
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.text.tokenizer import Tokenizer

STAGE = "gloss2text_train"
STILL = {"gloss2text_train__training__optimiser__lr": "{default: 0}", "gloss2text_train__training__epochs": 20}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> GlossCorpus:
    return trained_on(tmp_path_factory.mktemp("glosses"))


@pytest.mark.parametrize("model", ["mbart", "gpt2"])
@pytest.mark.parametrize("gloss_input", ["vectors", "pieces"])
def test_another_recipe_starts_where_the_run_ended(corpus, tmp_path, slt, model, gloss_input):
    recipe = corpus.recipe(model, runs_dir=tmp_path, translator__gloss_input=gloss_input)
    ended_at = gloss2text_train(recipe, device="cpu")["best_score"]
    to = tmp_path / "folder"
    ended = slt("lm", "export", recipe.run_folder(STAGE), "--to", to)
    assert (ended.status, ended.out.count("\n")) == (0, 1) and f"lm export: {model} with " in ended.out
    starts = {f"translator__{model}__folder": to, "text__tokenizer": to, "translator__gloss_input": gloss_input}
    started = corpus.recipe(model, runs_dir=tmp_path / "second", **starts, **STILL)
    assert gloss2text_train(started, device="cpu")["best_score"] == pytest.approx(ended_at)
    was, now = weights(recipe, STAGE), open_gloss2text(started, CPU).model.state_dict()
    assert all(torch.equal(now[name], value) for name, value in was.items()) and "gloss_table.weight" in was


def test_a_language_of_a_folders_own_stays_where_its_pieces_write_another_one(corpus, tmp_path, slt):
    polish = corpus.recipe("mbart", runs_dir=tmp_path, text__language="pl_PL")
    gloss2text_train(polish, device="cpu")
    lm_export(polish.run_folder(STAGE), tmp_path / "polish")
    given = {"translator__mbart__folder": tmp_path / "polish", "text__tokenizer": tmp_path / "polish"}
    german = corpus.recipe("mbart", runs_dir=tmp_path / "german", **given, **STILL)
    gloss2text_train(german, device="cpu")
    told = slt("lm", "import", tmp_path / "polish", "--to", tmp_path / "imported", "--language", "de_DE")
    assert told.status == 0, told.err
    lm_export(german.run_folder(STAGE), tmp_path / "exported")
    before = Tokenizer.load(tmp_path / "polish")
    for folder in (tmp_path / "imported", tmp_path / "exported"):
        own, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
        assert (own.language, own.vocab_size, len(theirs)) == ("de_DE", before.vocab_size, before.vocab_size)
        assert Tokenizer.load(folder, "pl_PL").language_id == before.language_id
        assert theirs(["im norden"])["input_ids"] == [[*before.encode("im norden"), own.eos_id, own.language_id]]


def test_a_folder_says_that_its_model_writes_backward(corpus, tmp_path, slt):
    recipe = corpus.recipe("mbart", runs_dir=tmp_path, text__order="backward")
    gloss2text_train(recipe, device="cpu")
    lm_export(recipe.run_folder(STAGE), tmp_path / "folder")
    prune = ("--manifest", recipe.corpus.manifest, "--to", tmp_path / "pruned")
    assert slt("lm", "prune", tmp_path / "folder", *prune).status == 0
    for name in ("folder", "pruned"):
        assert Tokenizer.load(tmp_path / name).order == "backward"


def test_a_run_and_what_went_on_from_it_write_together_and_teach(corpus, tmp_path, slt):
    recipe, to = corpus.recipe("mbart"), tmp_path / "folder"
    lm_export(recipe.run_folder(STAGE), to)
    values = {"translator__mbart__folder": to, "text__tokenizer": to, **STILL}
    further = corpus.recipe("mbart", runs_dir=tmp_path / "further", **values)
    gloss2text_train(further, device="cpu")
    runs = [each.run_folder(STAGE) for each in (recipe, further)]
    assert slt("evaluate", "--ensemble", ",".join(map(str, runs)), "--split", "dev").status == 0
    taught = {"gloss2text_train__teachers": f"[{runs[0]}]", "gloss2text_train__regularise__distillation": 1}
    gloss2text_train(corpus.recipe("mbart", runs_dir=tmp_path / "taught", **values, **taught), device="cpu")


def test_transformers_opens_weights_and_pieces(corpus, tmp_path):
    kinds = (("mbart", MBartForConditionalGeneration, "model.shared"), ("gpt2", GPT2LMHeadModel, "transformer.wte"))
    for model, kind, embedding in kinds:
        recipe, to = corpus.recipe(model), tmp_path / model
        lm_export(recipe.run_folder(STAGE), to)
        theirs = kind.from_pretrained(to).state_dict()[f"{embedding}.weight"]
        assert any(torch.equal(theirs, value) for value in weights(recipe, STAGE).values())
    own, others = Tokenizer.load(tmp_path / "mbart"), AutoTokenizer.from_pretrained(tmp_path / "mbart")
    text = "im norden gibt es schnee ."
    assert others(text)["input_ids"] == [*own.encode(text), own.eos_id, own.language_id]


def test_what_left_is_pruned_and_transformers_still_reads_its_pieces(corpus, tmp_path, slt):
    lm_export(corpus.recipe("mbart").run_folder(STAGE), tmp_path / "whole")
    manifest = corpus.recipe("mbart").corpus.manifest
    ended = slt("lm", "prune", tmp_path / "whole", "--manifest", manifest, "--to", tmp_path / "to")
    assert (ended.status, ended.out.count("\n")) == (0, 1), ended.out
    own, others = Tokenizer.load(tmp_path / "to"), AutoTokenizer.from_pretrained(tmp_path / "to")
    for text in (clip.text for clip in read_manifest(manifest)):
        assert others(text)["input_ids"] == [*own.encode(text or ""), own.eos_id, own.language_id]


def test_a_run_that_reads_signs_gives_its_mbart(toy, joint, tmp_path, stages):
    used = toy.recipe().run_folder("visual_train").parent
    cvslt = toy.recipe(
        runs_dir=tmp_path / "runs",
        uses__encoder=used,
        uses__language=used,
        extract__store=used / "features",
        **BRIDGED,
        translate_train__training__epochs=1,
    )
    stages["translate_train"](cvslt, device="cpu")
    runs = (
        ("mmtlb", toy.recipe(), "translate_train"),
        ("cvslt", cvslt, "translate_train"),
        ("joint", joint.recipe, "joint_train"),
    )
    for name, recipe, stage in runs:
        to = tmp_path / name
        told = lm_export(recipe.run_folder(stage), to)
        assert bool(told["gloss_vectors"]) == (name != "cvslt")  # its suffix is of the text embedding
        best = weights(recipe, stage)
        theirs = MBartForConditionalGeneration.from_pretrained(to)
        assert torch.equal(theirs.state_dict()["model.shared.weight"], best[f"{TRANSLATOR}mbart.model.shared.weight"])
        account = json.loads((to / "slt_mbart.json").read_text())
        assert account["weights"] == told["weights"] and account["made_by"] == "slt lm export"
        values = {"translator__mbart__folder": to, "text__tokenizer": to, "runs_dir": tmp_path / f"{name}-runs"}
        stages["gloss2text_train"](toy.recipe(**values, gloss2text_train__training__epochs=1), device="cpu")


def test_what_cannot_leave_is_refused(toy, corpus, tmp_path):
    def refused(run, to=tmp_path / "to", **options) -> str:
        return refusal(lambda device, **rest: lm_export(run, to, **rest), **options)

    assert "holds no language model" in refused(toy.recipe().run_folder("visual_train"))
    run = corpus.recipe("mbart").run_folder(STAGE)
    assert "or holds it" in refused(run, run.parent)
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine.txt").write_text("mine")
    assert "--overwrite" in refused(run)
    assert "has not made it" in refused(run, overwrite=True)
    lm_export(run, tmp_path / "twice")
    assert "--overwrite" in refused(run, tmp_path / "twice")
    assert lm_export(run, tmp_path / "twice", overwrite=True)["language_model"] == "mbart"


def test_of_a_run_that_was_stopped_the_best_so_far_leaves_with_a_warning(corpus, tmp_path, caplog):
    run = shutil.copytree(corpus.recipe("mbart").run_folder(STAGE), tmp_path / STAGE)
    (run / "result.json").unlink()
    assert lm_export(run, tmp_path / "to") and "is not finished: its weights are the best so far" in caplog.text
