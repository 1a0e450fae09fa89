"""Gloss clean-up before WER on the PHOENIX corpora (FACTS 10.4).

The rules are part of the corpora's evaluation protocols: markers and prefixes go, spelled letters are joined, repeats
collapse. They look at capitals, so glosses are upper-cased before (see `protocols`), after which the rules for
lower-case prefixes cannot fire; they are kept because the protocol has them.
"""

import re
from itertools import groupby

from slt_pipeline.errors import SltError


def clean_phoenix14t(gloss: str) -> str:
    """Clean one sentence of glosses by the rules of PHOENIX-2014T. Never fails; may return an empty string."""
    return _drop_duplicates(_collapse(_apply(_PHOENIX14T + _JOIN_SPELLED, gloss.strip())))


def clean_phoenix14(gloss: str) -> str:
    """Clean one sentence of glosses by the longer rules of PHOENIX-2014.

    Raises:
        SltError: a marker is left over (`__EPENTHESIS__`, which these rules do not remove).
    """
    cleaned = _collapse(_apply(_PHOENIX14 + _JOIN_SPELLED + _PHOENIX14_AFTER_JOIN, gloss.strip()))
    left_over = re.search("__(?:LEFTHAND|EPENTHESIS|EMOTION)__", cleaned)
    if left_over:
        raise SltError(
            f"gloss marker {left_over[0]} is left after the PHOENIX-2014 clean-up of {gloss!r}; "
            "remove it from the glosses"
        )
    return _drop_duplicates(cleaned)


_Rules = list[tuple[re.Pattern[str], str]]


def _rules(*pairs: tuple[str, str]) -> _Rules:
    return [(re.compile(pattern), replacement) for pattern, replacement in pairs]


_PHOENIX14T = _rules(
    (r"__LEFTHAND__|__EPENTHESIS__|__EMOTION__", ""),
    (r"\b__[^_ ]*__\b", ""),
    (r"\bloc-([^ ]*)\b", r"\1"),
    (r"\bcl-([^ ]*)\b", r"\1"),
    (r"\b([^ ]*)-PLUSPLUS\b", r"\1"),
    (r"\b([A-Z]+)RAUM\b", r"\1"),
    (r"WIE AUSSEHEN", "WIE-AUSSEHEN"),
)

_PHOENIX14 = _rules(
    (r"loc-", ""),
    (r"cl-", ""),
    (r"qu-", ""),
    (r"poss-", ""),
    (r"lh-", ""),
    (r"S0NNE", "SONNE"),
    (r"HABEN2", "HABEN"),
    (r"__EMOTION__", ""),
    (r"__PU__", ""),
    (r"__LEFTHAND__", ""),
    (r"WIE AUSSEHEN", "WIE-AUSSEHEN"),
    (r"ZEIGEN( |$)", r"ZEIGEN-BILDSCHIRM\1"),
)

# Spelled words: single letters, SCH and NN are joined by "+". One pattern cannot overlap itself, hence the passes.
_LETTERS = (r"([ +][A-Z]) ([A-Z][ +])", r"\1+\2")
_JOIN_SPELLED = _rules(
    (r"^([A-Z]) ([A-Z][+ ])", r"\1+\2"),
    (r"[ +]([A-Z]) ([A-Z]) ", r" \1+\2 "),
    _LETTERS,
    _LETTERS,
    _LETTERS,
    (r"([ +]SCH) ([A-Z][ +])", r"\1+\2"),
    (r"([ +]NN) ([A-Z][ +])", r"\1+\2"),
    (r"([ +][A-Z]) (NN[ +])", r"\1+\2"),
    (r"([ +][A-Z]) ([A-Z])$", r"\1+\2"),
)

_PHOENIX14_AFTER_JOIN = _rules((r"([A-Z][A-Z])RAUM", r"\1"), (r"-PLUSPLUS", ""))

_SPACES = re.compile(" +")
_REPEATED_WORD = re.compile(r"(?<![\w-])(\b[A-Z]+(?![\w-])) \1(?![\w-])")


def _apply(rules: _Rules, gloss: str) -> str:
    for pattern, replacement in rules:
        gloss = pattern.sub(replacement, gloss)
    return gloss


def _collapse(gloss: str) -> str:
    gloss = _SPACES.sub(" ", gloss)
    for _ in range(4):
        gloss = _REPEATED_WORD.sub(r"\1", gloss)
    return _SPACES.sub(" ", gloss)


def _drop_duplicates(gloss: str) -> str:
    """Every run of equal tokens becomes one token, so that on PHOENIX repeats never count."""
    return " ".join(" ".join(token for token, _ in groupby(gloss.split(" "))).split())
