"""Isolated-sign classifiers, in which S3D is pre-trained; K counts their classes."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.models.batch_norm import BatchNorm1d
from slt_pipeline.models.s3d import S3D, output_lengths
from slt_pipeline.models.visual_head import valid_mask

_WINDOW = (2, 7, 7)
"""Steps, height and width over which the published classifier pools."""


class VisualClassifier(nn.Module):
    """S3D, mean over the valid steps, batch norm, dropout, linear. Its `s3d` loads into that of a `VisualEncoder`.

    Means over a whole clip differ little between clips; the norm makes the differences visible, and together with a
    classifier that starts at zero it lets S3D learn from scratch within a few passes over a small corpus. A batch of
    one clip is normalised with the running statistics.
    """

    def __init__(self, config: S3DConfig, num_classes: int, dropout: float = 0.2):
        super().__init__()
        self.s3d = S3D(config)
        self.norm = BatchNorm1d(self.s3d.out_channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.s3d.out_channels, num_classes)
        nn.init.zeros_(self.classifier.weight)

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> Tensor:
        """Return logits (B, K).

        Args:
            frames: (B, 3, T, H, W), normalised.
            frame_lengths: (B,) valid frames.
        """
        features, lengths = self.s3d(frames, frame_lengths)
        return self.classifier(self.dropout(self.norm(_mean_over_steps(features, lengths))))


class PublishedClassifier(nn.Module):
    """S3D with the classifier that it was published with: its `classifier` has torchvision's names (FACTS 3.5).

    Averages over 2 steps and 7 x 7 positions, at stride 1, then dropout, a 1 x 1 x 1 convolution, and the mean over
    what is left of time and space. Where S3D puts out less than such a window, the window is what there is.
    """

    def __init__(self, config: S3DConfig, num_classes: int, dropout: float = 0.2):
        super().__init__()
        self.s3d = S3D(config)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Conv3d(self.s3d.out_channels, num_classes, 1))

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> Tensor:
        """Return logits (B, K); windows that begin in padding, or end in it, are no part of a clip's mean.

        Args:
            frames: (B, 3, T, H, W), normalised.
            frame_lengths: (B,) valid frames.
        """
        x = self.s3d.last(frames)
        window = tuple(min(most, size) for most, size in zip(_WINDOW, x.shape[2:], strict=True))
        steps = output_lengths(frame_lengths, frames.shape[2], x.shape[2])
        logits = self.classifier(F.avg_pool3d(x, window, stride=1)).mean(dim=(3, 4)).transpose(1, 2)
        return _mean_over_steps(logits, steps - window[0] + 1)


def build_classifier(
    pool: Literal["mean", "published"], config: S3DConfig, num_classes: int, dropout: float
) -> VisualClassifier | PublishedClassifier:
    """Return the classifier whose pooling a recipe names.

    Args:
        pool: as `visual_pretrain.pool`.
        config: S3D.
        num_classes: K.
        dropout: before the last layer.
    """
    kind = VisualClassifier if pool == "mean" else PublishedClassifier
    return kind(config, num_classes, dropout)


def _mean_over_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean (B, C) over the valid steps of x (B, S, C)."""
    # A clip of fewer frames than one step spans can have floor(...) = 0 valid steps; its first step still sees it.
    lengths = lengths.clamp(min=1)
    mask = valid_mask(lengths, x.shape[1]).unsqueeze(-1)
    return (x * mask).sum(dim=1) / lengths.unsqueeze(1)
