"""The visual encoder: S3D and the visual head, frames to gloss logits.

Letters: B clips, T frames, H, W pixels, T' feature steps (T/4), C backbone channels, D head channels, K gloss classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slt_pipeline.config.encoder import EncoderConfig
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.visual_head import VisualHead


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """What the encoder computes for a batch of clips; steps beyond `lengths` are not zero."""

    features: Tensor
    """(B,T',C) pooled backbone features: the stream `s3d`."""

    gloss_rep: Tensor
    """(B,T',D) gloss representations."""

    gloss_logits: Tensor
    """(B,T',K) gloss logits, class 0 the CTC blank."""

    lengths: Tensor
    """(B,) int64 valid steps."""


class VisualEncoder(nn.Module):
    """S3D blocks followed by the visual head: the Sign2Gloss network, trained with CTC."""

    def __init__(self, config: EncoderConfig, num_classes: int):
        super().__init__()
        self.s3d = S3D(config.s3d)
        self.head = VisualHead(config.head, self.s3d.out_channels, num_classes)

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> EncoderOutput:
        """Encode frames (B,3,T,H,W), normalised and padded in time, of which frame_lengths (B,) are valid."""
        features, lengths = self.s3d(frames, frame_lengths)
        gloss_rep, gloss_logits = self.head(features, lengths)
        return EncoderOutput(features, gloss_rep, gloss_logits, lengths)

    @torch.inference_mode()
    def encode(self, frames: Tensor, frame_lengths: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the streams {"s3d", "gloss_rep", "gloss_logits"} (B,T',.) and their `lengths (B,)`, for extraction.

        Runs in evaluation mode without gradients and leaves the module's mode as it was.
        """
        was_training = self.training
        self.eval()
        try:
            out = self(frames, frame_lengths)
        finally:
            self.train(was_training)
        return {"s3d": out.features, "gloss_rep": out.gloss_rep, "gloss_logits": out.gloss_logits}, out.lengths
