"""Isolated-sign classifier, in which S3D is pre-trained; K counts its classes."""

from torch import Tensor, nn

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.models.batch_norm import BatchNorm1d
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.visual_head import valid_mask


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
        # A clip of fewer frames than one step spans can have floor(...) = 0 valid steps; its first step still sees it.
        lengths = lengths.clamp(min=1)
        mask = valid_mask(lengths, features.shape[1]).unsqueeze(-1)
        pooled = (features * mask).sum(dim=1) / lengths.unsqueeze(1)
        return self.classifier(self.dropout(self.norm(pooled)))
