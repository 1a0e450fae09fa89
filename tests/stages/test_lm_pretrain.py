"""An mBART that learns a language by denoising: a stage as others, and a folder that others start from."""

import shutil
from functools import partial

import pytest
import torch
from stage_tools import CPU, KilledError, refusal, weights
from toy_system import toy_recipe
from transformers import AutoTokenizer, MBartForConditionalGeneration

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.stages.lm_export import lm_export
from slt_pipeline.stages.lm_pretrain import lm_pretrain
from slt_pipeline.systems.mbart_folder import MBartFolder
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.systems.vocabularies import build_tokenizer
from slt_pipeline.text.tokenizer import Tokenizer
from slt_pipeline.training.checkpoint import best_checkpoint

TRAINING = "{epochs: 2, batch_size: 4, num_workers: 0, log_every: 1, optimiser: {lr: {default: 0.01}, weight_decay: 0}}"
GENERATION = "{num_beams: 2, max_length: 12}"
PLACES = ("norden", "süden", "westen", "osten")
GERMAN = "\n\n".join(
    f"morgen regnet es im {place} .\ndazu weht {wind} wind ." for place in PLACES for wind in ("kein", "starker")
)
RECIPE = """
seed: 3
runs_dir: {root}/runs
corpus: {{manifest: {root}/manifest.jsonl}}
text: {{vocab_size: 80}}
translator:
  mbart: {{d_model: 16, num_layers: 1, num_heads: 2, ffn_dim: 16, max_positions: 64, dropout: 0.1}}
lm_pretrain: {{texts: ["{root}/german.txt"], held_out: 0.2, most_pieces: 40, training: {training}}}
gloss2text_train: {{generation: {generation}, training: {training}}}
translate_train: {{generation: {generation}}}
evaluate: {{generation: {generation}}}
translate: {{generation: {generation}}}
"""


@pytest.fixture
def german(tmp_path):
    """A corpus of six sentences, and German beside it: what the language side needs."""
    (tmp_path / "german.txt").write_text(GERMAN)
    clips = [
        Clip(f"c{n}", f"{n}.mp4", 9, 25.0, "A", ("REGEN", place.upper()), f"regen im {place} .", split)
        for n, (place, split) in enumerate(zip(PLACES, ("train", "train", "train", "dev"), strict=True))
    ]
    write_manifest(tmp_path / "manifest.jsonl", clips)
    file = tmp_path / "german.yaml"
    file.write_text(RECIPE.format(root=tmp_path, training=TRAINING, generation=GENERATION))
    return partial(toy_recipe, file)


def test_its_folder_is_an_mbart_for_transformers_and_for_gloss2text(german):
    result = lm_pretrain(german(), device="cpu")
    assert result["score"] == "perplexity" and result["best_score"] > 1
    folder = german().run_folder("lm_pretrain") / "mbart"
    trained = weights(german(), "lm_pretrain")
    theirs = MBartForConditionalGeneration.from_pretrained(folder)
    assert torch.equal(theirs.get_input_embeddings().weight, trained["mbart.model.shared.weight"])
    assert theirs.config.decoder_start_token_id == MBartFolder.open(folder).tokenizer.language_id
    own, others = MBartFolder.open(folder).tokenizer, AutoTokenizer.from_pretrained(folder)
    for text in (*GERMAN.split("\n"), "regenwolken  über dem süden", "ein ☂ und ☃☃ schnee"):
        assert others(text)["input_ids"] == [*own.encode(text), own.eos_id, own.language_id]
    names = {"translator__mbart__folder": folder, "text__tokenizer": folder}
    started = german(**names, gloss2text_train__training__optimiser__lr="{default: 0}")
    gloss2text_train(started, device="cpu")
    found = open_gloss2text(started, CPU).model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in trained.items())


def test_weights_are_refused_beside_as_many_other_pieces(german, tmp_path):
    """A tokenizer that another corpus trained has the same number of them as often as not."""
    lm_pretrain(german(), device="cpu")
    folder = german().run_folder("lm_pretrain") / "mbart"
    other = tmp_path / "other"
    reversed_words = [" ".join(word[::-1] for word in line.split()) for line in GERMAN.split("\n") if line]
    build_tokenizer(german().text, reversed_words).save(other)
    assert Tokenizer.load(other).vocab_size == Tokenizer.load(folder).vocab_size
    for stage in (gloss2text_train, lm_pretrain):
        message = refusal(stage, german(name="again", translator__mbart__folder=folder, text__tokenizer=other))
        assert f"mBART folder {folder}: " in message and "the tokenizer has as many others" in message
        assert f"-o text.tokenizer={folder}" in message
    named = {"translator__mbart__folder": shutil.copytree(folder, tmp_path / "copy"), "text__tokenizer": folder}
    gloss2text_train(german(name="again", **named), device="cpu")


