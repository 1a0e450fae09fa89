"""S3D over a clip of any length in pieces: what it says of the whole, in the memory of one piece."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from slt_pipeline.models.ctc import STRIDE

MARGIN = 32
"""Frames on either side of a piece that its features depend on: the receptive field of blocks 1 to 4 reaches 31."""


def features_of(s3d: Callable[[Tensor], Tensor], pieces: Iterable[Tensor]) -> Tensor:
    """Return the features (B, S, C) of a clip that comes in pieces along time.

    Args:
        s3d: frames (B, 3, T, H, W) to features (B, S, C).
        pieces: (B, 3, T, H, W) each; all but the last have at least `MARGIN` frames, a multiple of `STRIDE`.
    """
    return torch.cat(list(_of_each(s3d, pieces)), dim=1)


def _of_each(s3d: Callable[[Tensor], Tensor], pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    before: Tensor | None = None
    for piece, after in pairwise(_with_end(pieces)):
        assert piece is not None
        window = [part for part in (before, piece, None if after is None else after[:, :, :MARGIN]) if part is not None]
        found = s3d(torch.cat(window, dim=2) if len(window) > 1 else piece)
        first = 0 if before is None else before.shape[2] // STRIDE
        yield found[:, first : None if after is None else first + piece.shape[2] // STRIDE]
        before = piece[:, :, -MARGIN:]


def _with_end(pieces: Iterable[Tensor]) -> Iterator[Tensor | None]:
    yield from pieces
    yield None
