"""Glosses as they were typed: what may be one or several, what is read as one, and what only looks alike."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from slt_pipeline.text.gloss_form import caseless, gloss_form

_SHOWN = 5


class Found(NamedTuple):
    """One thing that is wrong with the glosses of one line."""

    line: int
    kind: str
    message: str
    id: str


@dataclass(slots=True)
class _Class:
    """All that was typed for one class."""

    spellings: Counter[str] = field(default_factory=Counter)
    first: tuple[int, str] = (0, "")
    """Line and clip of its first gloss."""

    @property
    def usual(self) -> str:
        """Its commonest spelling."""
        return self.spellings.most_common(1)[0][0]

    def times(self) -> str:
        """Its commonest spelling, and how often it comes in any."""
        number = self.spellings.total()
        return f"{_shown(self.usual)}, {'once' if number == 1 else f'{number} times'}"


class GlossChecks:
    """Looks at the glosses of a manifest, clip by clip, and then at all of them."""

    def __init__(self) -> None:
        """Nothing has been looked at yet."""
        self._classes: dict[str, _Class] = {}

    def look_at(self, line: int, clip: str, typed: Iterable[str]) -> Iterator[Found]:
        """Yield what is wrong with the glosses of a clip, as they were typed."""
        for gloss, number in Counter(typed).items():
            found = self._classes.setdefault(caseless(gloss_form(gloss)), _Class(first=(line, clip)))
            found.spellings[gloss] += number
            if len(gloss_form(gloss).split("-")) > len(gloss_form("".join(gloss.split())).split("-")):
                message = f"{gloss!r} holds white space and is read as one gloss, {gloss_form(gloss)!r}"
                yield Found(line, "gloss-space", f"{message}; write it so, or as several", clip)

    def look_alikes(self) -> Iterator[Found]:
        """Yield the glosses that look like a more frequent one and are another class, as with a Cyrillic A in ABEND."""
        groups: dict[str, list[_Class]] = {}
        for key, found in self._classes.items():
            groups.setdefault(_look(key), []).append(found)
        for group in groups.values():
            usual, *others = sorted(group, key=lambda found: -found.spellings.total())
            for other in others:
                yield Found(
                    other.first[0],
                    "look-alike",
                    f"{other.times()}, looks like {usual.times()}, first on line {usual.first[0]}, and is another "
                    "gloss; write both in one way",
                    other.first[1],
                )

    def notes(self) -> list[str]:
        """Say which glosses were typed in several ways, or otherwise than they are read."""
        changed = [f for f in self._classes.values() if len(f.spellings) > 1 or gloss_form(f.usual) != f.usual]
        lines = [
            f"read as one gloss, {_shown(gloss_form(found.usual))}: "
            + ", ".join(f"{_shown(spelling)} {number} x" for spelling, number in found.spellings.most_common())
            for found in changed[:_SHOWN]
        ]
        return [*lines, f"... and {len(changed) - _SHOWN} more such glosses"] if len(changed) > _SHOWN else lines


def _shown(gloss: str) -> str:
    """Return a gloss in quotes; one that is not all English letters by code points too."""
    return repr(gloss) if gloss.isascii() else f"{gloss!r} ({ascii(gloss)[1:-1]})"


_ALIKE = str.maketrans(
    {
        there: here
        for alike, plain in (
            ("авекмнорстухіјѕһԛԝӏ", "abekmhopctyxijshqwi"),  # Cyrillic; in capitals, where these look like Latin ones
            ("αβεζηικμνορτυχ", "abezhikmnoptyx"),  # Greek
            ("ı", "i"),
            ("یىک", "ييك"),  # Persian letters of Arabic ones
            ("‐‑‒–—―−_·", "-" * 9),
            ("’ʼ‘`´", "'" * 5),
        )
        for there, here in zip(alike, plain, strict=True)
    }
)
"""What letters look like. Keys of classes are in small letters."""


def _look(key: str) -> str:
    """Return what is alike for glosses that are hardly told apart by eye; the key of a class goes in."""
    plain = unicodedata.normalize("NFD", caseless(unicodedata.normalize("NFKC", key))).translate(_ALIKE)
    seen = "".join(char for char in plain if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFC", seen.replace("i\N{COMBINING DOT ABOVE}", "i"))
