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
    return _compare(
        sentence_statistics(hypotheses_a, references, level),
        sentence_statistics(hypotheses_b, references, level),
        lambda sums: bleu_of_statistics(sums, order),
        num_draws,
        seed,
    )


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
        lambda sums: scores_of_counts(sums).wer,
        num_draws,
        seed,
    )


def _compare(
    statistics_a: np.ndarray,
    statistics_b: np.ndarray,
    score: Callable[[np.ndarray], float],
    num_draws: int,
    seed: int,
) -> Comparison:
    """statistics: (N, columns), of which `score` takes the column sums."""
    if num_draws < 1:
        raise SltError(f"num_draws is {num_draws}; a bootstrap needs at least 1 draw")
    score_a, score_b = score(statistics_a.sum(axis=0)), score(statistics_b.sum(axis=0))
    rng = np.random.default_rng(seed)
    num_sentences = len(statistics_a)
    differences = np.empty(num_draws)
    for draw in range(num_draws):
        sentences = rng.integers(num_sentences, size=num_sentences)  # the same for both systems: paired
        differences[draw] = score(statistics_a[sentences].sum(axis=0)) - score(statistics_b[sentences].sum(axis=0))
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
