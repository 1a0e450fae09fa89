"""The V-L mapper: from a tap of the visual stack to mBART's width (FACTS 7)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slt_pipeline.config.translator import MapperConfig
from slt_pipeline.errors import SltError


class Mapper(nn.Module):
    """`(B, S, D)` to `(B, S, M)`, step by step; steps beyond a clip's length are mapped like the rest."""

    def __init__(self, config: MapperConfig, in_features: int, d_model: int):
        """Build the layers, with torch's own first values."""
        super().__init__()
        if config.type == "embedding":
            self.mapping = nn.Linear(in_features, d_model, bias=False)
            self.mapping.requires_grad_(not config.freeze)
        else:
            self.mapping = _projection(in_features, config.hidden or d_model, config.num_hidden, d_model)

    def start_columns(self, vectors: Tensor, classes: Sequence[int] | None = None) -> None:
        """Give the classes of an embedding mapper (all, or those listed) their gloss vectors.

        Args:
            vectors: (G, M), one for each class.
            classes: which they are; None: all K.

        Raises:
            SltError: number or width of the vectors is not the mapper's.
        """
        weight = self.mapping.weight
        assert isinstance(weight, Tensor), "only an embedding mapper has columns"
        want = (weight.shape[1] if classes is None else len(classes), weight.shape[0])
        if tuple(vectors.shape) != want:
            raise SltError(
                f"embedding mapper: gloss vectors of shape {tuple(vectors.shape)}, it needs {want}; take class names "
                "and stream from the same recogniser"
            )
        with torch.no_grad():
            weight[:, slice(None) if classes is None else list(classes)] = vectors.T.to(weight)

    def forward(self, features: Tensor) -> Tensor:
        """Map a tap (B, S, D) to (B, S, M)."""
        return self.mapping(features)


def _projection(in_features: int, hidden: int, num_hidden: int, d_model: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_hidden):
        layers += [nn.Linear(in_features, hidden), nn.ReLU()]
        in_features = hidden
    return nn.Sequential(*layers, nn.Linear(in_features, d_model))
