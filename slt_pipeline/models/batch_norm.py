"""Batch normalisation whose training statistics are those of the whole batch, over all processes, on CPU and GPU.

The state dict is that of torch's own modules, and so are the numbers of one process, to the last bit. torch's
`SyncBatchNorm` runs on GPUs alone; without it eight processes of one clip would be eight batches of one clip, and the
published statistics are over eight clips (FACTS 3.3, 4, 8.1).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slt_pipeline.models.over_processes import gathered, num_processes, summed

_recomputing = False


@contextmanager
def recomputing() -> Iterator[None]:
    """Leave running statistics alone: a forward pass is repeated for its backward pass, and has counted once."""
    global _recomputing
    before, _recomputing = _recomputing, True
    try:
        yield
    finally:
        _recomputing = before


class _WholeBatch(_BatchNorm):
    """Mixin: statistics over all processes; over a single value, which has no spread, the running ones."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...) over all but C."""
        if not self.training:
            return super().forward(input)
        if num_processes() > 1:
            return self._over_processes(input)
        if input.numel() <= self.num_features:
            return self._by_running_statistics(input)
        if not _recomputing:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        running = (self.running_mean.clone(), self.running_var.clone())  # thrown away, and saved alike for backward
        return F.batch_norm(input, *running, self.weight, self.bias, True, self.momentum, self.eps)

    def _over_processes(self, x: Tensor) -> Tensor:
        count, mean, var = _statistics(x, self.num_features)
        if count < 2:
            return self._by_running_statistics(x)
        if not _recomputing:
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return _Normalise.apply(x, self.weight, self.bias, mean, var, self.eps, count)

    def _by_running_statistics(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class BatchNorm1d(_WholeBatch, nn.BatchNorm1d):
    """Over (B, C)."""


class BatchNorm3d(_WholeBatch, nn.BatchNorm3d):
    """Over (B, C, T, H, W)."""


@torch.no_grad()
def _statistics(x: Tensor, num_channels: int) -> tuple[float, Tensor, Tensor]:
    """Return over all processes the number of values of a channel, and their mean and variance (C,)."""
    own = torch.zeros(1 + 2 * num_channels, dtype=torch.float64, device=x.device)
    if x.numel():
        var, mean = torch.var_mean(_exact(x), dim=_others(x), correction=0)
        own[0] = x.numel() // num_channels
        own[1 : 1 + num_channels], own[1 + num_channels :] = mean, var
    counts, means, variances = gathered(own).split((1, num_channels, num_channels), dim=1)
    count = counts.sum()
    mean = (counts * means).sum(dim=0) / count.clamp(min=1)
    var = (counts * (variances + (means - mean) ** 2)).sum(dim=0) / count.clamp(min=1)
    kind = _exact(x).dtype
    return float(count), mean.to(kind), var.to(kind)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, whose gradient knows that all processes share mean and var."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float, count: float):
        """Normalise x (B, C, ...) of `count` values a channel."""
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps))
        ctx.count = count
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        """Return the gradients of x, of this process's weight and bias, and none for the rest."""
        x, weight, mean, invstd = ctx.saved_tensors
        shape, others = (1, -1, *(1 for _ in range(x.ndim - 2))), _others(x)
        dy = _exact(grads[0])
        normal = (_exact(x) - mean.view(shape)) * invstd.view(shape)
        grad_weight, grad_bias = (dy * normal).sum(dim=others), dy.sum(dim=others)
        totals = summed(torch.stack((grad_bias, grad_weight))) / ctx.count
        shared, along = (total.view(shape) for total in totals)
        dx = (dy - shared - normal * along) * (weight * invstd).view(shape)
        return dx.to(x.dtype), grad_weight, grad_bias, None, None, None, None


def _exact(x: Tensor) -> Tensor:
    """Return x in at least float32, in which half precision is summed up."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _others(x: Tensor) -> tuple[int, ...]:
    """All dimensions but that of the channels."""
    return (0, *range(2, x.ndim))
