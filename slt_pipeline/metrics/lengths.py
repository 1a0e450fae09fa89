"""Scores by the length of the reference: whether it is the long sentences that a system gets wrong."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

BINS = {"0-5": range(6), "6-10": range(6, 11), "11-15": range(11, 16), "16-20": range(16, 21), "21-30": range(21, 31)}
"""Lengths of references by the name of their bin, the same of every corpus; longer ones are in `LONGEST`."""
LONGEST = "31-"


def by_length(
    lengths: Sequence[int], score: Callable[[Sequence[int]], Mapping[str, float]]
) -> list[dict[str, str | int | float]]:
    """Score the sentences of each bin as a corpus of their own; a bin without sentences is left out.

    Args:
        lengths: of each reference, in tokens of the protocol.
        score: makes scores of the sentences of these numbers.
    """
    bins: dict[str, list[int]] = {name: [] for name in (*BINS, LONGEST)}
    for number, length in enumerate(lengths):
        bins[next((name for name, within in BINS.items() if length in within), LONGEST)].append(number)
    return [{"tokens": name, "sentences": len(part), **score(part)} for name, part in bins.items() if part]


def weak_bins(rows: Sequence[Mapping[str, Any]], whole: Mapping[str, float]) -> list[str]:
    """Return what is worth saying: bins with a tenth of the sentences, at least ten, that score less than half as well.

    Args:
        rows: what `by_length` made.
        whole: scores of all sentences.
    """
    enough = max(10, sum(row["sentences"] for row in rows) / 10)
    told = []
    for row in rows:
        name, worse = ("wer", 2.0) if "wer" in row else ("bleu4", 0.5)
        if row["sentences"] < enough or name not in row:
            continue
        mine, all_of_them = row[name], whole[name]
        if (mine > worse * all_of_them) if name == "wer" else (mine < worse * all_of_them):
            told.append(
                f"references of {row['tokens']} tokens ({row['sentences']} sentences): {name} {mine:.2f}, "
                f"of all {all_of_them:.2f}"
            )
    return told
