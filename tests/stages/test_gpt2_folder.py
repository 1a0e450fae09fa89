"""A GPT-2 of a Hugging Face folder, with its own byte-level pieces: what Gloss2Text starts from; and one made here."""

import json
import shutil

import pytest
import tokenizers
import torch
from gloss_corpus import GlossCorpus
from stage_tools import refusal, weights
from transformers import GPT2Config, GPT2LMHeadModel

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json
from slt_pipeline.models.build import build_translator
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.stages.lm_export import lm_export
from slt_pipeline.stages.lm_pretrain import lm_pretrain
from slt_pipeline.systems.translator import build_gloss2text
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.text.tokenizer import Tokenizer

TEXTS = ["im norden gibt es regen .", "Im süden schneit's – heftig!", "straße 7°C"]
ONCE = {"gloss2text_train__training__epochs": 1, "gloss2text_train__training__validate_every": 1}
ONCE |= {"translator__gpt2": "{dropout: 0.0, attention_dropout: 0.0}"}
RATES = "optimiser: {lr: {default: 0.01}, weight_decay: 0}"
PRETRAIN = f"{{held_out: 0.3, most_pieces: 40, training: {{epochs: 2, batch_size: 4, num_workers: 0, {RATES}}}}}"


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    """A small GPT-2 as one has it from a hub: vocab.json, merges.txt, more rows than pieces."""
    folder = tmp_path_factory.mktemp("hub") / "german-gpt2"
    pieces = tokenizers.ByteLevelBPETokenizer()
    pieces.train_from_iterator(TEXTS * 3, vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    torch.manual_seed(1)
    sizes = GPT2Config(vocab_size=310, n_embd=32, n_layer=2, n_head=2, n_positions=64, n_inner=48, eos_token_id=0)
    model = GPT2LMHeadModel(sizes)
    model.save_pretrained(folder)
    pieces.save_model(str(folder))
    return folder


def opened(folder):
    return Tokenizer.load(folder, "de_DE", detokenise="none")


@pytest.mark.parametrize("text", [*TEXTS, "ein ☂ für Łódź"])
def test_a_text_is_the_pieces_that_its_own_tokenizer_makes_and_comes_back(german, text):
    theirs = tokenizers.ByteLevelBPETokenizer(str(german / "vocab.json"), str(german / "merges.txt"))
    own = opened(german)
    assert own.encode(text) == [number + 4 for number in theirs.encode(f" {text}").ids]
    assert own.round_trip(text) == text


def test_a_tokenizer_in_one_file_is_the_same(german, tmp_path):
    tokenizers.ByteLevelBPETokenizer(str(german / "vocab.json"), str(german / "merges.txt")).save(
        str(tmp_path / "tokenizer.json")
    )
    assert [opened(tmp_path).encode(text) for text in TEXTS] == [opened(german).encode(text) for text in TEXTS]
    opened(german).save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved").digest() == opened(german).digest()


def test_its_pieces_are_as_likely_as_they_were(german, tmp_path):
    recipe = GlossCorpus(tmp_path).recipe(text__tokenizer=german, translator__gpt2=f"{{folder: {german}}}")
    tokenizer, theirs = opened(german), GPT2LMHeadModel.from_pretrained(german).eval()
    model = build_translator(recipe.translator.model_copy(update={"suffix": "txt"}), tokenizer).eval()
    pieces = tokenizer.encode(TEXTS[1])
    source = model.text_source(torch.zeros(1, 3, dtype=torch.long))
    with torch.no_grad():
        logits = model.decode(source.vectors, source.mask, torch.tensor([[tokenizer.language_id, *pieces]]))
        expected = theirs(torch.tensor([[0, *(piece - 4 for piece in pieces)]])).logits
    count = tokenizer.byte_pieces
    torch.testing.assert_close(logits[..., 4 : 4 + count], expected[..., :count])
    torch.testing.assert_close(logits[..., tokenizer.eos_id], expected[..., 0])


@pytest.mark.parametrize("kind", ["safetensors", "torch, of a body alone"])
def test_gloss2text_starts_from_it_and_its_run_needs_it_no_more(german, tmp_path, kind, slt):
    folder = shutil.copytree(german, tmp_path / "gpt2")
    if kind != "safetensors":
        state = GPT2LMHeadModel.from_pretrained(german).transformer.state_dict()
        masks = {f"h.{n}.attn.{name}": torch.ones(1) for n in range(2) for name in ("bias", "masked_bias")}
        torch.save(state | masks, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    corpus = GlossCorpus(tmp_path)
    values = {**ONCE, "translator__gpt2__folder": folder, "text__tokenizer": folder}
    recipe = corpus.recipe(**values, gloss2text_train__training__optimiser__lr="{default: 0}")
    gloss2text_train(recipe, device="cpu")
    trained, theirs = weights(recipe, "gloss2text_train"), GPT2LMHeadModel.from_pretrained(german).state_dict()
    assert torch.equal(trained["mbart.gpt2.transformer.h.1.mlp.c_fc.weight"], theirs["transformer.h.1.mlp.c_fc.weight"])
    shutil.rmtree(folder)
    ended = slt("evaluate", "--run", recipe.run_folder("gloss2text_train"))
    assert ended.status == 0 and "gloss2text" in ended.out


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", lambda said: said.update(model_type="bert"), "model_type is 'bert', not 'gpt2'"),
        (
            "config.json",
            lambda said: said.update(n_embd=64),
            "is .* the model has .*; use the config.json and tokenizer",
        ),
        ("config.json", lambda said: said.update(n_layer=3), "12 missing, 0 unknown, e.g. transformer.h.2"),
        (
            "config.json",
            lambda said: said.update(n_positions=10**12),
            "wpe.weight is .* the model has .1000000000000",
        ),
        ("config.json", lambda said: said.update(n_inner="wide"), "n_inner = .wide., which is not a whole number"),
        ("config.json", lambda said: said.update(eos_token_id=999), "the end of a text is 999"),
        ("vocab.json", lambda said: said.clear(), "no tokenizer|has 0|Unigram|BPE"),
    ],
)
def test_what_is_no_gpt2_is_refused_in_one_line(german, tmp_path, name, change, message):
    folder = shutil.copytree(german, tmp_path / "gpt2")
    said = read_json(folder / name)
    change(said)
    (folder / name).write_text(json.dumps(said))
    corpus = GlossCorpus(tmp_path)
    recipe = corpus.recipe(translator__gpt2=f"{{folder: {folder}}}", text__tokenizer=folder)
    with pytest.raises(SltError, match=message) as found:
        build_gloss2text(recipe, Vocabularies.build(recipe.corpus, recipe.text))
    assert "\n" not in str(found.value)


