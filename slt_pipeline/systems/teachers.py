"""Teachers of Gloss2Text: trained runs of it, the mean of whose probabilities another one learns (distillation)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from slt_pipeline.config.recipe import Recipe, recipe_of_run
from slt_pipeline.errors import SltError
from slt_pipeline.models.ensemble import mean_log_probs
from slt_pipeline.systems.decoding import Gloss2Text
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.training.checkpoint import best_checkpoint


@dataclass(frozen=True)
class Teachers:
    """Gloss2Text models that read the same batches as the one they teach."""

    members: tuple[Gloss2Text, ...]

    @classmethod
    def open(cls, recipe: Recipe, vocabularies: Vocabularies, device: torch.device) -> Self:
        """Open the runs that a recipe names, each with its own recipe.

        Raises:
            SltError: a run is missing, or has other pieces or glosses than `vocabularies`.
        """
        members = []
        for folder in map(Path, recipe.gloss2text_train.teachers):
            teacher = open_gloss2text(recipe_of_run(folder), device, folder)
            for name in ("gloss_input", "direction"):
                theirs, ours = getattr(teacher.model.config, name), getattr(recipe.translator, name)
                if theirs != ours:
                    raise SltError(
                        f"the teacher {folder} has translator.{name} {theirs}, the model that it teaches {ours}"
                    )
            for name, theirs, ours in (
                ("pieces", teacher.vocabularies.text.ids_digest(), vocabularies.text.ids_digest()),
                ("gloss inputs", teacher.vocabularies.glosses.digest(), vocabularies.glosses.digest()),
            ):
                if theirs != ours:
                    raise SltError(
                        f"the teacher {folder} has other {name} ({theirs[:12]}) than the model that it teaches "
                        f"({ours[:12]}); take runs on its texts"
                    )
            members.append(teacher)
        return cls(tuple(members))

    @torch.no_grad()
    def answer(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return a batch with `teacher_log_probs (B, N, V)` of its `labels`; without members as it is."""
        if not self.members:
            return dict(batch)
        known = [teacher.model.member(teacher.model.source(batch)) for teacher in self.members]
        return {**batch, "teacher_log_probs": mean_log_probs(known, batch["decoder_input_ids"])}


def weights_of_teachers(folders: Sequence[str], taught: Path) -> dict[str, str]:
    """Return the hash of each teacher's weights, by its place in the list: for a run's inputs.

    Args:
        folders: of the teachers' runs.
        taught: of the run that learns from them.

    Raises:
        SltError: a run is missing, or is the one that it is to teach.
    """
    if own := [folder for folder in folders if Path(folder).resolve() == taught.resolve()]:
        raise SltError(
            f"gloss2text_train.teachers names {own[0]}, the run that they are to teach and whose weights go as it is "
            "trained; give this one another -o name=..."
        )
    found = (best_checkpoint(Path(folder), "slt gloss2text-train").weights_hash for folder in folders)
    return {str(number): weights for number, weights in enumerate(found, start=1)}
