"""Translators at work: Gloss2Text and Sign2Text, alone or several together, with their vocabularies."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Self, TypeVar

import torch

from slt_pipeline.config.translator import Beside, GenerationConfig
from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.corpora.gloss_text import marked, turned
from slt_pipeline.corpora.labels import GlossReader
from slt_pipeline.errors import SltError
from slt_pipeline.models.beam_search import text_log_probs
from slt_pipeline.models.ensemble import Member
from slt_pipeline.models.language import EncoderInput
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import HeadFront, Taps
from slt_pipeline.models.translator import Translator
from slt_pipeline.systems.outputs import NBest, Outputs, Translations, read_texts
from slt_pipeline.systems.vocabularies import Vocabularies

_Model = TypeVar("_Model", Translator, SignToText)
MOST = 4
"""How many times as many short sources as long ones a batch may hold: what is decoded takes memory too."""


def decoding_batches(lengths: Sequence[int], batch_size: int, *, alike: bool = False) -> Iterator[list[int]]:
    """Yield the indices of all sources in batches, the longest first: little padding, and memory fails at once if ever.

    Args:
        lengths: of the sources, in steps or glosses.
        batch_size: sources of the first batch; the next ones hold as many steps, in up to `MOST` times as many sources.
        alike: put only sources of one length together.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    steps = batch_size * max(1, lengths[order[0]]) if order else 0
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        end = start + min(MOST * batch_size, max(1, steps // max(1, longest)))
        batch = [index for index in order[start:end] if not alike or lengths[index] == longest]
        yield batch
        start += len(batch)


@dataclass(frozen=True)
class _Writer(Generic[_Model]):
    """What writes texts, alone or together with others of its kind."""

    model: _Model
    vocabularies: Vocabularies
    weights: str = ""
    """Hash of the weights that were loaded; empty: in training."""
    others: tuple[Self, ...] = ()
    """Those that write every text together with it."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    @property
    def alone(self) -> tuple[Self, ...]:
        """Of several together, each by itself."""
        return (replace(self, others=()), *self.others) if self.others else ()

    def together_with(self, others: Mapping[Path, Self]) -> Self:
        """Return an ensemble; its members may have other sizes, glosses and taps, but not other pieces of text.

        Args:
            others: those that write with it, by the folder of their run.

        Raises:
            SltError: they have.
        """
        own = self.vocabularies.text.ids_digest()[:12]
        for number, (folder, member) in enumerate(others.items(), start=2):
            if (digest := member.vocabularies.text.ids_digest()[:12]) != own:
                raise SltError(
                    f"member {number} of the ensemble, {folder}, has other pieces of text ({digest}) than the first "
                    f"({own}): probabilities of pieces cannot be averaged; take runs that share a tokenizer "
                    "(text.tokenizer)"
                )
        return replace(self, others=tuple(others.values()))


@dataclass(frozen=True)
class Gloss2Text(_Writer[Translator]):
    """Glosses to text."""

    kind: Beside | None = None
    """What it does in the place of that, of what it learned beside (`gloss2text_train.also`)."""

    @property
    def writes_texts(self) -> bool:
        """Whether it writes texts: else it writes the glosses of texts."""
        return "text2gloss" not in (self.model.config.direction, self.kind)

    def doing(self, kind: Beside) -> "Gloss2Text":
        """Return the same models where they do something that all of them learned beside."""
        vocabularies = self.vocabularies.in_order("backward" if kind == "backward" else "forward")
        return replace(self, kind=kind, vocabularies=vocabularies, others=tuple(o.doing(kind) for o in self.others))

    def steps(self, glosses: Sequence[str]) -> int:
        """Return the steps that its model takes to read a sentence."""
        return self.reader.length(marked(glosses, self.kind))

    @property
    def reader(self) -> GlossReader:
        """What makes of glosses what its model reads."""
        return self.vocabularies.gloss_reader(self.model.config.gloss_input)

    def translate(self, glosses: Sequence[Sequence[str]], generation: GenerationConfig, batch_size: int) -> list[str]:
        """Return the text of every sequence of glosses."""
        return self.outputs(glosses, generation, batch_size).texts

    def outputs(
        self, glosses: Sequence[Sequence[str]], generation: GenerationConfig, batch_size: int, *, num_best: int = 0
    ) -> Outputs:
        """Return the text of every sequence of glosses, and its `num_best` best ones with scores."""
        made, num_return = _Ordered(len(glosses)), max(num_best, 1)
        for indices, found in self._searched(glosses, generation, batch_size, num_return, with_scores=num_best > 0):
            made.add(indices, found, num_return)
        return made.outputs()

    def beams(self, glosses: Sequence[Sequence[str]], generation: GenerationConfig, batch_size: int) -> list[list[str]]:
        """Return the texts of all beams of every sequence of glosses, best first."""
        texts, width = [list[str]() for _ in glosses], generation.num_beams
        for indices, found in self._searched(glosses, generation, batch_size, width, with_scores=False):
            for row, index in enumerate(indices):
                texts[index] = found.texts[row * width : (row + 1) * width]
        return texts

    def _searched(
        self,
        glosses: Sequence[Sequence[str]],
        generation: GenerationConfig,
        batch_size: int,
        num_return: int,
        *,
        with_scores: bool,
    ) -> Iterator[tuple[list[int], Translations]]:
        """Yield the texts of each batch, `num_return` a source, with the indices of its sources."""
        settings = {**generation.model_dump(), "num_return": num_return, "with_scores": with_scores}
        for indices in decoding_batches([self.steps(row) for row in glosses], batch_size):
            rows = [glosses[index] for index in indices]
            members = [other.model.member(other._source(rows)) for other in self.others]
            found = self.model.generate(self._source(rows), others=members, **settings)
            yield indices, read_texts(self.vocabularies, found)

    @torch.no_grad()
    def log_probs(self, glosses: Sequence[Sequence[str]], texts: Sequence[str], batch_size: int) -> list[float]:
        """Return the log-probability of each text behind its glosses; of `text2gloss` that of these behind the text.

        What a model has no position for has no probability: it is `-inf`.
        """
        if not self.writes_texts:
            both = [turned(signed, text) for signed, text in zip(glosses, texts, strict=True)]
            glosses, texts = [words for words, _ in both], [written for _, written in both]
        tokenizer, found = self.vocabularies.text, [-math.inf] * len(texts)
        pieces = [tokenizer.encode(text) for text in texts]
        lengths = [(self.steps(row), len(ids)) for row, ids in zip(glosses, pieces, strict=True)]
        fitting = [index for index, of_both in enumerate(lengths) if self.model.has_room(*of_both)]
        for batch in decoding_batches([sum(lengths[index]) for index in fitting], batch_size):
            indices = [fitting[number] for number in batch]
            rows = [glosses[index] for index in indices]
            members = [each.model.member(each._source(rows)) for each in (self, *self.others)]
            targets = tokenizer.targets([pieces[index] for index in indices])
            told = text_log_probs(members, *(ids.to(self.device) for ids in targets))
            for index, value in zip(indices, told.tolist(), strict=True):
                found[index] = value
        return found

    def _source(self, glosses: Sequence[Sequence[str]]) -> EncoderInput:
        encoded = self.reader.encode([marked(row, self.kind) for row in glosses])
        return self.model.source({name: ids.to(self.device) for name, ids in encoded.items()})


@dataclass(frozen=True)
class Sign2Text(_Writer[SignToText]):
    """The taps of a visual encoder to text, and with a head of its own to glosses; those of an ensemble are its own."""

    @property
    def recognises(self) -> bool:
        """Whether it makes gloss logits of its own: its visual head is trained with it."""
        return self.model.front.recognises

    @torch.no_grad()
    def taps(self, batch: Mapping[str, torch.Tensor]) -> Taps:
        """Return what its front makes of a batch of stored features."""
        return self.model.front({name: batch[name].to(self.device) for name in ("features", "lengths")})

    def translate(
        self,
        taps: Taps,
        generation: GenerationConfig,
        *,
        num_return: int = 1,
        with_scores: bool = False,
        oracle: torch.Tensor | None = None,
        others: Sequence[Member] = (),
    ) -> Translations:
        """Return the texts of a batch of taps; from the posterior with `oracle`, labels (B, N) of the right texts."""
        settings = {**generation.model_dump(), "num_return": num_return, "with_scores": with_scores, "oracle": oracle}
        return read_texts(self.vocabularies, self.model.generate(taps, **settings, others=others))

    def translate_features(
        self,
        features: FeatureDataset,
        generation: GenerationConfig,
        batch_size: int,
        *,
        oracle: bool = False,
        num_best: int = 0,
    ) -> Outputs:
        """Return the text of every clip, and where `recognises` its gloss logits, in the order of the clips.

        Args:
            features: clips in a store; for the oracle with the labels of their texts.
            generation: the search.
            batch_size: clips at once.
            oracle: decode from the posterior, which knows the right texts: an upper bound, no translation.
            num_best: how many texts of each clip come with scores.
        """
        made, num_return = _Ordered(len(features.clips)), max(num_best, 1)
        logits: dict[int, torch.Tensor] = {}
        for indices in self.batches(features, batch_size, alike=oracle):
            batch = features.batch([features.clips[index] for index in indices])
            taps = self.taps(batch)
            found = self.translate(
                taps,
                generation,
                num_return=num_return,
                with_scores=num_best > 0,
                oracle=batch["labels"].to(self.device) if oracle else None,
                others=[other._member(batch, oracle=oracle) for other in self.others],
            )
            made.add(indices, found, num_return)
            if self.recognises and taps.gloss_logits is not None:
                rows = zip(indices, taps.gloss_logits.cpu(), batch["lengths"].tolist(), strict=True)
                logits |= {index: row[:length] for index, row, length in rows}
        return made.outputs([logits[index] for index in sorted(logits)])

    def batches(self, features: FeatureDataset, batch_size: int, *, alike: bool = False) -> Iterator[list[int]]:
        """Yield batches of like length; of equal length where padding would reach a result (the published head)."""
        alike |= any(isinstance(m.model.front, HeadFront) and m.model.front.leaks for m in (self, *self.others))
        yield from decoding_batches([features.length(clip) for clip in features.clips], batch_size, alike=alike)

    def _member(self, batch: Mapping[str, torch.Tensor], *, oracle: bool) -> Member:
        source = self.model.source(self.taps(batch))
        return self.model.translator.member(source, batch["labels"].to(self.device) if oracle else None)


class _Ordered:
    """What was decoded batch by batch, put back into the order of the sources."""

    def __init__(self, num_sources: int):
        self._texts, self._nbest = [""] * num_sources, list[NBest]([[]] * num_sources)
        self._scored = False

    def add(self, indices: Sequence[int], found: Translations, num_return: int) -> None:
        """Take in the texts of a batch."""
        for index, text in zip(indices, found.texts[::num_return], strict=True):
            self._texts[index] = text
        for index, best in zip(indices, found.nbest(num_return), strict=False):  # none where none are asked for
            self._nbest[index], self._scored = best, True

    def outputs(self, logits: Sequence[torch.Tensor] = ()) -> Outputs:
        """Return all of it."""
        return Outputs(self._texts, self._nbest if self._scored else [], list(logits))
