"""What is measured of a clip to tell how sure its translation is, and how like those of training it is.

S steps, K gloss classes, D width of a stream, A axes of a density.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slt_pipeline.models.ctc import BLANK


def gloss_measures(gloss_logits: Tensor) -> dict[str, float]:
    """Return `gloss entropy` and `blank share` of logits (S, K).

    The entropy is that of the gloss probabilities of a step, in nats, averaged over the steps; the share is of the
    steps at which the blank is the most probable class.
    """
    log_probs = gloss_logits.double().log_softmax(dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    blank = (log_probs.argmax(dim=-1) == BLANK).double()
    return {"gloss entropy": float(entropy.mean()), "blank share": float(blank.mean())}


@dataclass(frozen=True)
class Density:
    """Where the steps of training lie: a Gaussian with a few axes of its own, and one spread in all other directions.

    Distances are in units of it: a step of training has about 1, whatever D is.
    """

    mean: Tensor
    """(D,) float64."""
    axes: Tensor
    """(A, D) orthonormal."""
    spread: Tensor
    """(A,) standard deviations along the axes."""
    rest: float
    """Standard deviation along each of the other D - A directions."""

    def whitened(self, features: Tensor) -> Tensor:
        """Return features (S, D) in units of the density, (S, D): what is along the axes, and the rest beside them."""
        centred = features.double() - self.mean
        along = centred @ self.axes.T
        return centred / self.rest + (along * (1 / self.spread - 1 / self.rest)) @ self.axes

    def measures(self, features: Tensor) -> dict[str, float]:
        """Return the measures of the features (S, D) of a clip.

        `distance`: of a step from the middle of training, the root of the mean square, averaged over the steps.
        `furthest step`: the same of the step that is furthest away. `distance of the mean`: of the mean over the steps.
        `change`: from one step to the next, on average; of a single step there is none. `steps`: how many there are.
        """
        whitened = self.whitened(features)
        each = whitened.square().mean(dim=-1).sqrt()
        found = {
            "distance": float(each.mean()),
            "furthest step": float(each.max()),
            "distance of the mean": float(whitened.mean(dim=0).square().mean().sqrt()),
            "steps": float(len(features)),
        }
        if len(features) > 1:
            found["change"] = float(whitened.diff(dim=0).square().mean(dim=-1).sqrt().mean())
        return found

    def as_numbers(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        rounded = {name: getattr(self, name).float().tolist() for name in ("mean", "axes", "spread")}
        return {**rounded, "rest": self.rest}

    @classmethod
    def of_numbers(cls, numbers: Mapping[str, object]) -> "Density":
        """Return the density that was written so."""
        mean, axes, spread = (torch.tensor(numbers[name], dtype=torch.float64) for name in ("mean", "axes", "spread"))
        return cls(mean, axes, spread, float(numbers["rest"]))  # type: ignore[arg-type]
