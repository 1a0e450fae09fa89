"""The V-L mapper: from a tap of the visual encoder to mBART's width (facts.md 7).

B clips, T feature steps, D features of the tap, K gloss classes, M = mBART's width.
"""

import torch
from torch import Tensor, nn

from slt_pipeline.config.translator import MapperConfig
from slt_pipeline.errors import SltError


class Mapper(nn.Module):
    """`(B, T, D)` to `(B, T, M)`, step by step; steps beyond a clip's length are mapped like the rest."""

    def __init__(self, config: MapperConfig, in_features: int, d_model: int, class_vectors: Tensor | None = None):
        """Build the layers; `class_vectors (K, M)` start the embedding mapper, zero where a class has no vector.

        Raises:
            SltError: `class_vectors` has another shape.
        """
        super().__init__()
        self.input = config.input
        if config.type == "embedding":
            self.mapping = _embedding(in_features, d_model, class_vectors)
            self.mapping.requires_grad_(not config.freeze)
        else:
            self.mapping = _projection(in_features, config.hidden or d_model, config.num_hidden, d_model)

    def forward(self, features: Tensor) -> Tensor:
        """Map a stored stream as it is stored: `gloss_probs` takes logits and applies the softmax itself."""
        if self.input == "gloss_probs":
            features = torch.softmax(features, dim=-1)
        return self.mapping(features)


def _projection(in_features: int, hidden: int, num_hidden: int, d_model: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_hidden):
        layers += [nn.Linear(in_features, hidden), nn.ReLU()]
        in_features = hidden
    return nn.Sequential(*layers, nn.Linear(in_features, d_model))


def _embedding(num_classes: int, d_model: int, class_vectors: Tensor | None) -> nn.Linear:
    mapping = nn.Linear(num_classes, d_model, bias=False)
    if class_vectors is not None:
        if tuple(class_vectors.shape) != (num_classes, d_model):
            raise SltError(
                f"embedding mapper: gloss vectors of shape {tuple(class_vectors.shape)} for {num_classes} classes of "
                f"width {d_model}; take the vectors from the same mBART and vocabulary"
            )
        with torch.no_grad():
            mapping.weight.copy_(class_vectors.T)
    return mapping
