"""Sums over the processes that share out a batch: what of a loss or a norm is of the whole batch."""

import torch
import torch.distributed as dist
from torch import Tensor


def num_processes() -> int:
    """Return how many processes share out each batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(tensor: Tensor) -> Tensor:
    """Return the tensors of all processes, of one shape (...), as (processes, ...), without gradient."""
    each = [torch.empty_like(tensor) for _ in range(num_processes())]
    dist.all_gather(each, tensor.detach())
    return torch.stack(each)


def summed(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor (...) over all processes, without gradient."""
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total
