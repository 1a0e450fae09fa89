"""What the tests of joint training share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe, recipe_of_run

RATES = "{s3d.4: 0.003, default: 0.002}"
VALUES = {
    "joint_train__training": "{epochs: 2, batch_size: 3, log_every: 1, schedule: {name: constant}}",
    "joint_train__training__optimiser__lr": RATES,
    "joint_train__generation": "{num_beams: 2, max_length: 12}",
}
BRIDGED = {
    "translator__system": "cvslt",
    "translator__latent": 4,
    "translate_train__objective": "{prior: 1, posterior: 1, gaussian_kl: {to: 0.1, over: 4}, "
    "output_kl: {to: 1, over: 4}, recognition: 0}",
}
HEADED = {"translator__head": "trained", "translate_train__training__epochs": 4}


def recipe_of(toy, runs: Path, **values: Any) -> Recipe:
    """A recipe that starts from the toy system's encoder, and from its translator unless another is named."""
    uses = toy.root / "runs" / "toy"
    where = {"runs_dir": runs, "uses__encoder": uses, "uses__language": uses, "uses__translator": uses}
    return toy.recipe(**{**where, **VALUES, **values})


@dataclass(frozen=True)
class Joint:
    """A joint run, the features of its encoder and its scores."""

    recipe: Recipe
    folder: Path
    scores: dict[tuple[str, str], dict[str, Any]]

    def opened(self, *overrides: str) -> Recipe:
        return recipe_of_run(self.folder, overrides)
