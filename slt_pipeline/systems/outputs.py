"""What a translator makes of a source: texts, and the best few with their log-probabilities."""

import math
from typing import Any, NamedTuple

import torch

from slt_pipeline.models.beam_search import Generation
from slt_pipeline.systems.vocabularies import Vocabularies


class Scored(NamedTuple):
    """A text and its log-probability, divided by its length in pieces ** length_penalty."""

    text: str
    score: float

    def told(self) -> dict[str, Any]:
        """Return it as files have it: JSON has no number for what some judge has no position for, null stands there."""
        return {"text": self.text, "score": self.score if math.isfinite(self.score) else None}


NBest = list[Scored]
"""Texts of one source, best first."""


class Translations(NamedTuple):
    """Texts of a batch, best first, `num_return` rows a source; with scores if they were asked for."""

    texts: list[str]
    scores: list[float] | None

    def nbest(self, num_return: int) -> list[NBest]:
        """Return the texts of each source with their scores; none where there are no scores."""
        rows = [Scored(text, round(score, 4)) for text, score in zip(self.texts, self.scores or (), strict=False)]
        return [rows[i : i + num_return] for i in range(0, len(rows), num_return)]


class Outputs(NamedTuple):
    """What a translator made of clips, in their order."""

    texts: list[str]
    nbest: list[NBest]
    """The best texts of each clip with scores, as many as were asked for; empty: none were."""
    logits: list[torch.Tensor]
    """Gloss logits (S,K) of each clip, where it recognises; else empty."""


def read_texts(vocabularies: Vocabularies, found: Generation) -> Translations:
    """Return the texts of what was searched, with scores if they were asked for."""
    scores = None if found.scores is None else found.scores.tolist()
    return Translations(vocabularies.text.decode_batch(found.ids), scores)
