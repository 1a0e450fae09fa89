"""Word error rate from the published alignment (FACTS 10.3).

Deletion and insertion cost 3, substitution 4, a match nothing; the errors are counted along one cheapest alignment,
found from the end with a fixed order of preference. The plain edit distance (`standard_wer.py`) differs where two
substitutions (8) compete with a deletion and an insertion around a match (6).

N: sentence pairs. R: reference tokens. H: hypothesis tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.pairs import check_pairs

_GAP, _SUBSTITUTION = 3, 4
_CELLS = 4_000_000  # table cells per chunk: 16 MB of int32
_PAD_HYPOTHESIS, _PAD_REFERENCE = -1, -2  # differ, so padding never matches


@dataclass(frozen=True, slots=True)
class RecognitionScores:
    """Errors of a corpus of gloss (or word) sequences."""

    wer: float
    """100 * (substitutions + deletions + insertions) / reference tokens, over the corpus; may exceed 100."""
    sub_rate: float
    """Percent of reference tokens substituted."""
    del_rate: float
    """Percent of reference tokens missing from the hypotheses."""
    ins_rate: float
    """Inserted hypothesis tokens, in percent of the reference tokens."""
    num_sub: int
    """Substitutions."""
    num_del: int
    """Deletions."""
    num_ins: int
    """Insertions."""
    num_ref: int
    """Reference tokens."""


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> RecognitionScores:
    """WER of sentences that are split at white space, summed over the corpus.

    Raises:
        SltError: unequal or zero numbers of sentences, or references that hold no token at all.
    """
    return scores_of_counts(error_counts(hypotheses, references).sum(axis=0))


def scores_of_counts(counts: Sequence[int] | np.ndarray) -> RecognitionScores:
    """Rates from summed counts, laid out as by `error_counts`.

    Raises:
        SltError: the references hold no token.
    """
    num_del, num_ins, num_sub, _, num_ref = (int(count) for count in counts)
    if num_ref == 0:
        raise SltError("word error rate is undefined: the references hold 0 tokens; score clips that have glosses")

    def percent(num: int) -> float:
        return 100 * num / num_ref

    return RecognitionScores(
        wer=percent(num_sub + num_del + num_ins),
        sub_rate=percent(num_sub),
        del_rate=percent(num_del),
        ins_rate=percent(num_ins),
        num_sub=num_sub,
        num_del=num_del,
        num_ins=num_ins,
        num_ref=num_ref,
    )


def error_counts(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Counts per sentence: (N, 5) int64, columns deletions, insertions, substitutions, matches, reference tokens."""
    rows = [
        [operations.count(letter) for letter in "DISC"] + [len(operations) - operations.count("I")]
        for operations in align(hypotheses, references)
    ]
    return np.array(rows, dtype=np.int64)


def align(hypotheses: Sequence[str], references: Sequence[str]) -> list[str]:
    """The alignment of every pair as a word over C (match), S, I, D, from first to last token.

    `C` and `S` take one token of both, `I` one of the hypothesis, `D` one of the reference: reference `a b c d` with
    hypothesis `b c d e` gives `DCCCI`.
    """
    check_pairs(hypotheses, references)
    numbers: dict[str, int] = {}

    def numbered(sentence: str) -> np.ndarray:
        return np.array([numbers.setdefault(token, len(numbers)) for token in sentence.split()], dtype=np.int64)

    hypothesis_ids = [numbered(sentence) for sentence in hypotheses]
    reference_ids = [numbered(sentence) for sentence in references]
    alignments = [""] * len(references)
    for chunk in _chunks(hypothesis_ids, reference_ids):
        operations = _align_chunk([hypothesis_ids[i] for i in chunk], [reference_ids[i] for i in chunk])
        for index, word in zip(chunk, operations, strict=True):
            alignments[index] = word
    return alignments


def _chunks(hypotheses: list[np.ndarray], references: list[np.ndarray]) -> Iterator[list[int]]:
    """Indices of pairs of similar size, grouped so that a group's padded table stays small."""
    order = sorted(range(len(references)), key=lambda i: (len(references[i]) + 1) * (len(hypotheses[i]) + 1))
    chunk: list[int] = []
    num_rows = num_columns = 0
    for index in order:
        num_rows = max(num_rows, len(references[index]) + 1)
        num_columns = max(num_columns, len(hypotheses[index]) + 1)
        if chunk and (len(chunk) + 1) * num_rows * num_columns > _CELLS:
            yield chunk
            chunk, num_rows, num_columns = [], len(references[index]) + 1, len(hypotheses[index]) + 1
        chunk.append(index)
    yield chunk


def _align_chunk(hypotheses: list[np.ndarray], references: list[np.ndarray]) -> list[str]:
    hypothesis, num_hypothesis = _pad(hypotheses, _PAD_HYPOTHESIS)
    reference, num_reference = _pad(references, _PAD_REFERENCE)
    return _backtrace(_costs(hypothesis, reference), hypothesis, reference, num_hypothesis, num_reference)


def _pad(rows: list[np.ndarray], value: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(row) for row in rows])
    # One column of padding at the end: index -1 and index 0 of an empty row then read padding, which never matches.
    padded = np.full((len(rows), lengths.max() + 1), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded, lengths


def _costs(hypothesis: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Table of cheapest costs, (R + 1, N, H + 1) int32: [i, n, j] aligns i reference with j hypothesis tokens.

    The published code keeps 8-bit cells, which wrap from 86 tokens on; these do not (FACTS 10.3).
    """
    num_pairs, num_columns = hypothesis.shape
    gaps = _GAP * np.arange(num_columns, dtype=np.int32)
    table = np.empty((reference.shape[1], num_pairs, num_columns), dtype=np.int32)
    table[0] = gaps
    for i in range(1, reference.shape[1]):
        mismatch = hypothesis[:, :-1] != reference[:, i - 1, None]
        best = table[i - 1] + _GAP
        best[:, 1:] = np.minimum(best[:, 1:], table[i - 1][:, :-1] + _SUBSTITUTION * mismatch)
        # Insertions chain along the row: cost[j] = min over k <= j of best[k] + GAP * (j - k).
        table[i] = np.minimum.accumulate(best - gaps, axis=1) + gaps
    return table


def _backtrace(
    table: np.ndarray,
    hypothesis: np.ndarray,
    reference: np.ndarray,
    num_hypothesis: np.ndarray,
    num_reference: np.ndarray,
) -> list[str]:
    """Walk all pairs at once from their last cell to the first; ties: match, substitution, insertion, deletion."""
    pairs = np.arange(len(num_hypothesis))
    i, j = num_reference.copy(), num_hypothesis.copy()
    steps = []
    while (i + j).any():
        cost = table[i, pairs, j]
        both = (i > 0) & (j > 0)
        match = both & (reference[pairs, i - 1] == hypothesis[pairs, j - 1])
        substitution = both & ~match & (cost == table[i - 1, pairs, j - 1] + _SUBSTITUTION)
        insertion = ~match & ~substitution & (j > 0) & (cost == table[i, pairs, j - 1] + _GAP)
        deletion = ~match & ~substitution & ~insertion & (i > 0)
        steps.append(np.select([match, substitution, insertion, deletion], list(b"CSID"), 0).astype(np.uint8))
        i -= match | substitution | deletion
        j -= match | substitution | insertion
    if not steps:
        return [""] * len(pairs)
    letters = np.stack(steps[::-1], axis=1)  # a pair shorter than the longest starts with zero bytes
    return [row[row > 0].tobytes().decode("ascii") for row in letters]
