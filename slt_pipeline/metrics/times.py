"""How far the times of recognised glosses are from those of the reference.

Only glosses that are recognised right have a time to compare: the matches of the alignment that WER counts its errors
along.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slt_pipeline.errors import SltError

Times = Sequence[tuple[float, float]]
"""Start and end of each gloss of a clip, in seconds."""


@dataclass(frozen=True, slots=True)
class TimeErrors:
    """Absolute errors over the glosses that are recognised right, in seconds."""

    start_error: float
    """Median of the starts' errors."""
    end_error: float
    """Median of the ends' errors."""
    start_error_90: float
    """90 % of the starts are at most this far off."""
    end_error_90: float
    """90 % of the ends are at most this far off."""
    num_timed: int
    """Glosses that were compared."""


def time_errors(alignments: Sequence[str], found: Sequence[Times], references: Sequence[Times]) -> TimeErrors | None:
    """Compare times; None where no gloss is recognised right.

    Args:
        alignments: of each clip, as `metrics.wer.align` gives them: words over C, S, I and D.
        found: times of the recognised glosses of each clip.
        references: times of the right glosses of each clip.

    Raises:
        SltError: a clip has another number of times than its alignment has glosses.
    """
    pairs = [pair for clip in zip(alignments, found, references, strict=True) for pair in _matches(*clip)]
    if not pairs:
        return None
    errors = np.abs(np.array([(start - its_start, end - its_end) for (start, end), (its_start, its_end) in pairs]))
    (start, end), (start_90, end_90) = np.quantile(errors, (0.5, 0.9), axis=0).tolist()
    return TimeErrors(start, end, start_90, end_90, len(pairs))


def _matches(alignment: str, found: Times, reference: Times) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Times of the glosses of a clip that are right, found and true."""
    needed = (len(alignment) - alignment.count("D"), len(alignment) - alignment.count("I"))
    if (len(found), len(reference)) != needed:
        raise SltError(
            f"a clip has times of {len(found)} recognised and {len(reference)} right glosses, and an alignment of "
            f"{needed[0]} and {needed[1]}; give a start and an end for each gloss"
        )
    mine, right, pairs = iter(found), iter(reference), []
    for letter in alignment:
        time = None if letter == "D" else next(mine)
        its_time = None if letter == "I" else next(right)
        if letter == "C" and time is not None and its_time is not None:
            pairs.append((time, its_time))
    return pairs
