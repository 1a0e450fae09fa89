"""What features of training are like: fitted to the clips of a store, each of which is measured as if it were new."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slt_pipeline.config.taps import Stream
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.models.measures import Density, Likeness
from slt_pipeline.systems.features import FeatureStore

_AXES = 128
"""Of a density, at most."""
_FLOOR = 0.003
"""What is added to the variance in every direction, as a share of the mean one: some have next to none in training."""
_STEPS = 40_000
"""What a density of steps is fitted to, about, spread evenly over all."""
_FOLDS = 5
"""A training clip is measured by densities that were fitted without it, as a new clip is."""


class Known(NamedTuple):
    """What is kept of a clip to fit densities to."""

    mean: Tensor
    """(C,) of what the pictures look like."""
    looks: Tensor
    """(S, C) of single steps, or some of them."""
    reads: Tensor
    """(S, D) of what the translator reads in these."""


@dataclass(frozen=True)
class LikenessFit:
    """Reads clips of a store, and fits to them."""

    store: FeatureStore
    looks: Stream
    """The stream that tells what the pictures look like."""
    reads: Stream
    """The stream that the translator reads."""

    def read(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Return the features (S, C) and (S, D) of a clip in the two streams."""
        looks, reads = (torch.from_numpy(self.store.read(clip.id, name)).float() for name in (self.looks, self.reads))
        return looks, reads

    def fit(self, clips: Sequence[Clip]) -> tuple[Likeness, list[dict[str, float]]]:
        """Fit to clips, which are not held in memory.

        Returns:
            what was fitted to all; the measures of each clip by what was fitted without it, of a single one none.
        """
        every = -(-sum(self.store.length(clip.id) for clip in clips) // _STEPS)
        known = []
        for number, clip in enumerate(clips):
            looks, reads = self.read(clip)
            some = slice(number % every, None, every)
            known.append(Known(looks.mean(dim=0), looks[some], reads[some]))
        folds = min(_FOLDS, len(clips)) if len(clips) > 1 else 0
        apart = [fit_likeness([each for n, each in enumerate(known) if n % folds != fold]) for fold in range(folds)]
        measured = [apart[n % folds].measures(*self.read(clip)) for n, clip in enumerate(clips) if folds]
        return fit_likeness(known), measured


def fit_likeness(known: Sequence[Known]) -> Likeness:
    """Fit what tells whether a clip is like these."""
    means, looks, reads = zip(*known, strict=True)
    return Likeness(_density(torch.stack(means)), _density(torch.cat(looks)), _density(torch.cat(reads)))


def _density(vectors: Tensor) -> Density:
    """Fit a density to vectors (N, D)."""
    from sklearn.decomposition import PCA  # late, as in confidence_fit

    rows = vectors.double().numpy()
    number, width = rows.shape
    with np.errstate(invalid="ignore"):  # where nothing varies it divides nothing by nothing, for what is not read here
        found = PCA(min(_AXES, width, number), svd_solver="covariance_eigh").fit(rows)
    known = found.explained_variance_ if number > 1 else np.zeros(1)
    total = float(rows.var(axis=0, ddof=min(1, number - 1)).sum())
    floor = max(_FLOOR * total / width, 1e-12)
    left = max(0.0, total - float(known.sum())) / max(1, width - len(known))
    components = found.components_ if number > 1 else np.eye(1, width)  # one vector has no direction of its own
    axes, spread = torch.from_numpy(components), torch.from_numpy(np.sqrt(known + floor))
    return Density(torch.from_numpy(found.mean_), axes, spread, float(np.sqrt(left + floor)))
