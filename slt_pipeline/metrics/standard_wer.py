"""Word error rate at the standard costs, one for every error, which jiwer computes.

It is what people expect of a WER; the published alignment of `wer.py` counts otherwise on about one pair in a hundred.
"""

from collections.abc import Sequence

import jiwer
import numpy as np

from slt_pipeline.metrics.pairs import check_pairs

_COLUMNS = {"delete": 0, "insert": 1, "substitute": 2, "equal": 3}


def standard_error_counts(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Counts per sentence, laid out as by `wer.error_counts`: (N, 5) int64. Tokens are split at white space."""
    check_pairs(hypotheses, references)
    found = jiwer.process_words(_spaced(references), _spaced(hypotheses))
    counts = np.zeros((len(references), 5), dtype=np.int64)
    for row, (alignment, reference) in enumerate(zip(found.alignments, found.references, strict=True)):
        counts[row, 4] = len(reference)
        for part in alignment:
            length = max(part.ref_end_idx - part.ref_start_idx, part.hyp_end_idx - part.hyp_start_idx)
            counts[row, _COLUMNS[part.type]] += length
    return counts


def _spaced(lines: Sequence[str]) -> list[str]:
    """Lines with one space between tokens: jiwer splits at spaces alone."""
    return [" ".join(line.split()) for line in lines]
