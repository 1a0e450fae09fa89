"""Rows of ids of unequal length become one padded tensor.  B rows, L the longest."""

from collections.abc import Sequence

import torch


def pad_ids(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `(ids (B, L) int64, lengths (B,) int64)`; every row is filled up with `pad_id`."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    longest = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return ids, lengths
