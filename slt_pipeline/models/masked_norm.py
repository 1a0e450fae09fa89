"""Batch normalisation over the valid steps of padded sequences."""

from torch import Tensor, nn

from slt_pipeline.models.batch_norm import BatchNorm1d


class MaskedBatchNorm(nn.Module):
    """Batch norm whose training statistics come from valid steps only, of all processes (FACTS 4, point 2).

    In training, padded steps pass through unchanged; in evaluation every step, padded or not, is normalised with the
    running statistics. So is a training batch of a single step, which has no spread to learn from.
    """

    def __init__(self, num_channels: int):
        super().__init__()
        self.norm = BatchNorm1d(num_channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise x (B, S, R), of which mask (B, S) bool is True on valid steps."""
        if not self.training:
            return self.norm(x.flatten(0, 1)).view_as(x)
        normalised = self.norm(x[mask])
        return x.to(normalised.dtype).masked_scatter(mask.unsqueeze(-1), normalised)
