"""When a gloss is signed, which CTC's own spikes do not tell: a classifier of single steps.

S: steps. C: width of S3D's features. K: gloss classes. T: frames.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from slt_pipeline.models.ctc import STRIDE, align
from slt_pipeline.models.s3d import S3D

_MIDDLE = 0.5
"""Of step k, in frames behind 4 k: what S3D computes it from is symmetric around the middle of that frame (FACTS 3.1:
padding is half of every kernel, to which both strides of 2 begin)."""
_REACH = 4
"""Frames on either side of that one which a near step sees: with 4 it is the middle one of three."""
_AT_ONCE = 64
_HIDDEN, _DROPOUT = 128, 0.3
_MISSED = 0.1
"""What the probability of a gloss counts for its being made, unrecognised, between two that are recognised."""


class TimesHead(nn.Module):
    """A layer of hidden units on a step's features, and no look at its neighbours or its position."""

    mean: Tensor
    scale: Tensor

    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("scale", torch.ones(in_features))
        self.layers = nn.Sequential(
            nn.Dropout(_DROPOUT), nn.Linear(in_features, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, num_classes)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (..., S, K) of features (..., S, C); class 0 is what is no sign: rest, and ways between."""
        return self.layers((features - self.mean) * self.scale)

    @torch.inference_mode()
    def frames(self, features: Tensor, gloss_ids: Sequence[int]) -> list[tuple[float, float]]:
        """Return first and last-plus-one frame of each gloss of a clip, counted from the first that S3D was given.

        Args:
            features: (S, C) of the clip, valid steps only.
            gloss_ids: its glosses in order, none of them the blank.

        Raises:
            SltError: they need more steps than there are.
        """
        if not gloss_ids:
            return []
        log_probs = self(features.float().cpu()).log_softmax(dim=-1)
        spans = align(log_probs, gloss_ids, _neither(log_probs, gloss_ids))
        return [(_edge(start), _edge(end)) for start, end in spans]


def _neither(log_probs: Tensor, gloss_ids: Sequence[int]) -> Tensor:
    """Return scores (S, L + 1) of a step's being no part of the glosses around: rest, or a sign that was missed.

    Else a gloss would last until the next one that is recognised.
    """
    others = log_probs.clone()
    others[:, 1:] += math.log(_MISSED)
    around = [[gloss for gloss in pair if gloss is not None] for pair in pairwise([None, *gloss_ids, None])]
    return torch.stack([others.index_fill(1, torch.tensor(own), -torch.inf).amax(dim=1) for own in around], dim=1)


def _edge(step: int) -> float:
    """Return the frame, with its fraction, at which a step begins: half-way from the middle of the one before."""
    return max(0.0, STRIDE * step + _MIDDLE - STRIDE / 2)


@torch.inference_mode()
def near_features(s3d: S3D, frames: Tensor) -> Tensor:
    """Return features (S, C) of steps that see nine frames each, and so cannot know a sign before it is made.

    Beyond the clip its first and last frame are repeated.

    Args:
        s3d: in evaluation mode.
        frames: (3, T, H, W) of one clip.
    """
    last = frames.shape[1] - 1
    middles = torch.arange(0, last + 1 - (last + 1) % STRIDE, STRIDE)
    around = (middles[:, None] + torch.arange(-_REACH, _REACH + 1)).clamp(0, last)
    found = []
    for chosen in around.split(_AT_ONCE):
        windows = frames[:, chosen.to(frames.device)].transpose(0, 1)  # (windows, 3, 9, H, W)
        features, _ = s3d(windows, torch.full((len(windows),), windows.shape[2], device=frames.device))
        found.append(features[:, features.shape[1] // 2])
    return torch.cat(found)
