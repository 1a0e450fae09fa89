import numpy as np
import pytest

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.bleu import bleu_of_statistics, corpus_bleu, sentence_statistics
from slt_pipeline.metrics.protocols import ScoringProtocol, get_protocol
from slt_pipeline.metrics.significance import Sums, bootstrap, randomisation
from slt_pipeline.metrics.wer import word_error_rate

WORDS = [f"w{n}" for n in range(40)]
OWN = ScoringProtocol("own", level="word")


def compare_bleu(one, other, references, **options):
    return bootstrap(*(OWN.bleu_sums(side, references) for side in (one, other)), **options)


def compare_wer(one, other, references, **options):
    return bootstrap(*(OWN.gloss_sums(side, references)["wer"] for side in (one, other)), **options)


def compare_bleu_statistics(one, other, **options):
    return bootstrap(Sums(one, bleu_of_statistics), Sums(other, bleu_of_statistics), **options)


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


def test_the_draws_are_those_of_sentences_one_by_one():
    """The bootstrap spelled out: the sums of a draw are those of its sentences, the same ones for both systems."""
    (one, references), (other, _) = _corpus(30, 0.2, seed=9), _corpus(30, 0.3, seed=10)
    found = compare_bleu(one, other, references, num_draws=40, seed=11)
    rng, differences = np.random.default_rng(11), []
    for _ in range(40):
        drawn = rng.integers(30, size=30)
        scores = [corpus_bleu([h[n] for n in drawn], [references[n] for n in drawn])[3] for h in (one, other)]
        differences.append(scores[0] - scores[1])
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])))
    as_large = np.abs(differences - np.mean(differences)) >= abs(found.difference)
    assert found.p_value == (as_large.sum() + 1) / 41


def test_a_sentence_is_drawn_with_its_outputs_of_all_seeds():
    (one, references), (again, _), (other, _) = (
        _corpus(60, noise, seed) for noise, seed in ((0.2, 1), (0.2, 2), (0.3, 3))
    )
    of_one, of_again, of_other = (sentence_statistics(h, references) for h in (one, again, other))
    both = compare_bleu_statistics(of_one + of_again, 2 * of_other, num_draws=100)
    assert both.score_a == pytest.approx(corpus_bleu([*one, *again], [*references, *references])[3])
    assert both.score_b == pytest.approx(corpus_bleu(other, references)[3])
    alone = compare_bleu(one, other, references, num_draws=100)
    assert compare_bleu_statistics(3 * of_one, 3 * of_other, num_draws=100).p_value == alone.p_value
    with pytest.raises(SltError, match="60 sentences of one system, 59 of the other"):
        compare_bleu_statistics(of_one, of_other[1:])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_many_corpora_at_once_score_as_one_by_one(order):
    corpora = [(["a b c d e"], ["a b c d e f"]), (["a b x d e"], ["a b c d e"]), ([""], ["a b"]), (["a"], ["a"])]
    sums = np.stack([sentence_statistics(*corpus).sum(axis=0) for corpus in corpora])
    assert bleu_of_statistics(sums, order) == pytest.approx([corpus_bleu(*corpus)[order - 1] for corpus in corpora])


def test_unequal_numbers_of_sentences_are_refused():
    with pytest.raises(SltError, match="1 hypotheses but 2 references"):
        compare_bleu(["a", "b"], ["a"], ["a", "b"])


def test_no_draws_are_refused():
    with pytest.raises(SltError, match="num_draws is 0"):
        compare_wer(["a"], ["a"], ["a"], num_draws=0)


def test_swapping_the_outputs_of_equal_systems_finds_no_difference_and_of_unequal_ones_finds_it():
    good, references = _corpus(80, 0.1, seed=1)
    bad, _ = _corpus(80, 0.4, seed=2)
    alike, _ = _corpus(80, 0.1, seed=3)
    sums = {name: OWN.text_sums(side, references) for name, side in (("good", good), ("bad", bad), ("alike", alike))}
    for score in ("bleu4", "rouge", "chrf"):
        good_bad, good_alike, itself = (
            randomisation(sums["good"][score], sums[name][score], num_draws=200) for name in ("bad", "alike", "good")
        )
        assert (good_bad, itself) == (pytest.approx(1 / 201), 1)
        assert good_alike > 0.05


def test_the_swaps_are_those_of_sentences_one_by_one():
    (one, references), (other, _) = _corpus(20, 0.2, seed=9), _corpus(20, 0.3, seed=10)
    of_one, of_other = (OWN.bleu_sums(side, references) for side in (one, other))
    rng, wanted = np.random.default_rng(5), corpus_bleu(one, references)[3] - corpus_bleu(other, references)[3]
    as_large = 0
    for _ in range(30):
        swap = rng.integers(2, size=20)
        a = [b if s else a for a, b, s in zip(one, other, swap, strict=True)]
        b = [a if s else b for a, b, s in zip(one, other, swap, strict=True)]
        as_large += abs(corpus_bleu(a, references)[3] - corpus_bleu(b, references)[3]) >= abs(wanted) - 1e-9
    assert randomisation(of_one, of_other, num_draws=30, seed=5) == (as_large + 1) / 31


@pytest.mark.parametrize("protocol", ["phoenix14t", "csl-daily", "plain-word", "sacrebleu-13a", "sacrebleu-zh"])
def test_sums_over_sentences_make_the_scores_of_the_corpus(protocol):
    one, references = _corpus(15, 0.3, seed=4)
    rules = get_protocol(protocol)
    scores = rules.score_translation(one, references)
    for name, sums in rules.text_sums(one, references).items():
        assert sums.scores(sums.each.sum(axis=0)[None]) == pytest.approx(getattr(scores, name)), name
    (wer,) = rules.gloss_sums(one, references).values()
    assert wer.scores(wer.each.sum(axis=0)[None]) == pytest.approx(rules.score_recognition(one, references).wer)
