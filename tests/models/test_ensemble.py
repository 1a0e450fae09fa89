"""Translators that write one text together."""

from collections import Counter
from functools import cache

import pytest
import torch
from toy_translator import PAIRS, TOKENIZER, gloss_inputs, targets, toy_translator

from slt_pipeline.models.ensemble import Member, mean_log_probs
from slt_pipeline.models.mbart import EOS_ID

BATCH = gloss_inputs([glosses for glosses, _ in PAIRS[:5]] + [PAIRS[6][0][:1]])


@cache
def sharp(seed: int):
    """A translator that has learned some of the sentences; from another start others."""
    model = toy_translator(seed=seed)
    pairs = PAIRS[seed::3]
    batch = gloss_inputs([glosses for glosses, _ in pairs]) | targets([text for _, text in pairs])
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(50):
        optimiser.zero_grad()
        model(batch, {"translation"})["translation"].backward()
        optimiser.step()
    return model


def together(*models, **settings):
    first, *others = models
    members = [model.member(model.source(BATCH)) for model in others]
    return first.generate(first.source(BATCH), others=members, **{"num_beams": 4, "max_length": 12, **settings})


def test_a_translator_together_with_itself_writes_what_it_writes_alone():
    alone, twice = together(sharp(0), with_scores=True), together(sharp(0), sharp(0), with_scores=True)
    assert torch.equal(alone.ids, twice.ids)
    torch.testing.assert_close(alone.scores, twice.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_whoever_leads_the_search_the_text_is_the_same(num_beams):
    a, b, c = sharp(0), sharp(1), sharp(2)
    one, other = together(a, b, c, num_beams=num_beams), together(c, a, b, num_beams=num_beams)
    assert torch.equal(one.ids, other.ids)
    assert not torch.equal(one.ids, together(a, num_beams=num_beams).ids)  # the others have a say


def test_every_piece_is_the_likeliest_by_the_mean_of_the_probabilities():
    models = sharp(0), sharp(1)
    members = [model.member(model.source(BATCH)) for model in models]
    ids = torch.full((6, 1), TOKENIZER.language_id)
    for _ in range(6):
        ids = torch.cat([ids, mean_log_probs(members, ids)[:, -1:].argmax(dim=-1)], dim=1)
    found = together(*models, num_beams=1, max_length=12).ids[:, :7]
    for plain, row in zip(ids, found, strict=True):
        end = (plain == EOS_ID).nonzero()[:1].flatten().tolist() or [6]
        assert row[: end[0] + 1].tolist() == plain[: end[0] + 1].tolist()


def test_hypotheses_come_best_first_by_the_scores_of_all_members():
    found = together(sharp(0), sharp(1), num_return=4, with_scores=True)
    assert found.scores is not None
    scores = found.scores.view(6, 4)
    assert (scores[:, :-1] >= scores[:, 1:] - 1e-5).all()


def aimless(seed=0, **changes):
    """A translator that has learned nothing and knows no positions, and so runs in loops."""
    model = toy_translator(seed=seed, **changes)
    for name, table in model.mbart.named_parameters():
        if "wpe" in name or "embed_positions" in name:
            torch.nn.init.zeros_(table)
    return model


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("models", [(aimless(),), (aimless(), aimless(seed=1)), (aimless(language_model="gpt2"),)])
def test_no_pieces_in_a_row_are_written_twice_where_that_is_ruled_out(models, num_beams):
    def most_often(size, **settings):
        found = together(*models, num_beams=num_beams, max_length=20, with_scores=True, **settings)
        assert found.scores is not None and found.scores.isfinite().all()
        rows = [[id for id in row if id != TOKENIZER.pad_id] for row in found.ids.tolist()]
        runs = [Counter(zip(*(row[n:] for n in range(size)), strict=False)) for row in rows]
        return max(max(count.values()) for count in runs)

    for size in (1, 2, 3):
        assert most_often(size) > 1
        assert most_often(size, no_repeat_ngram_size=size) == 1


def test_members_may_be_of_other_sizes():
    small, large = toy_translator(seed=1), toy_translator(seed=2)
    members = [model.member(model.source(BATCH)) for model in (small, large)]
    wider = Member(members[1].mbart, *(each[:, :3] for each in members[1][1:]))
    assert (
        mean_log_probs([members[0], wider], torch.full((6, 1), TOKENIZER.language_id))
        .exp()
        .sum(-1)
        .allclose(torch.ones(6, 1), atol=1e-5)
    )
