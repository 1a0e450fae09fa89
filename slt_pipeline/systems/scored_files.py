"""What `slt score` is given: two files of lines, or one of outputs that brings its references."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.pairs import check_pairs
from slt_pipeline.systems.predictions import (
    columns,
    is_predictions,
    paired,
    read_predictions,
    read_running_text,
    require_same_clips,
)


class Pairs(NamedTuple):
    """Hypotheses beside their references."""

    hypotheses: list[str]
    references: list[str]
    glosses: bool
    """Whether they are glosses."""


def read_pairs(hypotheses: Path, references: Path | None, glosses: bool) -> Pairs:
    """Read what is to be scored.

    Args:
        hypotheses: lines, or outputs as `slt evaluate` writes them.
        references: the same; None: those of the outputs.
        glosses: whether glosses are scored; those of Sign2Gloss are in any case.

    Raises:
        SltError: there are no references, or of other clips; or of a clip there are right glosses and no others.
    """
    found, right = (
        read_predictions(path) if path and is_predictions(path) else None for path in (hypotheses, references)
    )
    glosses |= any(each is not None and each.holds == "glosses" for each in (found, right))
    if references is None:
        if found is None:
            raise SltError(
                f"{hypotheses} has no references: name a second file of as many lines, or JSON Lines (.jsonl)"
            )
        return Pairs(*columns(found.pairs(glosses=glosses)), glosses)
    made, names = _column(hypotheses, found and found.made(glosses=glosses)), found and found.ids
    known, of = _column(references, right and right.right(glosses=glosses)), right and right.ids
    if found and right:
        require_same_clips(found, right)
        by_clip = dict(zip(right.ids, known, strict=True))
        known = [by_clip[name] for name in found.ids]
    check_pairs(made, known)
    clips = names or of or [str(number) for number in range(1, len(made) + 1)]
    return Pairs(*columns(paired(hypotheses, clips, made, known)), glosses)


def _column(path: Path, of_clips: Sequence[str | None] | None) -> Sequence[str | None]:
    return read_running_text(path) if of_clips is None else of_clips
