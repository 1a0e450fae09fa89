"""Span infilling as BART and mBART do it: so many words behind masks, one mask a span."""

import numpy as np
import pytest

from slt_pipeline.text.noise import infill, join, spans

MASK, END = 900, 2
SENTENCES = [[[10, 11], [12], [13]], [[20], [21, 22]], [[30]]]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("words", "masked"), [(1, 0.35), (7, 0.35), (100, 0.35), (40, 0.9), (30, 1.0), (30, 0.0)])
def test_the_share_of_masked_words_is_the_one_asked_for(words, masked):
    found = [spans(words, masked, 3.5, rng(seed)) for seed in range(600)]
    share = np.mean([sum(length for _, length in each) for each in found]) / words
    assert abs(share - masked) < 0.5 / np.sqrt(600) / words * 5 + 1e-9


def test_spans_lie_inside_do_not_touch_and_make_no_text_longer():
    for seed in range(500):
        found = spans(20, 0.5, 1.5, rng(seed))
        ends = [start + length for start, length in found]
        assert all(end < start for end, (start, _) in zip(ends, found[1:], strict=False))
        assert found[0][0] >= 0 and ends[-1] <= 20
        assert len(found) <= sum(length for _, length in found)


def test_lengths_of_spans_are_poisson():
    lengths = np.array([length for seed in range(60) for _, length in spans(3000, 0.35, 3.5, rng(seed))])
    assert abs(lengths.mean() - 3.5) < 0.1 and abs(lengths.var() - 3.5) < 0.3
    assert 0.02 < (lengths == 0).mean() < 0.04  # exp(-3.5): masks that nothing hides behind


def test_every_place_is_masked_alike():
    counts = np.zeros(10)
    for seed in range(4000):
        for start, length in spans(10, 0.3, 1.0, rng(seed)):
            counts[start : start + length] += 1
    assert abs(counts / 4000 - 0.3).max() < 0.05


def test_a_span_of_words_is_one_mask_over_the_end_of_a_sentence_too():
    assert join(SENTENCES, END) == [10, 11, 12, 13, END, 20, 21, 22, END, 30]
    assert infill(SENTENCES, [(1, 1), (4, 0)], MASK, END) == [10, 11, MASK, 13, END, 20, MASK, 21, 22, END, 30]
    assert infill(SENTENCES, [(2, 2)], MASK, END) == [10, 11, 12, MASK, 21, 22, END, 30]
    assert infill(SENTENCES, [(0, 3), (6, 0)], MASK, END) == [MASK, END, 20, 21, 22, END, 30, MASK]
    assert infill(SENTENCES, [(0, 6)], MASK, END) == [MASK]
