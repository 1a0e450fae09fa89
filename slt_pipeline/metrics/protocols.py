"""Named scoring protocols: which numbers can be compared with which.

A score is only comparable with a published one if level, clean-up, casing and punctuation agree. A protocol fixes all
four; recipes, `slt evaluate` and `slt score` name one. Its version rises whenever the same sentences can get another
number, so that name and version together say what a number is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from slt_pipeline.config.names import PROTOCOL_ALIASES, ProtocolName
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.bleu import (
    Smoothing,
    bleu_of_statistics,
    bleu_signature,
    corpus_bleu,
    sentence_bleu,
    sentence_statistics,
    split_tokens,
)
from slt_pipeline.metrics.chrf import chrf_of_statistics, chrf_signature, chrf_statistics, corpus_chrf
from slt_pipeline.metrics.pairs import Level, check_pairs, spaced
from slt_pipeline.metrics.rouge import corpus_rouge, sentence_rouge
from slt_pipeline.metrics.significance import Sums
from slt_pipeline.metrics.standard_wer import standard_error_counts
from slt_pipeline.metrics.wer import RecognitionScores, error_counts, scores_of_counts, word_error_rate
from slt_pipeline.text.gloss_cleanup import clean_phoenix14, clean_phoenix14t
from slt_pipeline.text.gloss_form import capitals, caseless
from slt_pipeline.text.normalise import nfc, single_spaced, to_half_width

Cleanup = Literal["phoenix14t", "phoenix14"]
TextNormalisation = Literal["half-width", "single-spaced"]
Tokenizer = Literal["13a", "zh", "char"]

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
    chrf: float
    """Corpus chrF2, sacrebleu's."""


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
    """Normalisation of hypotheses and references before BLEU, ROUGE and chrF (FACTS 1.7)."""
    tokenizer: Tokenizer | None = None
    """One of sacrebleu's, before BLEU and ROUGE."""
    smoothing: Smoothing = "none"
    """Of BLEU."""
    wer_costs: Literal["published", "standard"] = "published"
    """Costs of an insertion, deletion and substitution: 3, 3 and 4 (FACTS 10.3), or 1 each."""
    version: int = 1
    """Raised by hand when the same sentences could get other numbers than before."""

    def score_translation(self, hypotheses: Sequence[str], references: Sequence[str]) -> TranslationScores:
        """BLEU-1..4, ROUGE-L and chrF.

        Raises:
            SltError: unequal or zero numbers of sentences.
        """
        check_pairs(hypotheses, references)
        hypotheses, references = self.prepare_text(hypotheses), self.prepare_text(references)
        tokens = self._split(hypotheses), self._split(references)
        bleu1, bleu2, bleu3, bleu4 = corpus_bleu(*tokens, self.level, self.smoothing)
        rouge = corpus_rouge(*tokens, self.level)
        return TranslationScores(bleu1, bleu2, bleu3, bleu4, rouge, chrf=corpus_chrf(hypotheses, references))

    def score_recognition(self, hypotheses: Sequence[str], references: Sequence[str]) -> RecognitionScores:
        """WER and its parts.

        Raises:
            SltError: unequal or zero numbers of sentences.
        """
        check_pairs(hypotheses, references)
        pair = self.prepare_gloss(hypotheses), self.prepare_gloss(references)
        if self.wer_costs == "published":
            return word_error_rate(*pair)
        return scores_of_counts(standard_error_counts(*pair).sum(axis=0))

    def text_sums(self, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Sums]:
        """What BLEU-4, ROUGE-L and chrF sum over sentences: for tests of significance."""
        check_pairs(hypotheses, references)
        texts = self.prepare_text(hypotheses), self.prepare_text(references)
        tokens = self._split(texts[0]), self._split(texts[1])
        rouge = np.array([[score, 1.0] for score in sentence_rouge(*tokens, self.level)])
        return {
            "bleu4": self.bleu_sums(hypotheses, references),
            "rouge": Sums(rouge, lambda sums: sums[:, 0] / sums[:, 1]),
            "chrf": Sums(chrf_statistics(*texts), chrf_of_statistics),
        }

    def sentence_bleu(self, hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
        """Smoothed BLEU-4 of each sentence: for ranks, comparable with no score of a corpus."""
        tokens = self._split(self.prepare_text(hypotheses)), self._split(self.prepare_text(references))
        return sentence_bleu(*tokens, self.level)

    def sentence_chrf(self, hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
        """How much of each sentence is right, as a share of 1: its chrF."""
        texts = self.prepare_text(hypotheses), self.prepare_text(references)
        return (chrf_of_statistics(chrf_statistics(*texts)) / 100).tolist()

    def bleu_sums(self, hypotheses: Sequence[str], references: Sequence[str]) -> Sums:
        """What BLEU-4 sums over sentences."""
        tokens = self._split(self.prepare_text(hypotheses)), self._split(self.prepare_text(references))
        statistics = sentence_statistics(*tokens, self.level)
        return Sums(statistics, lambda sums: bleu_of_statistics(sums, smoothing=self.smoothing))

    def gloss_sums(self, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Sums]:
        """What WER sums over sentences."""
        counts = self._error_counts(hypotheses, references)
        scores_of_counts(counts.sum(axis=0))  # refused where no reference holds a gloss; what is drawn of them may
        return {"wer": Sums(counts, lambda sums: 100 * sums[:, :3].sum(axis=1) / np.maximum(sums[:, 4], 1))}

    def prepare_text(self, texts: Sequence[str]) -> list[str]:
        """Texts as they enter every score: in NFC, normalised."""
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

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """Tokens of BLEU of each text."""
        return [spaced(text, self.level).split() for text in self._split(self.prepare_text(texts))]

    def gloss_tokens(self, glosses: Sequence[str]) -> list[list[str]]:
        """Tokens of WER of each gloss sentence."""
        return [line.split() for line in self.prepare_gloss(glosses)]

    @property
    def signature(self) -> dict[str, str]:
        """How each score is computed: sacrebleu's signature where it computes it, and one of that form where we do."""
        case = "case:upper" if self.upper_case_gloss else "case:mixed"
        costs = f"costs:1/1/1|by:jiwer|version:{version('jiwer')}"
        if self.wer_costs == "published":
            costs = "costs:3/3/4|by:slt"
        text = f"|text:{self.text_normalisation}" if self.text_normalisation else ""
        level = "|level:char" if self.level == "char" else ""
        tokenizer = self.tokenizer or "none"
        return {
            "bleu": bleu_signature(tokenizer, self.smoothing) + level + text,
            "rouge": f"case:mixed|tok:{tokenizer}|beta:precision/recall|by:slt{level}{text}",
            "chrf": chrf_signature() + text,
            "wer": f"{case}|cleanup:{self.gloss_cleanup or 'none'}|{costs}",
        }

    @property
    def title(self) -> str:
        """Its name and version, for a column of a table."""
        return f"{self.name} {self.version}"

    @property
    def described(self) -> dict[str, Any]:
        """What stands beside every number: protocol, its version, and how each score is computed."""
        return {"protocol": self.name, "protocol_version": self.version, "signature": self.signature}

    def _split(self, texts: Sequence[str]) -> list[str]:
        """Prepared texts, their tokens split where a tokenizer is to do it."""
        return list(texts) if self.tokenizer is None else split_tokens(texts, self.tokenizer)

    def _error_counts(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        check_pairs(hypotheses, references)
        counts = standard_error_counts if self.wer_costs == "standard" else error_counts
        return counts(self.prepare_gloss(hypotheses), self.prepare_gloss(references))


_STANDARD: dict[str, Any] = {"wer_costs": "standard"}
_PLAIN: dict[str, Any] = {"text_normalisation": "single-spaced", **_STANDARD, "version": 2}  # 1: published costs
_SACREBLEU: dict[str, Any] = {"smoothing": "exp", **_STANDARD}

PROTOCOLS: Mapping[str, ScoringProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            ScoringProtocol("phoenix14t", level="word", gloss_cleanup="phoenix14t"),
            ScoringProtocol("csl-daily", level="char"),
            ScoringProtocol("csl-daily-halfwidth", level="char", text_normalisation="half-width"),
            ScoringProtocol("plain-word", level="word", **_PLAIN),
            ScoringProtocol("plain-char", level="char", **_PLAIN),
            ScoringProtocol("sacrebleu-13a", level="word", tokenizer="13a", **_SACREBLEU),
            ScoringProtocol("sacrebleu-zh", level="word", tokenizer="zh", **_SACREBLEU),
            ScoringProtocol("sacrebleu-char", level="word", tokenizer="char", **_SACREBLEU),
        )
    }
)
"""All protocols by name. `csl-daily` compares with MMTLB and older work, `csl-daily-halfwidth` with CV-SLT."""


def get_protocol(name: str) -> ScoringProtocol:
    """Return the protocol of that name, or of that other name.

    Raises:
        SltError: there is none; the nearest one is named.
    """
    name = PROTOCOL_ALIASES.get(str(name), str(name))
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = get_close_matches(name, [*PROTOCOLS, *PROTOCOL_ALIASES], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of: {', '.join(PROTOCOLS)}"
    raise SltError(f"unknown scoring protocol {name!r}; {hint}")
