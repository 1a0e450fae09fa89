"""Configuration of the text side: language, tokenizer, gloss inputs."""

from typing import ClassVar, Literal

from pydantic import Field

from slt_pipeline.config.base import Config
from slt_pipeline.config.names import LanguageCode
from slt_pipeline.config.paths import LocationPath

Detokenise = Literal["none", "published"]


class TextConfig(Config):
    """How sentences become ids and back, and which glosses a translator reads."""

    recorded: ClassVar[frozenset[str]] = frozenset({"tokenizer"})  # what lies in it is hashed

    language: LanguageCode = "de_DE"
    """Target language, one of mBART's 25 codes; it starts every decoded sentence (FACTS 6.2)."""
    gloss_language: str = "de_DGS"
    """Source language code of gloss and feature input, a row of the gloss table: de_DGS, zh_CSL or your own."""
    tokenizer: LocationPath | None = None
    """Folder with `sentencepiece.bpe.model` (any Hugging Face mBART); none: trained on the training texts."""
    detokenise: Detokenise = "none"
    """Spelling of decoded text: `none`, as the pieces say; `published`, with the clean-up of the published systems (no
    space before punctuation, in German one before a final full stop; FACTS 6.6), right for PHOENIX and CSL-Daily."""
    gloss_splits: tuple[str, ...] = Field(default=("train",), min_length=1)
    """Splits whose glosses get a row of the gloss table; published: all three (FACTS 1.5), right only where the rows
    come from a pre-trained mBART."""
    vocab_size: int = Field(default=1000, ge=1)
    """Most pieces of a trained tokenizer; a small corpus gets fewer, and every character of the corpus is kept."""
