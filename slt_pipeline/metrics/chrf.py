"""chrF of a corpus, which sacrebleu computes: F of character n-grams, without a tokenizer.

N: sentences.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from sacrebleu.metrics.chrf import CHRF

from slt_pipeline.metrics.pairs import check_pairs


def corpus_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return chrF2 in percent: up to six characters, white space left out.

    Raises:
        SltError: unequal or zero numbers of sentences.
    """
    check_pairs(hypotheses, references)
    return _metric().corpus_score(list(hypotheses), [list(references)]).score


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What chrF sums over a corpus, sentence by sentence: (N, 18) int64.

    Columns: for each order n-grams of the hypothesis, of the reference, and in both.
    """
    check_pairs(hypotheses, references)
    return np.array(_metric()._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=np.int64)


def chrf_of_statistics(sums: np.ndarray) -> np.ndarray:
    """Return chrF (C,) in percent of C corpora, by the sums (C, 18) of what `chrf_statistics` counts."""
    return np.array([_metric()._compute_f_score(list(corpus)) for corpus in sums])


@cache
def chrf_signature() -> str:
    """Return sacrebleu's own signature of it, with one reference."""
    corpus_chrf(["a"], ["a"])  # which counts the references
    return str(_metric().get_signature())


@cache
def _metric() -> CHRF:
    return CHRF()
