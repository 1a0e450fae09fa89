"""Configuration of the text side: language, tokenizer, gloss inputs."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from slt_pipeline.config.base import Config
from slt_pipeline.config.names import ANY_LANGUAGE, SPOKEN_LANGUAGE
from slt_pipeline.config.paths import LocationPath

Detokenise = Literal["none", "published"]
Order = Literal["forward", "backward"]


class TextConfig(Config):
    """How sentences become ids and back, and which glosses a translator reads."""

    recorded: ClassVar[frozenset[str]] = frozenset({"tokenizer"})  # what lies in it is hashed

    language: str = "de_DE"
    """Target language, which starts every decoded sentence (FACTS 6.2): any code such as `pl_PL`, or one of mBART's 25
    where `translator.mbart.folder` brings weights."""
    gloss_language: str = "de_DGS"
    """Sign language of gloss and feature input, a row of the gloss table: any code such as `de_DGS`, `en_ASL` or
    `pl_PJM`. It starts from the vector of the spoken language of the same first part, else of `language`."""
    tokenizer: LocationPath | None = None
    """Folder with `sentencepiece.bpe.model` (any Hugging Face mBART), or with the byte-level tokenizer of a GPT-2;
    none: trained on the training texts."""
    detokenise: Detokenise = "none"
    """Spelling of decoded text: `none`, as the pieces say; `published`, with the clean-up of the published systems (no
    space before punctuation, in German one before a final full stop; FACTS 6.6), right for PHOENIX and CSL-Daily."""
    order: Order = "forward"
    """In which a text is written: `forward`; or `backward`, from its last piece to its first, by a model that errs
    elsewhere than one that writes forward and so is a good judge of what that one wrote (`evaluate.rerank`)."""
    gloss_splits: tuple[str, ...] = Field(default=("train",), min_length=1)
    """Splits whose glosses get a row of the gloss table; published: all three (FACTS 1.5), right only where the rows
    come from a pre-trained mBART."""
    vocab_size: int = Field(default=1000, ge=1, le=1_000_000)
    """Most pieces of a trained tokenizer; a small corpus gets fewer, and every character of the corpus is kept."""

    @field_validator("language")
    @classmethod
    def _is_spoken(cls, code: str) -> str:
        if not SPOKEN_LANGUAGE.fullmatch(code):
            signed = " (a sign language is text.gloss_language)" if ANY_LANGUAGE.fullmatch(code) else ""
            raise ValueError(f"a spoken language is written like de_DE, en_XX or pl_PL{signed}")
        return code

    @field_validator("gloss_language")
    @classmethod
    def _is_a_language(cls, code: str) -> str:
        if not ANY_LANGUAGE.fullmatch(code):
            raise ValueError("a sign language is written like de_DGS, en_ASL or pl_PJM, after the spoken one beside it")
        return code
