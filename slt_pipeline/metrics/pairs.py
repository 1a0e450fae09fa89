"""Checks and tokenisation that every metric shares."""

from collections.abc import Sequence
from typing import Literal, cast, get_args

from slt_pipeline.errors import SltError

Level = Literal["word", "char"]
"""`word`: tokens are separated by white space (PHOENIX). `char`: every character is a token (CSL-Daily)."""


def check_pairs(hypotheses: Sequence[str | None], references: Sequence[str | None]) -> None:
    """Raise SltError unless there are as many hypotheses as references, and at least one."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise SltError("one string was given where a list of sentences is expected; wrap it in a list")
    if len(hypotheses) != len(references):
        raise SltError(
            f"{len(hypotheses)} hypotheses but {len(references)} references; "
            "give one hypothesis for each reference, in the same order"
        )
    if not references:
        raise SltError("nothing to score: 0 hypotheses and 0 references")


def check_level(level: str) -> Level:
    """Return `level`, or raise SltError naming the levels that exist."""
    if level not in get_args(Level):
        raise SltError(f"unknown level {level!r}; use one of: {', '.join(get_args(Level))}")
    return cast(Level, level)


def spaced(sentence: str, level: Level) -> str:
    """The sentence with its tokens separated by white space: as it is, or with a space between all characters."""
    return " ".join(sentence) if level == "char" else sentence
