import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.bleu import bleu_of_statistics, corpus_bleu, sentence_bleu, sentence_statistics

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=9).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(PAIRS)
def test_every_order_equals_a_sacrebleu_of_that_order(pairs):
    hypotheses, references = map(list, zip(*pairs, strict=True))
    for order, score in enumerate(corpus_bleu(hypotheses, references), start=1):
        reference = BLEU(
            tokenize="none",
            smooth_method="floor",
            smooth_value=0,
            max_ngram_order=order,
            effective_order=False,
            force=True,
        )
        assert score == pytest.approx(reference.corpus_score(hypotheses, [references]).score, abs=1e-9)


def test_order_without_a_match_is_exactly_zero():
    bleu = corpus_bleu(["a b x d e y g"], ["a b c d e f g"])
    assert bleu[:2] == pytest.approx((71.428571428571, 48.795003647427))
    assert bleu[2:] == (0.0, 0.0)


def test_case_counts():
    assert corpus_bleu(["Regen kommt"], ["regen kommt"])[0] == pytest.approx(50)


def test_characters_ignore_white_space():
    assert corpus_bleu(["他今 年四 岁。"], ["他今年四岁。"], "char") == pytest.approx((100,) * 4)


def test_short_output_pays_the_brevity_penalty():
    assert corpus_bleu(["a b"], ["a b c d e f"])[0] == pytest.approx(100 * np.exp(1 - 6 / 2))


@settings(max_examples=50, deadline=None)
@given(PAIRS)
def test_summed_statistics_give_the_corpus_score(pairs):
    hypotheses, references = map(list, zip(*pairs, strict=True))
    sums = sentence_statistics(hypotheses, references).sum(axis=0)
    got = [bleu_of_statistics(sums, order) for order in (1, 2, 3, 4)]
    assert got == pytest.approx(corpus_bleu(hypotheses, references), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(PAIRS)
def test_a_sentence_is_scored_as_sacrebleu_scores_sentences(pairs):
    metric = BLEU(tokenize="none", effective_order=True)
    wanted = [metric.sentence_score(hypothesis, [reference]).score for hypothesis, reference in pairs]
    assert sentence_bleu(*map(list, zip(*pairs, strict=True))) == pytest.approx(wanted)


def test_unequal_numbers_of_sentences_are_refused():
    with pytest.raises(SltError, match="2 hypotheses but 1 references"):
        corpus_bleu(["a", "b"], ["a"])


def test_empty_corpus_is_refused():
    with pytest.raises(SltError, match="nothing to score"):
        corpus_bleu([], [])


def test_one_string_instead_of_a_list_is_refused():
    with pytest.raises(SltError, match="one string was given"):
        corpus_bleu("ab", "ab")


def test_unknown_level_is_refused():
    with pytest.raises(SltError, match="unknown level 'subword'; use one of: word, char"):
        corpus_bleu(["a"], ["a"], "subword")
