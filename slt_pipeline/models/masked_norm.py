"""Batch normalisation over the valid steps of padded sequences."""

from torch import Tensor, nn

from slt_pipeline.errors import SltError


class MaskedBatchNorm(nn.Module):
    """Batch norm whose training statistics come from valid steps only (FACTS 4, point 2).

    In training, padded steps pass through unchanged; in evaluation every step, padded or not, is normalised with the
    running statistics. Each process of a distributed run uses its own batch's statistics unless `norm` is converted
    (`nn.SyncBatchNorm.convert_sync_batchnorm` reaches it, as it is an ordinary batch norm).
    """

    def __init__(self, num_channels: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(num_channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise x (B, S, R), of which mask (B, S) bool is True on valid steps.

        Raises:
            SltError: in training there are fewer than two valid steps.
        """
        if not self.training:
            return self.norm(x.flatten(0, 1)).view_as(x)
        valid = x[mask]
        if len(valid) < 2:
            raise SltError(
                f"batch norm got {len(valid)} valid step(s), needs 2 to train: use longer clips or a larger batch"
            )
        normalised = self.norm(valid)
        return x.to(normalised.dtype).masked_scatter(mask.unsqueeze(-1), normalised)
