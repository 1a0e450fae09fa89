"""One vector per gloss in mBART's text space (FACTS 6.1, point 4)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from slt_pipeline.errors import SltError
from slt_pipeline.models.mbart_files import read_tensors

EMBEDDINGS_FILE = "gloss_embeddings.safetensors"
"""As `slt lm gloss-embed` writes them."""
PUBLISHED_EMBEDDINGS_FILE = "gloss_embeddings.bin"


def gloss_vectors(
    names: Iterable[str],
    embedding: Tensor,
    pieces: Callable[[str], Sequence[int]],
    stored: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return vectors (G, M), unscaled: of a name that has no pieces (the CTC blank) zeros.

    Args:
        names: G glosses, special tokens or language codes.
        embedding: (V, M) text embedding.
        pieces: gives the piece ids of a name, whose rows of `embedding` are averaged.
        stored: vectors (M,) that are taken in place of the mean.
    """
    embedding, stored, rows = embedding.detach(), stored or {}, []
    for name in names:
        ids = list(pieces(name))
        if name in stored:
            rows.append(stored[name].to(embedding))
        elif ids:
            rows.append(embedding[ids].mean(0))
        else:
            rows.append(torch.zeros_like(embedding[0]))
    return torch.stack(rows)


def read_gloss_embeddings(folder: Path | None, d_model: int) -> dict[str, Tensor] | None:
    """Read the gloss vectors of an mBART folder, its own or the published; `None` where there are none.

    Raises:
        SltError: the file is damaged, or holds vectors of another width or that are not finite.
    """
    names = (EMBEDDINGS_FILE, PUBLISHED_EMBEDDINGS_FILE)
    path = next((folder / name for name in names if folder and (folder / name).is_file()), None)
    if path is None:
        return None
    stored = read_tensors(path)
    for name, vector in stored.items():
        if tuple(vector.shape) != (d_model,):
            raise SltError(
                f"{path}: the vector of {name!r} is {tuple(vector.shape)}, mBART is {d_model} "
                "wide; make the file from the same mBART"
            )
        if not torch.isfinite(vector).all():
            raise SltError(f"{path}: the vector of {name!r} has values that are not finite; make or fetch it anew")
    return stored
