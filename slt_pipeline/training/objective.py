"""What is minimised: the named parts of a loss, each times its weight at the optimiser step (FACTS 9.4)."""

from collections.abc import Mapping

import torch

from slt_pipeline.config.objective import Ramp, is_zero
from slt_pipeline.errors import SltError


class Objective:
    """Weights of the parts of a loss: numbers, or ramps over optimiser steps. It keeps no state."""

    def __init__(self, weights: Mapping[str, float | Ramp]):
        """Take a weight for every part by its name.

        Raises:
            SltError: every weight is 0.
        """
        self._weights = dict(weights)
        self.parts = frozenset(name for name, weight in self._weights.items() if not is_zero(weight))
        """Names of the parts whose weight is not 0 throughout: those that a model has to make."""
        if not self.parts:
            named = ", ".join(self._weights) or "none"
            raise SltError(f"objective: no part has a weight above 0 (parts: {named}); give one of them a weight")

    def weights(self, step: int) -> dict[str, float]:
        """Return every part's weight while optimiser step `step` (from 0) runs."""
        return {name: _at(weight, step) for name, weight in self._weights.items()}

    def unfinished(self, steps: int) -> list[str]:
        """Return what to say of the ramps that a run of so many optimiser steps ends before."""
        return [
            f"the weight of {name} reaches {ramp.to:g} at step {ramp.over}, and the run has {steps}; "
            "lower `over` of its ramp"
            for name, ramp in self._weights.items()
            if isinstance(ramp, Ramp) and not is_zero(ramp) and ramp.over > steps
        ]

    def total(self, losses: Mapping[str, torch.Tensor], step: int) -> torch.Tensor:
        """Return the weighted sum of scalar losses at an optimiser step.

        Raises:
            SltError: the losses are not the parts. One whose weight is 0 throughout may be there, to be logged alone.
        """
        missing, unknown = self.parts - losses.keys(), losses.keys() - self._weights.keys()
        if missing or unknown:
            raise SltError(
                f"objective: the weights are for {', '.join(self._weights)}, and the model makes "
                f"{', '.join(losses) or 'no loss'}; {_cure(missing, unknown)}"
            )
        weights = self.weights(step)
        return torch.stack([weights[name] * loss for name, loss in losses.items() if name in self.parts]).sum()


def _at(weight: float | Ramp, step: int) -> float:
    if not isinstance(weight, Ramp):
        return float(weight)
    if step <= weight.after:
        return weight.start
    if step >= weight.over:
        return weight.to
    return weight.start + (weight.to - weight.start) / weight.over * (step - weight.after)


def _cure(missing: frozenset[str], unknown: set[str]) -> str:
    cures = [f"take {', '.join(sorted(missing))} out of the objective"] if missing else []
    cures += [f"add {', '.join(sorted(unknown))} to it, with weight 0 if it is only to be logged"] if unknown else []
    return ", ".join(cures)
