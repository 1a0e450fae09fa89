"""Paired bootstrap: whether a system scores better than another by more than the choice of test sentences explains.

The test set is drawn again and again from its own sentences, with replacement, and both systems are scored on every
draw (Koehn 2004). Both metrics are functions of sums over sentences, so a draw costs sums only.

N: sentences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.bleu import MAX_ORDER, bleu_of_statistics, sentence_statistics
from slt_pipeline.metrics.wer import error_counts, scores_of_counts

NUM_DRAWS = 1000
"""Draws by default, as sacrebleu's."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on one test set. `a` is the system, `b` the baseline."""

    score_a: float
    """Score of a on the test set, in percent."""
    score_b: float
    """Score of b on the test set, in percent."""
    difference: float
    """a less b."""
    low: float
    """Lower end of the 95 % interval of the difference (2.5th percentile over draws)."""
    high: float
    """Upper end of it."""
    p_value: float
    """Two-sided: how often a difference at least as large arises by chance, if the systems are equally good."""
    num_draws: int
    """Draws behind the interval and the p-value, whose least possible value is 1 / (num_draws + 1)."""


def compare_bleu(
    hypotheses_a: Sequence[str],
    hypotheses_b: Sequence[str],
    references: Sequence[str],
    level: str = "word",
    *,
    order: int = MAX_ORDER,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare two systems by corpus BLEU-`order`. Texts are taken as they are: prepare them by the protocol first.

    Raises:
        SltError: the three lists are not equally long.
    """
    return compare_bleu_statistics(
        sentence_statistics(hypotheses_a, references, level),
        sentence_statistics(hypotheses_b, references, level),
        order=order,
        num_draws=num_draws,
        seed=seed,
    )


def compare_bleu_statistics(
    statistics_a: np.ndarray,
    statistics_b: np.ndarray,
    *,
    order: int = MAX_ORDER,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare two systems by what BLEU sums over their sentences (`sentence_statistics`).

    Of a system that was trained with several seeds, the statistics of a sentence are summed over them: a sentence is
    then drawn with its outputs of all seeds, and the score is that of all outputs as one corpus.

    Args:
        statistics_a: (N, 10), of the system.
        statistics_b: (N, 10), of the baseline on the same sentences.
        order: highest order of n-grams.
        num_draws: how often the test set is drawn.
        seed: of the draws, which are the same for every pair of systems with as many sentences.

    Raises:
        SltError: the systems have not as many sentences.
    """
    if len(statistics_a) != len(statistics_b):
        raise SltError(f"{len(statistics_a)} sentences of one system, {len(statistics_b)} of the other: pair them")
    return _compare(statistics_a, statistics_b, lambda sums: bleu_of_statistics(sums, order), num_draws, seed)


def compare_wer(
    hypotheses_a: Sequence[str],
    hypotheses_b: Sequence[str],
    references: Sequence[str],
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare two systems by word error rate (lower is better). Prepare the glosses by the protocol first.

    Raises:
        SltError: the three lists are not equally long, or a draw's references hold no token.
    """
    return _compare(
        error_counts(hypotheses_a, references),
        error_counts(hypotheses_b, references),
        lambda sums: np.array([scores_of_counts(counts).wer for counts in sums]),
        num_draws,
        seed,
    )


def _compare(
    statistics_a: np.ndarray,
    statistics_b: np.ndarray,
    scores: Callable[[np.ndarray], np.ndarray],
    num_draws: int,
    seed: int,
) -> Comparison:
    """statistics: (N, columns), of which `scores` makes (draws,) of the sums (draws, columns)."""
    if num_draws < 1:
        raise SltError(f"num_draws is {num_draws}; a bootstrap needs at least 1 draw")
    rng = np.random.default_rng(seed)
    num_sentences, columns = statistics_a.shape
    both = np.hstack([statistics_a, statistics_b]).astype(np.float64)  # whole numbers, exact; products are fast
    sums = np.empty((num_draws + 1, 2 * columns))
    sums[0] = both.sum(axis=0)
    for draw in range(1, num_draws + 1):
        sentences = rng.integers(num_sentences, size=num_sentences)  # the same for both systems: paired
        sums[draw] = np.bincount(sentences, minlength=num_sentences) @ both
    of_a, of_b = scores(sums[:, :columns]), scores(sums[:, columns:])
    score_a, score_b, differences = float(of_a[0]), float(of_b[0]), (of_a - of_b)[1:]
    difference = score_a - score_b
    # Under the null hypothesis the differences scatter around zero as they scatter around their mean here; the one is
    # the test set itself (Riezler and Maxwell 2005; sacrebleu does the same).
    num_as_large = int((np.abs(differences - differences.mean()) >= abs(difference)).sum())
    low, high = np.percentile(differences, [2.5, 97.5])
    return Comparison(
        score_a=score_a,
        score_b=score_b,
        difference=difference,
        low=float(low),
        high=float(high),
        p_value=(num_as_large + 1) / (num_draws + 1),
        num_draws=num_draws,
    )
