"""Reranking: of the best texts of a search, the one that judges and the searching models find likeliest together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from slt_pipeline.config.recipe import Recipe, recipe_of_run
from slt_pipeline.config.rerank import RerankConfig
from slt_pipeline.config.translator import GenerationConfig
from slt_pipeline.errors import SltError
from slt_pipeline.systems.decoding import Gloss2Text
from slt_pipeline.systems.outputs import Outputs, Scored
from slt_pipeline.systems.translator import open_gloss2text, require_learned
from slt_pipeline.training.checkpoint import best_checkpoint

_SAME = ("language", "gloss_language")
_WEIGHTS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0)
_REWARDS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
"""What is tried on dev, of weights and of the reward for a piece."""
_WEIGHT, _REWARD = 0.45, 0.75
"""Where that begins."""


class Judged(NamedTuple):
    """A text, and the parts of its points."""

    text: str
    log_probs: tuple[float, ...]
    """Of what searched, and of each judge."""
    pieces: int
    """Of the text."""


class Points(NamedTuple):
    """How the parts of a text's points are added up."""

    weights: tuple[float, ...]
    """Of each judge's log-probability; that of what searched has 1."""
    per_piece: float

    def of(self, judged: Judged) -> float:
        """Return the points of a text."""
        first, *others = judged.log_probs
        added = sum(weight * value for weight, value in zip(self.weights, others, strict=True) if weight)
        return first + added + self.per_piece * judged.pieces

    def ranked(self, texts: Sequence[Judged]) -> list[Scored]:
        """Return texts with their points, best first; of equals that which the search had before."""
        found = [Scored(judged.text, round(self.of(judged), 4)) for judged in texts]
        return sorted(found, key=lambda scored: -scored.score)

    def told(self) -> str:
        """Return them in a few words."""
        return f"judges' weights {', '.join(map(str, self.weights))}; {self.per_piece} for every piece"

    def described(self) -> dict[str, Any]:
        """Return them for a row of scores."""
        return {"rerank": {"weights": list(self.weights), "per_piece": self.per_piece}}


@dataclass(frozen=True)
class Reranked:
    """Gloss2Text, alone or several together, whose beams others judge."""

    writer: Gloss2Text
    judges: tuple[Gloss2Text, ...]

    @classmethod
    def open(
        cls, writer: Gloss2Text, recipe: Recipe, device: torch.device, writers: Sequence[Path], config: RerankConfig
    ) -> Self:
        """Open the judges that a recipe names, each with its own recipe.

        Args:
            writer: what is judged.
            recipe: its recipe.
            device: where the judges compute.
            writers: folders of its runs.
            config: names the judges.

        Raises:
            SltError: a judge is missing, is of other languages, is what it would judge, or never learned to.
        """
        written_by, judges = {folder.resolve() for folder in writers}, []
        for folder in map(Path, config.runs):
            if folder.resolve() in written_by:
                raise SltError(f"evaluate.rerank.runs names {folder}, which writes what it would judge: leave it out")
            judges.append(open_gloss2text(_recipe_of_judge(folder, recipe), device, folder))
        for kind in config.itself:
            for folder in writers:
                require_learned(folder, kind, f"evaluate.rerank.itself names {kind}")
        return cls(writer, (*judges, *map(writer.doing, config.itself)))

    def judged(
        self, glosses: Sequence[Sequence[str]], generation: GenerationConfig, batch_size: int
    ) -> list[list[Judged]]:
        """Return what is judged of every sequence of glosses, each text once.

        These are the beams of what writes; of several together, those of each alone, too, and of judges that write
        texts theirs: they differ more than the beams of one search.
        """
        searches = [system.beams(glosses, generation, batch_size) for system in (self.writer, *self.writer.alone)]
        for judge in self.judges:
            if judge.writes_texts:
                fits = [judge.model.has_room(judge.steps(row), 1) for row in glosses]
                found = iter(judge.beams([*compress(glosses, fits)], generation, batch_size))
                searches.append([next(found) if fit else [] for fit in fits])
        texts = [list(dict.fromkeys(text for beams in each for text in beams)) for each in zip(*searches, strict=True)]
        pairs = list(
            dict.fromkeys((tuple(row), text) for row, each in zip(glosses, texts, strict=True) for text in each)
        )
        sides = [row for row, _ in pairs], [text for _, text in pairs]
        told = [system.log_probs(*sides, batch_size) for system in (self.writer, *self.judges)]
        known = dict(zip(pairs, zip(*told, strict=True), strict=True))
        size = {text: len(self.writer.vocabularies.text.encode(text)) for text in sides[1]}
        return [
            [Judged(text, known[tuple(row), text], size[text]) for text in each]
            for row, each in zip(glosses, texts, strict=True)
        ]


def weights_of_judges(recipe: Recipe) -> dict[str, str]:
    """Return the hash of the weights of each run that is to judge what a run of a recipe writes, by its folder.

    Raises:
        SltError: one is missing or of other languages, or what is to be judged writes no texts.
    """
    config, direction = recipe.evaluate.rerank, recipe.translator.direction
    if config is None:
        return {}
    if direction != "gloss2text":
        raise SltError(
            f"evaluate.rerank judges texts that are written of glosses, and translator.direction is {direction}; set "
            "-o evaluate.rerank=null"
        )
    for folder in config.runs:
        _recipe_of_judge(Path(folder), recipe)
    return {run: best_checkpoint(Path(run), "slt gloss2text-train").weights_hash for run in config.runs}


def _recipe_of_judge(folder: Path, recipe: Recipe) -> Recipe:
    """Return the recipe of a run that judges what one of `recipe` writes; both are of the same languages."""
    own = recipe_of_run(folder)
    for name in _SAME:
        theirs, ours = getattr(own.text, name), getattr(recipe.text, name)
        if theirs != ours:
            raise SltError(
                f"the judge {folder} has text.{name} {theirs}, and what it would judge {ours}: name a run of the same "
                "languages"
            )
    return own


def chosen_points(
    clips: Sequence[Sequence[Judged]], num_judges: int, score: Callable[[Sequence[str]], float]
) -> Points:
    """Return the points by which the first texts score best, one part changed at a time until none gains.

    Args:
        clips: texts of each clip.
        num_judges: of the points.
        score: of a text for each clip; more is better.
    """
    values = [*([_WEIGHT] * num_judges), _REWARD]

    def points(tried: Sequence[float]) -> Points:
        return Points(tuple(tried[:-1]), tried[-1])

    def score_of(tried: Sequence[float]) -> float:
        return score([points(tried).ranked(texts)[0].text for texts in clips])

    best, gains = score_of(values), True
    while gains:
        gains = False
        for place, choices in enumerate([*([_WEIGHTS] * num_judges), _REWARDS]):
            for choice in choices:
                tried = [*values[:place], choice, *values[place + 1 :]]
                if tried != values and (found := score_of(tried)) > best:
                    best, values, gains = found, tried, True
    return points(values)


def outputs_of(clips: Sequence[Sequence[Judged]], points: Points, num_best: int) -> Outputs:
    """Return the text of most points of every clip, and its `num_best` best ones with them."""
    ranked = [points.ranked(texts) for texts in clips]
    return Outputs([best[0].text for best in ranked], [best[:num_best] for best in ranked], [])
