import numpy as np
import pytest

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.bleu import corpus_bleu
from slt_pipeline.metrics.significance import compare_bleu, compare_wer
from slt_pipeline.metrics.wer import word_error_rate

WORDS = [f"w{n}" for n in range(40)]


def _corpus(num_sentences, noise, seed):
    """References and a copy in which each word is replaced with probability `noise`."""
    references = [list(np.random.default_rng(n).choice(WORDS, 9)) for n in range(num_sentences)]
    rng = np.random.default_rng(seed)
    noisy = [[w if rng.random() > noise else rng.choice(WORDS) for w in sentence] for sentence in references]
    return [" ".join(s) for s in noisy], [" ".join(s) for s in references]


def test_clear_difference_is_significant():
    good, references = _corpus(120, 0.1, seed=1)
    bad, _ = _corpus(120, 0.4, seed=2)
    bleu = compare_bleu(good, bad, references, num_draws=200)
    assert bleu.score_a == pytest.approx(corpus_bleu(good, references)[3])
    assert bleu.score_b == pytest.approx(corpus_bleu(bad, references)[3])
    assert 0 < bleu.low < bleu.difference < bleu.high
    assert bleu.p_value == pytest.approx(1 / 201)
    wer = compare_wer(good, bad, references, num_draws=200)
    assert wer.difference == pytest.approx(word_error_rate(good, references).wer - word_error_rate(bad, references).wer)
    assert wer.low < wer.high < 0
    assert wer.p_value == pytest.approx(1 / 201)


def test_equal_quality_is_not_significant():
    one, references = _corpus(120, 0.2, seed=3)
    other, _ = _corpus(120, 0.2, seed=4)
    for comparison in (
        compare_bleu(one, other, references, num_draws=200),
        compare_wer(one, other, references, num_draws=200),
    ):
        assert comparison.low < 0 < comparison.high
        assert comparison.p_value > 0.05


def test_identical_systems_have_p_value_one():
    one, references = _corpus(20, 0.2, seed=3)
    assert compare_bleu(one, one, references, num_draws=50).p_value == 1
    assert compare_wer(one, one, references, num_draws=50).difference == 0


def test_same_seed_gives_the_same_numbers_and_swapping_the_systems_mirrors_them():
    one, references = _corpus(50, 0.2, seed=5)
    other, _ = _corpus(50, 0.3, seed=6)
    first = compare_wer(one, other, references, num_draws=100, seed=7)
    assert first == compare_wer(one, other, references, num_draws=100, seed=7)
    mirrored = compare_wer(other, one, references, num_draws=100, seed=7)
    assert (mirrored.low, mirrored.high) == pytest.approx((-first.high, -first.low))
    assert mirrored.p_value == first.p_value


def test_order_selects_the_bleu():
    one, references = _corpus(20, 0.2, seed=8)
    assert compare_bleu(one, one, references, order=1, num_draws=2).score_a == pytest.approx(
        corpus_bleu(one, references)[0]
    )


def test_unequal_numbers_of_sentences_are_refused():
    with pytest.raises(SltError, match="1 hypotheses but 2 references"):
        compare_bleu(["a", "b"], ["a"], ["a", "b"])


def test_no_draws_are_refused():
    with pytest.raises(SltError, match="num_draws is 0"):
        compare_wer(["a"], ["a"], ["a"], num_draws=0)
