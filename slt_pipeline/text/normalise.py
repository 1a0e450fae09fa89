"""Text normalisation that changes references and training targets."""

import re
import unicodedata

# FACTS 1.7: mBART's SentencePiece model normalises in the manner of NFKC and so can emit the half-width forms
# only; these are the four characters of CSL-Daily that it changes. 。 and the quotation marks stay.
_HALF_WIDTH = str.maketrans({"，": ",", "？": "?", "！": "!", "：": ":"})
_BLANKS = re.compile(r"[ \t\n\v\f\r]+")


def nfc(text: str) -> str:
    """Return the text in NFC: what reads alike is alike, whether an umlaut was typed as one character or as two."""
    return unicodedata.normalize("NFC", text)


def single_spaced(text: str) -> str:
    """Return the text with one space for every run of blanks, tabs and line ends, and none at its ends."""
    return _BLANKS.sub(" ", text).strip(" ")


def to_half_width(text: str) -> str:
    """Map full-width ，？！： to , ? ! : and leave every other character (CV-SLT's fix of CSL-Daily)."""
    return text.translate(_HALF_WIDTH)