def test_a_tokenizer_of_another_place_is_refused(german, tmp_path):
    recipe = GlossCorpus(tmp_path).recipe(translator__gpt2=f"{{folder: {german}}}")
    assert "use the tokenizer of the same folder" in refusal(gloss2text_train, recipe)
    noisy = GlossCorpus(tmp_path).recipe(
        translator__gpt2=f"{{folder: {german}}}",
        text__tokenizer=german,
        gloss2text_train__regularise__piece_dropout=0.1,
    )
    assert "this tokenizer is a GPT-2's; set it to 0" in refusal(gloss2text_train, noisy)


def test_one_that_was_pretrained_here_is_one_for_transformers_and_for_gloss2text(tmp_path):
    corpus = GlossCorpus(tmp_path)
    recipe = corpus.recipe(lm_pretrain=PRETRAIN)
    assert lm_pretrain(recipe, device="cpu")["best_score"] > 1
    folder = recipe.run_folder("lm_pretrain") / "gpt2"
    trained = weights(recipe, "lm_pretrain")
    theirs = GPT2LMHeadModel.from_pretrained(folder).state_dict()
    assert all(torch.equal(theirs[name.removeprefix("mbart.gpt2.")], value) for name, value in trained.items())
    values = {**ONCE, "translator__gpt2__folder": folder, "text__tokenizer": folder}
    started = corpus.recipe(**values, gloss2text_train__training__optimiser__lr="{default: 0}")
    gloss2text_train(started, device="cpu")
    found = weights(started, "gloss2text_train")
    assert all(torch.equal(found[name], value) for name, value in trained.items())


def test_noise_does_nothing_where_a_text_is_learned_as_it_stands(tmp_path):
    with pytest.raises(SltError, match=r"lm_pretrain.masked = 0.5 does nothing: translator.language_model is gpt2"):
        GlossCorpus(tmp_path).recipe(lm_pretrain__masked=0.5)


def test_its_pieces_have_no_place_in_a_folder_of_lm_export(german, tmp_path):
    recipe = GlossCorpus(tmp_path).recipe(**ONCE, text__tokenizer=german)
    gloss2text_train(recipe, device="cpu")
    run = recipe.run_folder("gloss2text_train")
    message = refusal(lambda device: lm_export(run, tmp_path / "to"))
    assert f"{run} has the tokenizer of a GPT-2 from elsewhere" in message and not (tmp_path / "to").exists()
