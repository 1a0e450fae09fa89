"""Whether a system scores better than another by more than chance: paired bootstrap and approximate randomisation.

Bootstrap: the test set is drawn again and again from its own sentences, with replacement, and both systems are scored
on every draw (Koehn 2004): would other sentences say the same? Randomisation: the outputs of the two systems are
swapped sentence by sentence, by a coin (Riezler and Maxwell 2005): would a difference as large come about if it did not
matter whose they are? Every score is a function of sums over sentences, so that a draw costs sums only.

N: sentences.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from slt_pipeline.errors import SltError

NUM_DRAWS = 1000
"""Draws by default, as sacrebleu's."""
_ROUNDING = 1e-9
"""Differences that are equal but for this much are as large as each other."""


class Sums(NamedTuple):
    """What a score sums over the sentences of one system."""

    each: np.ndarray
    """(N, columns), of every sentence."""
    scores: Callable[[np.ndarray], np.ndarray]
    """Makes scores (C,) in percent of the sums (C, columns) of C corpora."""


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


def bootstrap(a: Sums, b: Sums, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> Comparison:
    """Compare two systems by drawing sentences.

    Of a system that was trained with several seeds, what is summed of a sentence is that of all of them: a sentence is
    then drawn with its outputs of all seeds, and the score is that of all outputs as one corpus.

    Args:
        a: of the system.
        b: of the baseline on the same sentences.
        num_draws: how often the test set is drawn.
        seed: of the draws, which are the same for every pair of systems with as many sentences.

    Raises:
        SltError: the systems have not as many sentences.
    """
    both = _side_by_side(a, b)

    def drawn(rng: np.random.Generator) -> np.ndarray:
        sentences = rng.integers(len(both), size=len(both))  # the same for both systems: paired
        return np.bincount(sentences, minlength=len(both)) @ both

    score_a, score_b, differences = _drawn_scores(a, both, drawn, num_draws, seed)
    low, high = np.percentile(differences, [2.5, 97.5])
    return Comparison(
        score_a=score_a,
        score_b=score_b,
        difference=score_a - score_b,
        low=float(low),
        high=float(high),
        # Under the null hypothesis the differences scatter around zero as they scatter around their mean here; the one
        # is the test set itself (Riezler and Maxwell 2005). sacrebleu takes the mean off the differences without their
        # sign, and counts on one side alone: of one in some direction its p is smaller, down to half of this.
        p_value=_p_value(differences - differences.mean(), score_a - score_b),
        num_draws=num_draws,
    )


def randomisation(a: Sums, b: Sums, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> float:
    """P-value of two systems by swapping their outputs, two-sided; arguments as of `bootstrap`.

    Raises:
        SltError: the systems have not as many sentences.
    """
    both, columns = _side_by_side(a, b), a.each.shape[1]
    whole, more = both.sum(axis=0), both[:, columns:] - both[:, :columns]

    def swapped(rng: np.random.Generator) -> np.ndarray:
        moved = rng.integers(2, size=len(both)) @ more
        return whole + np.concatenate([moved, -moved])

    score_a, score_b, differences = _drawn_scores(a, both, swapped, num_draws, seed)
    return _p_value(differences, score_a - score_b)


def _side_by_side(a: Sums, b: Sums) -> np.ndarray:
    """Return (N, 2 * columns); whole numbers stay exact in float64, whose products are fast."""
    if len(a.each) != len(b.each):
        raise SltError(f"{len(a.each)} sentences of one system, {len(b.each)} of the other: pair them")
    return np.hstack([a.each, b.each]).astype(np.float64)


def _drawn_scores(
    of: Sums, both: np.ndarray, draw: Callable[[np.random.Generator], np.ndarray], num_draws: int, seed: int
) -> tuple[float, float, np.ndarray]:
    """Return both scores on the test set, and their differences (num_draws,) on what was drawn."""
    if num_draws < 1:
        raise SltError(f"num_draws is {num_draws}; a test of significance needs at least 1 draw")
    rng = np.random.default_rng(seed)
    sums = np.stack([both.sum(axis=0), *(draw(rng) for _ in range(num_draws))])
    columns = both.shape[1] // 2
    of_a, of_b = of.scores(sums[:, :columns]), of.scores(sums[:, columns:])
    return float(of_a[0]), float(of_b[0]), (of_a - of_b)[1:]


def _p_value(differences: np.ndarray, difference: float) -> float:
    as_large = np.abs(differences) >= abs(difference) - _ROUNDING
    return (int(as_large.sum()) + 1) / (len(differences) + 1)
