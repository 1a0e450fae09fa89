"""Clips whose features are not their own: another clip's, noise, nothing. B clips, S steps, D width of the stream."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import torch

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset


class AnotherClips(FeatureDataset):
    """Every clip has the features of another one, and its length; each clip lends its own once."""

    def __init__(self, features: FeatureDataset, seed: int):
        """Take the clips, two or more, and what decides who lends to whom."""
        super().__init__(features.store, features.stream, features.clips, features.labels)
        order = np.random.default_rng(seed).permutation(len(self.clips))
        # one circle through all clips, so that none meets itself
        self.lender = {self.clips[i].id: self.clips[j] for i, j in zip(order, np.roll(order, -1), strict=True)}

    def read(self, clips: Sequence[Clip]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features (B, S, D) of the others, and their lengths (B,)."""
        return super().read([self.lender[clip.id] for clip in clips])

    def length(self, clip: Clip) -> int:
        """Return the length of the other."""
        return super().length(self.lender[clip.id])


class Noise(FeatureDataset):
    """Normal noise of each clip's length, with the mean and standard deviation that each channel has in all clips."""

    def __init__(self, features: FeatureDataset, seed: int):
        """Take the clips, whose features are all read once, and what decides the noise."""
        super().__init__(features.store, features.stream, features.clips, features.labels)
        self.seed = seed
        number, sums, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for clip in self.clips:
            steps = features.read([clip])[0][0].double()
            number, sums, squares = number + len(steps), sums + steps.sum(0), squares + steps.square().sum(0)
        self.mean = sums / number
        self.deviation = (squares / number - self.mean.square()).clamp(min=0).sqrt()

    def read(self, clips: Sequence[Clip]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return noise (B, S, D), zero beyond the lengths (B,); a clip's is the same in every batch."""
        features, lengths = super().read(clips)
        noise = torch.zeros_like(features)
        for row, clip, length in zip(noise, clips, lengths.tolist(), strict=True):
            drawn = np.random.default_rng([self.seed, crc32(clip.id.encode())]).standard_normal((length, row.shape[1]))
            row[:length] = self.mean + self.deviation * torch.from_numpy(drawn)
        return noise, lengths


class Nothing(FeatureDataset):
    """Zeros of each clip's length."""

    def __init__(self, features: FeatureDataset):
        """Take the clips."""
        super().__init__(features.store, features.stream, features.clips, features.labels)

    def read(self, clips: Sequence[Clip]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return zeros (B, S, D), and the lengths (B,)."""
        features, lengths = super().read(clips)
        return torch.zeros_like(features), lengths
