"""Named scoring protocols: which numbers can be compared with which.

A score is only comparable with a published one if level, clean-up, casing and punctuation agree. A protocol fixes all
four; recipes, `slt evaluate` and `slt score` name one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

from slt_pipeline.config.names import ProtocolName
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.bleu import corpus_bleu
from slt_pipeline.metrics.pairs import Level, check_pairs
from slt_pipeline.metrics.rouge import corpus_rouge
from slt_pipeline.metrics.wer import RecognitionScores, word_error_rate
from slt_pipeline.text.gloss_cleanup import clean_phoenix14, clean_phoenix14t
from slt_pipeline.text.gloss_form import capitals, caseless
from slt_pipeline.text.normalise import nfc, single_spaced, to_half_width

Cleanup = Literal["phoenix14t", "phoenix14"]
TextNormalisation = Literal["half-width", "single-spaced"]

_CLEANUPS: dict[str, Callable[[str], str]] = {"phoenix14t": clean_phoenix14t, "phoenix14": clean_phoenix14}
_NORMALISATIONS: dict[str, Callable[[str], str]] = {"half-width": to_half_width, "single-spaced": single_spaced}


@dataclass(frozen=True, slots=True)
class TranslationScores:
    """Scores of a corpus of translations, in percent."""

    bleu1: float
    """Corpus BLEU up to order 1."""
    bleu2: float
    """Corpus BLEU up to order 2."""
    bleu3: float
    """Corpus BLEU up to order 3."""
    bleu4: float
    """Corpus BLEU up to order 4: the papers' BLEU."""
    rouge: float
    """Mean sentence-level ROUGE-L F."""


@dataclass(frozen=True, slots=True)
class ScoringProtocol:
    """How a corpus is scored. Sentences are given as strings; glosses are separated by white space."""

    name: ProtocolName
    """The name recipes use, of config/names.py."""
    level: Level
    """Tokens of BLEU and ROUGE."""
    upper_case_gloss: bool = True
    """Compare both sides in capitals, before clean-up and WER: references are as annotated, in whatever case."""
    gloss_cleanup: Cleanup | None = None
    """Clean-up of both sides before WER (FACTS 10.4)."""
    text_normalisation: TextNormalisation | None = None
    """Normalisation of hypotheses and references before BLEU and ROUGE (FACTS 1.7)."""

    def score_translation(self, hypotheses: Sequence[str], references: Sequence[str]) -> TranslationScores:
        """BLEU-1..4 and ROUGE-L.

        Raises:
            SltError: unequal or zero numbers of sentences.
        """
        check_pairs(hypotheses, references)
        return score_translation(self.prepare_text(hypotheses), self.prepare_text(references), self.level)

    def score_recognition(self, hypotheses: Sequence[str], references: Sequence[str]) -> RecognitionScores:
        """WER and its parts.

        Raises:
            SltError: unequal or zero numbers of sentences.
        """
        check_pairs(hypotheses, references)
        return word_error_rate(self.prepare_gloss(hypotheses), self.prepare_gloss(references))

    def prepare_text(self, texts: Sequence[str]) -> list[str]:
        """Texts as they enter BLEU and ROUGE: in NFC, normalised."""
        texts = [nfc(text) for text in texts]
        if self.text_normalisation is None:
            return texts
        return [_NORMALISATIONS[self.text_normalisation](text) for text in texts]

    def prepare_gloss(self, glosses: Sequence[str]) -> list[str]:
        """Gloss sentences as they enter WER: in capitals and NFC, then cleaned."""
        glosses = [capitals(caseless(gloss)) if self.upper_case_gloss else nfc(gloss) for gloss in glosses]
        if self.gloss_cleanup is None:
            return glosses
        return [_CLEANUPS[self.gloss_cleanup](gloss) for gloss in glosses]


def score_translation(hypotheses: Sequence[str], references: Sequence[str], level: str) -> TranslationScores:
    """BLEU-1..4 and ROUGE-L of sentences as they are. level: "word" or "char"."""
    bleu1, bleu2, bleu3, bleu4 = corpus_bleu(hypotheses, references, level)
    return TranslationScores(bleu1, bleu2, bleu3, bleu4, rouge=corpus_rouge(hypotheses, references, level))


PROTOCOLS: Mapping[str, ScoringProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            ScoringProtocol("phoenix14t", level="word", gloss_cleanup="phoenix14t"),
            ScoringProtocol("csl-daily", level="char"),
            ScoringProtocol("csl-daily-halfwidth", level="char", text_normalisation="half-width"),
            ScoringProtocol("plain-word", level="word", text_normalisation="single-spaced"),
            ScoringProtocol("plain-char", level="char", text_normalisation="single-spaced"),
        )
    }
)
"""All protocols by name. `csl-daily` compares with MMTLB and older work, `csl-daily-halfwidth` with CV-SLT."""


def get_protocol(name: str) -> ScoringProtocol:
    """Return the protocol of that name.

    Raises:
        SltError: there is none; the nearest one is named.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = get_close_matches(name, PROTOCOLS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of: {', '.join(PROTOCOLS)}"
    raise SltError(f"unknown scoring protocol {name!r}; {hint}")