def test_a_run_that_was_killed_goes_on_to_the_same_weights(german, monkeypatch):
    lm_pretrain(german(), device="cpu")
    whole = weights(german(), "lm_pretrain")
    with monkeypatch.context() as patch:
        patch.setattr("slt_pipeline.stages.lm_pretrain.write_mbart", _killed)
        with pytest.raises(KilledError):
            lm_pretrain(german(), device="cpu", overwrite=True)
    folder = german().run_folder("lm_pretrain")
    assert not (folder / "result.json").exists() and not (folder / "mbart").exists()
    lm_pretrain(german(), device="cpu")
    assert all(torch.equal(value, whole[name]) for name, value in weights(german(), "lm_pretrain").items())
    assert (folder / "mbart" / "slt_mbart.json").is_file()


def _killed(*_, **__):
    raise KilledError


def test_a_folder_that_was_deleted_is_written_again_without_training(german, monkeypatch):
    result = lm_pretrain(german(), device="cpu")
    folder = german().run_folder("lm_pretrain") / "mbart"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    monkeypatch.setattr("slt_pipeline.training.run.train", _killed)
    assert lm_pretrain(german(), device="cpu") == result
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_that_has_neither_folder_nor_checkpoints_says_how_it_is_made_anew(german):
    lm_pretrain(german(), device="cpu")
    folder = german().run_folder("lm_pretrain")
    for name in ("mbart", "checkpoints"):
        shutil.rmtree(folder / name)
    with pytest.raises(SltError, match=f"{folder} holds a finished run whose best checkpoint is gone") as refused:
        lm_pretrain(german(), device="cpu")
    assert "train anew with `slt lm pretrain --overwrite` and the same recipe" in str(refused.value)
    assert lm_pretrain(german(), device="cpu", overwrite=True)["best_step"] > 0


def test_its_run_is_not_exported_since_it_holds_such_a_folder(german, tmp_path):
    lm_pretrain(german(), device="cpu")
    run = german().run_folder("lm_pretrain")
    with pytest.raises(SltError, match=rf"such a folder already: use {run / 'mbart'}"):
        lm_export(run, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_one_epoch_is_enough_to_learn_by_default(german, caplog):
    started = german(lm_pretrain__training__epochs=1)
    assert started.lm_pretrain.training.schedule.name == "cosine-step"
    lm_pretrain(started, device="cpu")
    lines = read_json_lines(started.run_folder("lm_pretrain") / "metrics.jsonl")
    rates = [line["lr"]["translation"] for line in lines if line["split"] == "train"]
    assert max(rates) == 0.01 and "learns nothing" not in caplog.text
    still = german(lm_pretrain__training__epochs=1, lm_pretrain__training__schedule__name="cosine-epoch")
    lm_pretrain(still, device="cpu", overwrite=True)
    assert "lm_pretrain: schedule.name is cosine-epoch, and the run has 1 epoch" in caplog.text


def test_other_texts_or_other_noise_are_another_run(german, tmp_path):
    lm_pretrain(german(), device="cpu")
    assert "noise.span = 3.5, but now it is 2.0" in refusal(lm_pretrain, german(lm_pretrain__span=2.0))
    (tmp_path / "german.txt").write_text(GERMAN + "\n\nnoch ein satz .\n")
    assert "made with texts = " in refusal(lm_pretrain, german())


def test_a_language_that_mbart_has_not_is_learned_and_used(german):
    polish = {"text__language": "pl_PL", "text__gloss_language": "pl_PJM"}
    lm_pretrain(german(**polish), device="cpu")
    folder = german().run_folder("lm_pretrain") / "mbart"
    started = german(**polish, translator__mbart__folder=folder, text__tokenizer=folder)
    gloss2text_train(started, device="cpu")
    assert best_checkpoint(started.run_folder("gloss2text_train"), "x")


def test_a_text_whose_pieces_the_tokenizer_lacks_is_told(german, tmp_path, caplog):
    lm_pretrain(german(), device="cpu")
    assert "<unk>" not in caplog.text
    folder = german().run_folder("lm_pretrain") / "mbart"
    (tmp_path / "russian.txt").write_text("\n\n".join(("дождь .", "снег .", "ветер .")))
    given = {"translator__mbart": f"{{folder: {folder}}}", "text": f"{{tokenizer: {folder}}}"}
    texts = f"[{tmp_path}/russian.txt]"
    lm_pretrain(german(name="russian", lm_pretrain__texts=texts, lm_pretrain__corpus=False, **given), device="cpu")
    for which in ("training", "held-out"):
        assert f"lm_pretrain: 33.33 % of the pieces of {which} text are <unk>: the tokenizer" in caplog.text


def test_passages_longer_than_mbarts_positions_are_refused(german):
    message = refusal(lm_pretrain, german(lm_pretrain__most_pieces=63))
    assert "most_pieces is 63" in message and "64 positions" in message


@pytest.mark.parametrize(
    ("section", "message"),
    [("{corpus: false}", "nothing to learn from"), ("{masked: 0, permute: false}", "no noise to undo")],
)
def test_what_would_learn_nothing_is_refused(german, section, message):
    with pytest.raises(SltError, match=message):
        german(lm_pretrain=section)
