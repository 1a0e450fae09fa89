"""Gloss2Text with a GPT-2: glosses are a prompt, the text behind them is what is learned and searched."""

from functools import cache

import pytest
import torch
from safetensors.torch import load, save
from toy_translator import PAIRS, SMALL_GPT2, TOKENIZER, gloss_inputs, targets, toy_translator

from slt_pipeline.errors import SltError
from slt_pipeline.models.gpt2 import GPT2Gloss2Text
from slt_pipeline.models.label_smoothing import label_smoothed_loss
from slt_pipeline.models.mbart import EOS_ID, PAD_ID, text_embedding

LINES = [glosses for glosses, _ in PAIRS[:3]] + [PAIRS[4][0][:1], PAIRS[6][0] * 3]
BATCH = gloss_inputs([glosses for glosses, _ in PAIRS]) | targets([text for _, text in PAIRS])


def toy_gpt2(**changes):
    return toy_translator(language_model="gpt2", **changes)


@cache
def sharp(seed: int = 0, language_model: str = "gpt2"):
    """A model that has learned some of the sentences, others from another start."""
    model = toy_translator(seed=seed, language_model=language_model, label_smoothing=0.0)
    batch = gloss_inputs([glosses for glosses, _ in PAIRS[seed::2]]) | targets([text for _, text in PAIRS[seed::2]])
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        model(batch, {"translation"})["translation"].backward()
        optimiser.step()
    return model


def decoded(model, lines, **settings):
    return model.generate(model.source(gloss_inputs(lines)), **{"num_beams": 4, "max_length": 12, **settings})


def written(ids: torch.Tensor) -> list[int]:
    """The pieces of a row, up to `</s>`."""
    row = ids.tolist()
    return row[: row.index(EOS_ID) + 1] if EOS_ID in row else row


def test_the_loss_is_of_the_text_alone_whatever_stands_before_it():
    model = toy_gpt2()
    made = model(BATCH, {"translation", "recognition"})
    source = model.source(BATCH)
    logits = model.decode(source.vectors, source.mask, BATCH["decoder_input_ids"])
    assert logits.shape == (*BATCH["labels"].shape, TOKENIZER.vocab_size)
    assert made.keys() == {"translation"}
    assert torch.equal(made["translation"], label_smoothed_loss(logits, BATCH["labels"], 0.2, PAD_ID))


def test_a_piece_sees_glosses_and_pieces_before_it_and_none_behind():
    model = toy_gpt2()
    source, ids = model.source(BATCH), BATCH["decoder_input_ids"]
    before, other = model.decode(source.vectors, source.mask, ids), ids.clone()
    other[:, 3] = PAD_ID + 5
    after = model.decode(source.vectors, source.mask, other)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3])
    mirrored = model.decode(source.vectors.flip(0), source.mask, ids)
    assert not torch.allclose(mirrored[:, 0], before[:, 0])


def test_padding_and_batch_mates_change_nothing():
    model = toy_gpt2()
    texts = [text for _, text in PAIRS[:4]] + ["regen ."]
    ids, source = targets(texts)["decoder_input_ids"], model.source(gloss_inputs(LINES))
    noisy = torch.where(source.mask[..., None] == 1, source.vectors, 1e4)
    together = model.decode(noisy, source.mask, ids)
    for number, line in enumerate(LINES):
        alone = model.source(gloss_inputs([line]))
        expected = model.decode(alone.vectors, alone.mask, ids[number : number + 1])
        torch.testing.assert_close(together[number : number + 1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_padded_batch_decodes_as_its_sentences_do_alone(num_beams):
    together = decoded(sharp(), LINES, num_beams=num_beams, with_scores=True)
    assert len({tuple(written(row)) for row in together.ids}) > 2
    for number, line in enumerate(LINES):
        alone = decoded(sharp(), [line], num_beams=num_beams, with_scores=True)
        assert written(together.ids[number]) == written(alone.ids[0])
        assert together.scores is not None and alone.scores is not None
        torch.testing.assert_close(together.scores[number], alone.scores[0], atol=1e-5, rtol=1e-4)


def test_the_search_with_one_beam_is_a_plain_loop_over_the_likeliest_piece():
    model, found = sharp(), decoded(sharp(), LINES, num_beams=1).ids
    source = model.source(gloss_inputs(LINES))
    ids = torch.full((len(LINES), 1), TOKENIZER.language_id)
    for _ in range(11):
        logits = model.decode(source.vectors, source.mask, ids)[:, -1:]
        ids = torch.cat([ids, logits.argmax(dim=-1)], dim=1)
    for row, plain in zip(found, ids, strict=True):
        end = written(plain)[:11]
        assert written(row)[: len(end)] == end


def test_hypotheses_come_best_first_with_the_scores_of_the_search():
    found = decoded(sharp(), LINES, num_return=4, with_scores=True)
    assert found.scores is not None
    scores = found.scores.view(len(LINES), 4)
    assert (scores[:, :-1] >= scores[:, 1:] - 1e-5).all()


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("other", ["gpt2", "mbart"])
def test_whoever_leads_an_ensemble_the_text_is_the_same(other, num_beams):
    def together(first, second):
        members = [second.member(second.source(gloss_inputs(LINES)))]
        return decoded(first, LINES, num_beams=num_beams, others=members, with_scores=True)

    one, two = together(sharp(0), sharp(1, other)), together(sharp(1, other), sharp(0))
    assert torch.equal(one.ids, two.ids)
    torch.testing.assert_close(one.scores, two.scores, atol=1e-5, rtol=1e-4)
    assert not torch.equal(one.ids, decoded(sharp(0), LINES, num_beams=num_beams).ids)


def test_a_text_ends_where_the_positions_behind_its_glosses_do():
    line = PAIRS[0][0] * 15
    found = decoded(toy_gpt2(), [line], max_length=100, num_beams=1).ids
    assert found.shape[1] <= 40 - len(line) - 2
    assert found[0, -1] == EOS_ID
    with pytest.raises(SltError, match="a source of 40 steps leaves no position"):
        decoded(toy_gpt2(), [PAIRS[0][0] * 19])


def test_agreement_is_of_two_passes_with_other_dropout():
    model = toy_gpt2(gpt2=SMALL_GPT2.model_copy(update={"dropout": 0.3}))
    assert model(BATCH, {"agreement"})["agreement"] == 0
    model.train()
    assert model(BATCH, {"agreement"})["agreement"] > 0


def test_weights_are_saved_once_and_open_again():
    model, other = toy_gpt2(), toy_gpt2(seed=1)
    assert isinstance(other, GPT2Gloss2Text)
    state = model.state_dict()
    assert not any(name.endswith("lm_head.weight") for name in state)
    other.load_state_dict(load(save(state)))
    source = model.source(BATCH)
    again = other.source(BATCH)
    ids = BATCH["decoder_input_ids"]
    assert torch.equal(other.decode(again.vectors, again.mask, ids), model.decode(source.vectors, source.mask, ids))
    assert other.hugging_face.get_parameter("lm_head.weight") is text_embedding(other.mbart)


def test_frozen_text_vectors_stay_and_the_rest_is_trained():
    frozen = toy_gpt2(gpt2=SMALL_GPT2.model_copy(update={"freeze_text_embedding": True}))
    frozen(BATCH, {"translation"})["translation"].backward()
    assert text_embedding(frozen.mbart).grad is None
    assert frozen.hugging_face.get_parameter("transformer.wpe.weight").grad is not None
