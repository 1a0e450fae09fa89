"""Text normalisation that changes references and training targets."""

# FACTS 1.7: mBART's SentencePiece model normalises in the manner of NFKC and so can emit the half-width forms
# only; these are the four characters of CSL-Daily that it changes. 。 and the quotation marks stay.
_HALF_WIDTH = str.maketrans({"，": ",", "？": "?", "！": "!", "：": ":"})


def to_half_width(text: str) -> str:
    """Map full-width ，？！： to , ? ! : and leave every other character (CV-SLT's fix of CSL-Daily)."""
    return text.translate(_HALF_WIDTH)
