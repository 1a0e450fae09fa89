"""The visual encoder: S3D and the visual head, frames to gloss logits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from slt_pipeline.config.encoder import EncoderConfig
from slt_pipeline.config.taps import STREAMS
from slt_pipeline.models.s3d import S3D, output_lengths
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

    @torch.inference_mode()
    def encode(
        self, frames: Tensor, frame_lengths: Tensor, engine: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return all streams (B, S, D) by name and their `lengths (B,)`, for extraction.

        Runs in evaluation mode without gradients and leaves the module's mode as it was.

        Args:
            frames: as of `forward`.
            frame_lengths: as of `forward`.
            engine: what computes S3D's features (B, S, C) of the frames (`models.engines`); None: S3D itself.
        """
        was_training = self.training
        self.eval()
        try:
            features = (engine or self.s3d.pooled)(frames)
            lengths = output_lengths(frame_lengths, frames.shape[2], features.shape[1])
            gloss_rep, gloss_logits = self.head(features, lengths)
        finally:
            self.train(was_training)
        taps = Taps(features, gloss_rep, gloss_logits, lengths)
        return {stream: getattr(taps, stream) for stream in STREAMS}, taps.lengths
