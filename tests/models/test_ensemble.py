"""Translators that write one text together."""

from collections import Counter
from contextlib import contextmanager
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


# seeds of which one rules out pieces that the other would write
UNLIKE = [(aimless(0), aimless(1)), (aimless(2), aimless(0, language_model="gpt2"))]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("models", UNLIKE)
def test_whoever_leads_the_same_is_written_where_repetition_is_ruled_out(models, num_beams, size):
    settings = {"num_beams": num_beams, "no_repeat_ngram_size": size, "num_return": num_beams, "max_length": 9}
    one, other = together(*models, **settings), together(*models[::-1], **settings)
    assert torch.equal(one.ids, other.ids)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("models", UNLIKE)
def test_a_piece_that_is_ruled_out_leaves_the_mean_of_the_others_as_it_is(models, size):
    """Greedy, by hand: the mean of what all members think, and then no piece that would repeat."""
    members = [model.member(model.source(BATCH)) for model in models]
    ids = torch.full((6, 1), TOKENIZER.language_id)
    expected = []
    for _ in range(7):
        mean = torch.stack([mean_log_probs([member], ids)[:, -1].exp() for member in members]).mean(dim=0).log()
        for number, row in enumerate(ids.tolist()):
            known = [tuple(row[n : n + size]) for n in range(len(row) - size + 1)]
            last = tuple(row[len(row) - size + 1 :])
            mean[number, [ngram[-1] for ngram in known if ngram[:-1] == last]] = -torch.inf
        expected.append(mean)
        ids = torch.cat([ids, mean.argmax(dim=-1, keepdim=True)], dim=1)
    with searched(models[0]) as seen:
        together(*models, num_beams=1, max_length=9, no_repeat_ngram_size=size)
    (found,) = seen
    for number, row in enumerate(ids.tolist()):
        steps = (row[1:].index(EOS_ID) if EOS_ID in row else 6) + 1
        for step in range(steps):
            torch.testing.assert_close(found.scores[step][number], expected[step][number], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("max_length", [4, 9])
@pytest.mark.parametrize("size", [0, 2])
@pytest.mark.parametrize("models", UNLIKE)
def test_scores_of_several_are_those_of_the_search_itself_wherever_it_is_cut(models, size, max_length):
    settings = {"num_return": 4, "max_length": max_length, "no_repeat_ngram_size": size}
    with searched(models[0]) as seen:
        found = together(*models, with_scores=True, **settings)
    torch.testing.assert_close(found.scores, seen[0].sequences_scores, atol=1e-5, rtol=1e-4)


@contextmanager
def searched(model):
    """What the search of a model knows besides the ids, call by call."""
    seen, of = [], getattr(model.mbart, "gpt2", model.mbart)
    plain = of.generate

    def watched(**arguments):
        seen.append(plain(**arguments, return_dict_in_generate=True, output_scores=True))
        return seen[-1].sequences

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, "generate", watched)
        yield seen


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
