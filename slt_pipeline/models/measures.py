"""What is measured of a clip to tell how sure its translation is, and how like those of training it is.

S steps, N vectors, K gloss classes, C and D widths of streams, A axes of a density.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slt_pipeline.models.ctc import BLANK

_STRETCH = 3
"""Steps in a row: half a second at 25 frames a second."""


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
    """Where vectors of training lie: a Gaussian with axes of its own, and one spread in all directions beside them.

    Distances are in units of it: what it was fitted to has about 1, whatever D is.
    """

    mean: Tensor
    """(D,) float64."""
    axes: Tensor
    """(A, D) orthonormal."""
    spread: Tensor
    """(A,) standard deviations along the axes."""
    rest: float
    """Standard deviation along each of the other D - A directions."""

    def whitened(self, vectors: Tensor) -> Tensor:
        """Return differences (N, D) of two vectors in units of the density, (N, D)."""
        along = vectors @ self.axes.T
        return vectors / self.rest + (along * (1 / self.spread - 1 / self.rest)) @ self.axes

    def distances(self, vectors: Tensor) -> Tensor:
        """Return how far vectors (N, D) are from the middle of training: (N,), roots of mean squares over D."""
        return self.whitened(vectors.double() - self.mean).square().mean(dim=-1).sqrt()

    def changes(self, vectors: Tensor) -> Tensor:
        """Return how far each of the vectors (N, D) is from the one before it: (N - 1,), in the same units."""
        return self.whitened(vectors.double().diff(dim=0)).square().mean(dim=-1).sqrt()

    def as_numbers(self) -> dict[str, Any]:
        """Return it as JSON holds it, in six digits."""
        mean, spread = (_short(row.tolist()) for row in (self.mean, self.spread))
        return {"mean": mean, "spread": spread, "rest": self.rest, "axes": [_short(row.tolist()) for row in self.axes]}

    @classmethod
    def of_numbers(cls, numbers: Mapping[str, Any]) -> "Density":
        """Return the density that was written so.

        Raises:
            ValueError: its parts do not belong together.
        """
        mean, axes, spread = (torch.tensor(numbers[name], dtype=torch.float64) for name in ("mean", "axes", "spread"))
        if mean.ndim != 1 or axes.shape != (*spread.shape, *mean.shape):
            raise ValueError(f"a density of {len(spread)} axes of {tuple(axes.shape)} around {tuple(mean.shape)}")
        return cls(mean, axes, spread, float(numbers["rest"]))


def _worst_stretch(distances: Tensor) -> float:
    return float(distances.unfold(0, min(_STRETCH, len(distances)), 1).mean(dim=-1).max())


def _short(row: Sequence[float]) -> list[float]:
    return [float(f"{number:.6g}") for number in row]


@dataclass(frozen=True)
class Likeness:
    """What is measured of the features of a clip, to tell whether they are like those of training."""

    clips: Density
    """Of the means over the steps of a clip, of what the pictures look like."""
    looks: Density
    """Of the single steps, of the same."""
    reads: Density
    """Of the single steps, of what the translator reads."""

    def measures(self, looks: Tensor, reads: Tensor) -> dict[str, float]:
        """Return the measures of a clip.

        `distance` is that of the mean over the steps; `distance of a stretch` that of the steps, averaged over the
        three in a row that look least like training; `distance of steps` that of the steps, averaged; `change` is from
        one step to the next, on average, and there is none where there is one step; `steps` is how many there are.

        Args:
            looks: (S, C) features that tell what the pictures look like.
            reads: (S, D) features that the translator reads.
        """
        found = {
            "distance": float(self.clips.distances(looks.double().mean(dim=0, keepdim=True))),
            "distance of a stretch": _worst_stretch(self.looks.distances(looks)),
            "distance of steps": float(self.reads.distances(reads).mean()),
            "steps": float(len(looks)),
        }
        return found if len(looks) < 2 else {**found, "change": float(self.clips.changes(looks).mean())}
