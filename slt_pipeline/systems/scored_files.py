"""What `slt score` is given: two files of lines, or one of outputs that brings its references."""

from pathlib import Path
from typing import NamedTuple

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_lines
from slt_pipeline.systems.predictions import is_predictions, read_predictions, scored_as


class Pairs(NamedTuple):
    """Hypotheses beside their references."""

    hypotheses: list[str]
    references: list[str]
    glosses: bool
    """Whether they are glosses."""
    protocol: str | None
    """By which they were scored before, where that is known."""


def read_pairs(hypotheses: Path, references: Path | None, glosses: bool) -> Pairs:
    """Read what is to be scored.

    Args:
        hypotheses: lines, or outputs as `slt evaluate` writes them.
        references: the same; None: those of the outputs.
        glosses: whether glosses are scored; those of Sign2Gloss are in any case.

    Raises:
        SltError: there are no references, or of other clips.
    """
    if not is_predictions(hypotheses):
        if references is None:
            raise SltError(
                f"{hypotheses} has no references: name a second file of as many lines, or JSON Lines (.jsonl)"
            )
        return Pairs(read_lines(hypotheses), _lines(references), glosses, None)
    found, protocol = read_predictions(hypotheses), scored_as(hypotheses).get("protocol")
    glosses |= not found.has_texts
    if references is None:
        return Pairs(*(found.glosses() if glosses else found.texts()), glosses, protocol)
    if not is_predictions(references):
        return Pairs(found.hypotheses(), _lines(references), glosses, protocol)
    right = read_predictions(references)
    by_clip = dict(zip(right.ids, right.texts()[1], strict=True))
    if alone := [name for name in (*found.ids, *right.ids) if name not in by_clip or name not in set(found.ids)]:
        raise SltError(f"{hypotheses} and {references} are of other clips: {alone[0]} is in one of them alone")
    return Pairs(found.hypotheses(), [by_clip[name] for name in found.ids], glosses, protocol)


def _lines(path: Path) -> list[str]:
    return read_predictions(path).texts()[1] if is_predictions(path) else read_lines(path)
