"""Characters that a reader does not see, or that no file can hold: by name and place."""

import re
import unicodedata

BLANKS = "\t\n\v\f\r"
"""White space that is typed: a text's is made one space on reading."""
FOREIGN_BYTES = "".join(map(chr, range(0xDC80, 0xDD00)))
"""How Python spells the bytes of a file's name that are no UTF-8."""
_HALVES = re.compile("[\ud800-\udfff]")
_NOT_SEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
# of the category Cf: signs of Arabic, Syriac and Kaithi that are written and seen
_SEEN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# no format character and yet nothing to read: fillers, what stands for a broken byte, and what SentencePiece keeps for
# itself, a space and an unknown piece
_OTHERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufffc\ufffd\u2581\u2585")
_JOINERS = "\u200c\u200d"
_FLAG, _TAGS = "\U0001f3f4", range(0xE0020, 0xE0080)


def hidden(text: str, allowed: str = "") -> dict[str, int]:
    """Return the characters of a text that nobody means to write, each with its first place, from 1.

    These are controls, zero-width and bidirectional marks, byte order marks, private use, non-characters, halves of
    surrogate pairs and what stands for a broken byte. Joiners count only where they join nothing: scripts of India and
    Arabic ones need them, emoji are made of them.

    Args:
        text: Any string.
        allowed: Characters that may stand in it, such as `BLANKS`.
    """
    found: dict[str, int] = {}
    if text.isascii() and text.isprintable():
        return found
    for place, character in enumerate(text):
        if character not in allowed and character not in found and _is_hidden(text, place):
            found[character] = place + 1
    return found


def told(found: dict[str, int]) -> str:
    """Return what `hidden` found in words: `U+200B ZERO WIDTH SPACE (character 5)`."""
    return ", ".join(f"{_named(character)} (character {place})" for character, place in found.items())


def halves(text: str, allowed: str = "") -> dict[str, int]:
    """Return the halves of surrogate pairs of a text, each with its first place, from 1: no file can hold them."""
    found = dict.fromkeys(half for half in _HALVES.findall(text) if half not in allowed)
    return {half: text.index(half) + 1 for half in found}


def visible(text: str) -> str:
    r"""Return a text for the terminal: what nobody would see is written as `\u200b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if _is_hidden(text, place) else c for place, c in enumerate(text))


def has_something_to_read(text: str) -> bool:
    """Return whether a text has a character that is neither hidden nor white space."""
    return any(not c.isspace() and not _is_hidden(text, place) for place, c in enumerate(text))


def _is_hidden(text: str, place: int) -> bool:
    character = text[place]
    if character.isprintable() and character not in _OTHERS:
        return False
    if character in _OTHERS:
        return True
    category = unicodedata.category(character)
    if category == "Cn":
        return 0xFDD0 <= ord(character) <= 0xFDEF or ord(character) & 0xFFFE == 0xFFFE
    if category not in _NOT_SEEN or character in _SEEN:
        return False
    if character in _JOINERS:
        return not (_is_joined(text[place - 1 : place]) and text[place + 1 : place + 2].strip(" .,;:!?"))
    return not (ord(character) in _TAGS and (place and (text[place - 1] == _FLAG or ord(text[place - 1]) in _TAGS)))


def _is_joined(before: str) -> bool:
    """Return whether a joiner makes a difference behind a character: a mark, an emoji, a letter that joins."""
    if not before:
        return False
    category = unicodedata.category(before)
    joins = category == "Lo" and unicodedata.east_asian_width(before) not in ("W", "F")
    return joins or category in ("Mn", "Mc", "So", "Sk")


def _named(character: str) -> str:
    names = {"Cc": "a control character", "Cs": "half of a surrogate pair", "Co": "of private use"}
    usual = names.get(unicodedata.category(character), "no character")
    return f"U+{ord(character):04X} {unicodedata.name(character, usual)}"
