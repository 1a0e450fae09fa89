"""What Gloss2Text learns from, and the noise that keeps it from learning a small corpus by heart."""

import numpy as np
import pytest
import torch

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.gloss_text import GlossTextDataset
from slt_pipeline.corpora.labels import GlossInputs, GlossPieces
from slt_pipeline.errors import SltError
from slt_pipeline.text.bpe_dropout import BPEDropout
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.train_tokenizer import train_tokenizer

TEXTS = [
    "im norden regnet es morgen .",
    "am mittwoch scheint die sonne häufiger .",
    "regen im süden  und schnee",
    "你好 吗",
]
CLIPS = [
    Clip(f"c{n}", f"{n}.mp4", 9, 25.0, "A", tuple(text.upper().split()), text, "train") for n, text in enumerate(TEXTS)
]
TOKENIZER = train_tokenizer(TEXTS * 3, vocab_size=90)
GLOSSES = GlossVocabulary.build([clip.gloss for clip in CLIPS], layout="translation")
KEYS = [(0, 2), (3, 0)]


def items(glosses=None, **noise):
    return GlossTextDataset(CLIPS, TOKENIZER, glosses or GlossInputs(GLOSSES), seed=7, **noise)


def same(one, other) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_items_come_by_epoch_and_index_and_without_noise_are_the_clips():
    batch = items().__getitems__(KEYS)
    labels, inputs = TOKENIZER.encode_target([TEXTS[2], TEXTS[0]])
    assert torch.equal(batch["labels"], labels) and torch.equal(batch["decoder_input_ids"], inputs)
    assert batch["gloss_input_lengths"].tolist() == [5, 6]
    assert batch["gloss_input_ids"][0, :5].tolist() == GLOSSES.encode(CLIPS[2].gloss)


def test_noise_is_that_of_seed_epoch_and_index_alone():
    noisy = items(gloss_dropout=0.5, piece_dropout=0.5)
    batch = noisy.__getitems__(KEYS)
    assert same(batch, items(gloss_dropout=0.5, piece_dropout=0.5).__getitems__(KEYS))
    assert not same(batch, noisy.__getitems__([(1, 2), (3, 0)]))
    alone = noisy.__getitems__([KEYS[1]])
    length = int(alone["gloss_input_lengths"])
    assert torch.equal(batch["gloss_input_ids"][1, :length], alone["gloss_input_ids"][0])


def test_so_many_glosses_are_read_as_unknown():
    noisy, lost, all_of = items(gloss_dropout=0.2), 0, 0
    for epoch in range(200):
        batch = noisy.__getitems__([(epoch, 1)])
        lost, all_of = lost + int((batch["gloss_input_ids"] == GLOSSES.unk_id).sum()), all_of + 6
    assert 0.15 < lost / all_of < 0.25


def test_pieces_of_any_noise_spell_the_same_text():
    rng = np.random.default_rng(0)
    for text in TEXTS:
        found = {tuple(TOKENIZER.encode_with_dropout(text, 0.5, rng)) for _ in range(20)}
        assert len(found) > 1
        assert {TOKENIZER.decode(ids) for ids in found} == {" ".join(text.split())}


def test_without_dropout_the_pieces_are_those_of_sentencepiece():
    pieces = BPEDropout(TOKENIZER.model)
    for text in TEXTS:
        assert TOKENIZER.encode_with_dropout(text, 0.0, np.random.default_rng(0)) == TOKENIZER.encode(text)
        assert all(piece >= 0 for piece in pieces.encode(text, 0.3, np.random.default_rng(0)))


def test_all_merges_left_out_leave_characters():
    ids = TOKENIZER.encode_with_dropout("regen im", 1.0, np.random.default_rng(0))
    assert [TOKENIZER.decode([i]) for i in ids] == ["", *"regen", "", *"im"]


def test_a_unigram_model_is_refused_and_the_key_named(unigram_model):
    with pytest.raises(SltError, match=r"regularise\.piece_dropout needs a tokenizer of merges"):
        BPEDropout(unigram_model)


@pytest.fixture
def unigram_model() -> bytes:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    return model.getvalue()


def test_glosses_may_be_read_as_pieces_with_the_same_noise():
    batch = items(GlossPieces(TOKENIZER)).__getitems__(KEYS)
    length = int(batch["gloss_piece_lengths"][1])
    assert TOKENIZER.decode(batch["gloss_piece_ids"][1, :length]) == TEXTS[0]
    noisy = items(GlossPieces(TOKENIZER), gloss_dropout=0.99).__getitems__(KEYS)
    assert set(noisy["gloss_piece_ids"].flatten().tolist()) == {TOKENIZER.unk_id, TOKENIZER.pad_id}
    assert GlossPieces(TOKENIZER).length(("REGENSCHNEE", "IM")) > 2
