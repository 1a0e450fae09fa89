"""How tensors of a batch grow to the length of a longer batch: shares of one batch are padded as the batch would be."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Padding = tuple[int, Callable[[Tensor, int], Tensor]]
"""The dimension along which clips are padded, and what makes a tensor longer: by so many entries."""


def filled(dim: int, value: float) -> Padding:
    """Pad with one value."""
    return dim, partial(_filled, dim=dim, value=value)


def repeated(dim: int) -> Padding:
    """Pad with the last entry, as frames are (FACTS 2.2)."""
    return dim, partial(_repeated, dim=dim)


def filled_behind(value: int, end: int, behind_end: int) -> Padding:
    """Pad rows (B, N) with one value, but directly behind an `end` with another: decoder inputs (FACTS 6.2)."""
    return 1, partial(_filled_behind, value=value, end=end, behind_end=behind_end)


def _filled(tensor: Tensor, more: int, *, dim: int, value: float) -> Tensor:
    shape = [*tensor.shape]
    shape[dim] = more
    return torch.cat([tensor, tensor.new_full(shape, value)], dim)


def _repeated(tensor: Tensor, more: int, *, dim: int) -> Tensor:
    return torch.cat(
        [tensor, tensor.narrow(dim, -1, 1).expand([*tensor.shape[:dim], more, *tensor.shape[dim + 1 :]])], dim
    )


def _filled_behind(rows: Tensor, more: int, *, value: int, end: int, behind_end: int) -> Tensor:
    added = rows.new_full((len(rows), more), value)
    added[rows[:, -1] == end, 0] = behind_end
    return torch.cat([rows, added], 1)
