"""Reranking: of the best texts of a search, the one that judges and the searching models find likeliest together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from slt_pipeline.config.recipe import Recipe, recipe_of_run
from slt_pipeline.config.stages import RerankConfig
from slt_pipeline.config.translator import GenerationConfig
from slt_pipeline.errors import SltError
from slt_pipeline.systems.decoding import Gloss2Text
from slt_pipeline.systems.outputs import Outputs, Scored
from slt_pipeline.systems.translator import open_gloss2text

_SAME = ("language", "gloss_language")


@dataclass(frozen=True)
class Reranked:
    """Gloss2Text, alone or several together, whose beams others judge; it writes as they do."""

    writer: Gloss2Text
    judges: tuple[Gloss2Text, ...]
    config: RerankConfig

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
            config: which judges, and how much each has to say.

        Raises:
            SltError: a judge is missing, is of other languages, or is what it would judge.
        """
        written_by, judges = {folder.resolve() for folder in writers}, []
        for folder in map(Path, config.runs):
            if folder.resolve() in written_by:
                raise SltError(f"evaluate.rerank.runs names {folder}, which writes what it would judge: leave it out")
            own = recipe_of_run(folder)
            for name in _SAME:
                theirs, ours = getattr(own.text, name), getattr(recipe.text, name)
                if theirs != ours:
                    raise SltError(
                        f"the judge {folder} has text.{name} {theirs}, and what it would judge {ours}: name a run of "
                        "the same languages"
                    )
            judges.append(open_gloss2text(own, device, folder))
        return cls(writer, tuple(judges), config)

    def outputs(
        self, glosses: Sequence[Sequence[str]], generation: GenerationConfig, batch_size: int, *, num_best: int = 0
    ) -> Outputs:
        """Return the text of every sequence of glosses, and its `num_best` best ones with what they add up to."""
        found = self.writer.outputs(glosses, generation, batch_size, num_best=generation.num_beams)
        signed = [tuple(row) for row in glosses]
        texts = [list(dict.fromkeys(each.text for each in best)) for best in found.nbest]
        scores = self._scores(
            [(row, text) for row, each in zip(signed, texts, strict=True) for text in each], batch_size
        )
        ranked = [
            sorted((Scored(text, round(scores[row, text], 4)) for text in each), key=lambda of: -of.score)
            for row, each in zip(signed, texts, strict=True)
        ]
        return Outputs([best[0].text for best in ranked], [best[:num_best] for best in ranked] if num_best else [], [])

    def _scores(
        self, pairs: Sequence[tuple[tuple[str, ...], str]], batch_size: int
    ) -> Mapping[tuple[tuple[str, ...], str], float]:
        """Return what each text adds up to behind its glosses."""
        pairs = list(dict.fromkeys(pairs))
        glosses, texts = [row for row, _ in pairs], [text for _, text in pairs]
        rewards = [self.config.per_piece * len(self.writer.vocabularies.text.encode(text)) for text in texts]
        told = [self.writer.log_probs(glosses, texts, batch_size), rewards]
        for judge, weight in zip(self.judges, self.config.weights, strict=True):
            told.append([weight * value for value in judge.log_probs(glosses, texts, batch_size)])
        return {pair: sum(values) for pair, values in zip(pairs, zip(*told, strict=True), strict=True)}
