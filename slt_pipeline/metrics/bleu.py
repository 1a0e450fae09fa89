"""Corpus BLEU-1..4 with one reference (FACTS 10.1).

Equal to the patched sacrebleu that both published systems carry: no tokenisation beyond white space, case-sensitive,
no smoothing (an order without a match gives exactly 0), no effective order, brevity penalty.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from slt_pipeline.metrics.pairs import check_level, check_pairs, spaced

MAX_ORDER = 4
Smoothing = Literal["none", "exp"]
"""Of an order without a match: `none`, as published, makes it 0; `exp`, as sacrebleu does, counts half of a match, then
a quarter, and so on."""


def corpus_bleu(
    hypotheses: Sequence[str], references: Sequence[str], level: str = "word", smoothing: Smoothing = "none"
) -> tuple[float, ...]:
    """BLEU-1, -2, -3, -4 of a corpus, in percent, cumulative, all with the same brevity penalty.

    Args:
        hypotheses: sentences.
        references: one for each of them.
        level: "word" splits at white space; "char" scores characters and ignores white space.
        smoothing: of orders without a match.

    Raises:
        SltError: unequal or zero numbers of sentences.
    """
    check_pairs(hypotheses, references)
    level = check_level(level)
    score = _metric().corpus_score(
        [spaced(hypothesis, level) for hypothesis in hypotheses],
        [[spaced(reference, level) for reference in references]],
    )
    sums = (score.counts, score.totals, score.sys_len, score.ref_len)
    return tuple(_bleu(*sums, n, smoothing) for n in range(1, MAX_ORDER + 1))


def sentence_statistics(hypotheses: Sequence[str], references: Sequence[str], level: str = "word") -> np.ndarray:
    """What BLEU sums over a corpus, sentence by sentence: (N, 10) int64.

    Columns: matched n-grams of order 1..4, n-grams of the hypothesis of order 1..4, hypothesis tokens,
    reference tokens.
    `bleu_of_statistics` of the column sums is the corpus BLEU, so a resampled corpus needs sums only.
    """
    check_pairs(hypotheses, references)
    level = check_level(level)
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        score = _metric().sentence_score(spaced(hypothesis, level), [spaced(reference, level)])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.array(rows, dtype=np.int64)


def bleu_of_statistics(sums: np.ndarray, order: int = MAX_ORDER, smoothing: Smoothing = "none") -> np.ndarray:
    """BLEU-`order` in percent of many corpora at once, such as the draws of a bootstrap.

    Args:
        sums: (..., 10), of each corpus the sums of what `sentence_statistics` counts.
        order: highest order of n-grams.
        smoothing: of orders without a match.

    Returns:
        (...), float64.
    """
    counts, totals = sums[..., :order], sums[..., MAX_ORDER : MAX_ORDER + order]
    sys_len, ref_len = np.maximum(sums[..., -2], 1), sums[..., -1]
    without = counts == 0
    matches = np.where(without, 0.5 ** without.cumsum(axis=-1), counts)
    brevity = np.exp(np.minimum(0.0, 1 - ref_len / sys_len))
    scores = 100 * brevity * np.exp(np.log(matches / np.maximum(totals, 1)).mean(axis=-1))
    scored = ~without.any(axis=-1) if smoothing == "none" else (totals > 0).all(axis=-1) & ~without.all(axis=-1)
    return np.where(scored, scores, 0.0)


def bleu_signature(tokenizer: str, smoothing: Smoothing) -> str:
    """Return sacrebleu's own signature of BLEU with one reference, by its tokenizer and smoothing."""
    named = BLEU(tokenize=tokenizer) if smoothing == "exp" else _published(tokenizer)
    named.corpus_score(["a"], [["a"]])  # which counts the references
    return str(named.get_signature())


def split_tokens(texts: Sequence[str], tokenizer: str) -> list[str]:
    """Texts with a space between tokens, by one of sacrebleu's tokenizers: "13a", "zh" or "char"."""
    tokenise = _tokenizer(tokenizer)
    return [tokenise(text.rstrip()) for text in texts]


def sentence_bleu(hypotheses: Sequence[str], references: Sequence[str], level: str = "word") -> list[float]:
    """BLEU-4 of each sentence in percent, smoothed as sacrebleu does for sentences, so that few are zero.

    An order without a match counts as half a match, then a quarter, and so on; orders that the hypothesis is too short
    for are left out.
    """
    return [
        BLEU.compute_bleu(
            correct=[int(value) for value in row[:MAX_ORDER]],
            total=[int(value) for value in row[MAX_ORDER : 2 * MAX_ORDER]],
            sys_len=int(row[-2]),
            ref_len=int(row[-1]),
            smooth_method="exp",
            effective_order=True,
        ).score
        for row in sentence_statistics(hypotheses, references, level)
    ]


@cache
def _tokenizer(name: str) -> Callable[[str], str]:
    return BLEU(tokenize=name).tokenizer


def _published(tokenizer: str) -> BLEU:
    return BLEU(tokenize=tokenizer, smooth_method="floor", smooth_value=0)


@cache
def _metric() -> BLEU:
    # For its counts; the scores are computed from them for every order by _bleu, so that one pass serves all four.
    # sentence_score warns, through logging, unless effective_order is set, on which counts do not depend.
    return BLEU(
        tokenize="none",
        smooth_method="floor",
        smooth_value=0,
        max_ngram_order=MAX_ORDER,
        effective_order=True,
        force=True,
    )


def _bleu(counts: list[int], totals: list[int], sys_len: int, ref_len: int, order: int, smoothing: Smoothing) -> float:
    return BLEU.compute_bleu(
        correct=counts[:order],
        total=totals[:order],
        sys_len=sys_len,
        ref_len=ref_len,
        smooth_method="exp" if smoothing == "exp" else "floor",
        smooth_value=None if smoothing == "exp" else 0,
        effective_order=False,
        max_ngram_order=order,
    ).score
