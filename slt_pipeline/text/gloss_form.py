"""How a gloss is written, so that it is one class however it was typed: its form, its caseless key, its capitals."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from slt_pipeline.text.normalise import nfc

# Invisible, and in a gloss without a meaning: soft hyphen, zero-width space, marks of direction, word joiners, BOM.
_NOTHING = dict.fromkeys([0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF])
_JOINERS = "\u200c\u200d"
"""Invisible too, but within a word they decide in some scripts how it is written."""


def gloss_form(gloss: str) -> str:
    """Return a gloss as it is read: in NFC, nothing invisible or white around it, a hyphen for white space inside it.

    A gloss is one word of a sentence of glosses, which scores, tables and other programs split at white space.
    """
    words = nfc(gloss).translate(_NOTHING).split()
    return "-".join(word for each in words if (word := each.strip(_JOINERS)))


def gloss_sentence(glosses: Iterable[str]) -> str:
    """Return glosses as a sentence, one word each."""
    return " ".join(map(gloss_form, glosses))


def caseless(gloss: str) -> str:
    """Return what is alike for all spellings of a gloss in capitals and small letters, of any script.

    Unicode's case folding: GROẞ, groß and GROSS are one, and so are Σ, σ and ς. Of sentences of glosses, too.
    """
    return nfc(unicodedata.normalize("NFD", gloss).casefold())


def capitals(gloss: str) -> str:
    """Return a gloss in capitals that are read back as the same gloss.

    What has none stays as it is: the dotless ı, whose capital I is that of i; Georgian, whose capitals are headlines.
    """
    return nfc("".join(_capital(char) for char in nfc(gloss)))


@lru_cache(maxsize=4096)
def _capital(char: str) -> str:
    upper = "ẞ" if char == "ß" else char.upper()
    for_headlines = char.title() == char != upper and not char.istitle()
    return char if for_headlines or caseless(upper) != caseless(char) else upper
