"""The visual encoder: S3D and the visual head, frames to gloss logits."""

import torch
from torch import Tensor, nn

from slt_pipeline.config.encoder import EncoderConfig
from slt_pipeline.config.taps import STREAMS
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.taps import Taps
from slt_pipeline.models.visual_head import VisualHead


class VisualEncoder(nn.Module):
    """S3D blocks followed by the visual head: the Sign2Gloss network, trained with CTC."""

    def __init__(self, config: EncoderConfig, num_classes: int):
        super().__init__()
        self.s3d = S3D(config.s3d)
        self.head = VisualHead(config.head, self.s3d.out_channels, num_classes)

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> Taps:
        """Return all taps.

        Args:
            frames: (B, 3, T, H, W), normalised and padded in time.
            frame_lengths: (B,) valid frames.
        """
        features, lengths = self.s3d(frames, frame_lengths)
        gloss_rep, gloss_logits = self.head(features, lengths)
        return Taps(features, gloss_rep, gloss_logits, lengths)

    def streams(self, features: Tensor) -> dict[str, Tensor]:
        """Return all streams (B, S, D) by name, for features (B, S, C) of S3D, of which every step is valid."""
        lengths = torch.full((len(features),), features.shape[1], device=features.device)
        return dict(zip(STREAMS, (features, *self.head(features, lengths)), strict=True))
