"""S3D's elements computed fast on a CPU: the same modules, the same numbers, other calls.

PyTorch's three-dimensional convolutions and poolings are slow on CPUs. No kernel of S3D couples space with time except
some poolings, and those are separable, so every element is done here by two-dimensional calls on views of one
channels-last tensor: spatial kernels see (B*T, C, H, W), temporal ones (B, C, T, H*W), and neither view copies. In
evaluation mode a batch norm is folded into the convolution before it. tests/benchmarks/s3d_cpu.py measures the gain.
C, T, H, W are here what an element sees: its own channels, and what the elements before it left of time and picture.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.video.s3d import SepInceptionBlock3D
from torchvision.ops.misc import Conv3dNormActivation


def run_element(element: nn.Module, x: Tensor) -> Tensor:
    """Return `element(x)` for an element of S3D and x (B, C, T, H, W), fastest when x is channels_last_3d in memory."""
    if isinstance(element, Conv3dNormActivation):
        return _unit(element, x)
    if isinstance(element, nn.MaxPool3d):
        return _max_pool(element, x)
    if isinstance(element, SepInceptionBlock3D):
        branches = (element.branch0, element.branch1, element.branch2, element.branch3)
        return torch.cat([run_element(branch, x) for branch in branches], dim=1)
    if isinstance(element, nn.Sequential):
        for part in element:
            x = run_element(part, x)
        return x
    if isinstance(element, nn.Conv3d):
        return _conv(element, element.weight, element.bias, x)
    if isinstance(element, nn.ReLU):
        return element(x)
    raise TypeError(f"S3D has no element of type {type(element).__name__}")


@torch.no_grad()
def folded(elements: nn.Module) -> nn.Module:
    """Return a copy of elements for `run_element` and inference: every batch norm is folded into its convolution.

    It gives the numbers of `elements` in evaluation mode, to the last bit, and learns nothing of later weights.
    """
    copied = deepcopy(elements).eval().requires_grad_(False)
    for parent in list(copied.modules()):
        for name, unit in list(parent.named_children()):
            if isinstance(unit, Conv3dNormActivation):
                conv, norm, relu = unit
                assert isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d)
                weight, bias = _folded_weights(conv, norm)
                conv.weight, conv.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
                setattr(parent, name, nn.Sequential(conv, relu))
    return copied


def _unit(unit: Conv3dNormActivation, x: Tensor) -> Tensor:
    conv, norm, relu = unit
    assert isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d)
    if norm.training:
        return relu(norm(_conv(conv, conv.weight, None, x)))
    return relu(_conv(conv, *_folded_weights(conv, norm), x))


def _folded_weights(conv: nn.Conv3d, norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the one convolution that computes both in evaluation mode."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv.weight * scale.view(-1, 1, 1, 1, 1), norm.bias - norm.running_mean * scale


def _conv(conv: nn.Conv3d, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    (stride_t, *stride_s), (pad_t, *pad_s) = conv.stride, conv.padding
    if conv.kernel_size[0] == 1:
        y = F.conv2d(_frames(x), weight.squeeze(2), bias, stride_s, pad_s)  # type: ignore[arg-type]
        return _unfold(y, x.shape[0], y.shape[2:])
    y = F.conv2d(_lines(x), weight.squeeze(4), bias, (stride_t, 1), (pad_t, 0))  # type: ignore[arg-type]
    return _unfold(y, x.shape[0], x.shape[3:])


def _max_pool(pool: nn.MaxPool3d, x: Tensor) -> Tensor:
    (kernel_t, *kernel_s), (stride_t, *stride_s), (pad_t, *pad_s) = (
        value if isinstance(value, tuple) else (value,) * 3 for value in (pool.kernel_size, pool.stride, pool.padding)
    )
    y = F.max_pool2d(_frames(x), kernel_s, stride_s, pad_s)
    x = _unfold(y, x.shape[0], y.shape[2:])
    if kernel_t == 1:
        return x
    return _unfold(F.max_pool2d(_lines(x), (kernel_t, 1), (stride_t, 1), (pad_t, 0)), x.shape[0], x.shape[3:])


def _frames(x: Tensor) -> Tensor:
    """View x (B, C, T, H, W) as (B*T, C, H, W)."""
    return x.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def _lines(x: Tensor) -> Tensor:
    """View x (B, C, T, H, W) as (B, C, T, H*W)."""
    return x.permute(0, 2, 3, 4, 1).flatten(2, 3).permute(0, 3, 1, 2)


def _unfold(y: Tensor, num_clips: int, size: torch.Size) -> Tensor:
    """View y, (B*T, C, H, W) or (B, C, T, H*W), as (B, C, T, H, W) with (H, W) = size."""
    return y.permute(0, 2, 3, 1).reshape(num_clips, -1, *size, y.shape[1]).permute(0, 4, 1, 2, 3)
