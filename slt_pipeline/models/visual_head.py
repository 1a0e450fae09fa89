"""The visual head: S3D features to gloss representations and gloss logits (FACTS 4)."""

import math

import torch
from torch import Tensor, nn

from slt_pipeline.config.encoder import HeadConfig
from slt_pipeline.models.masked_norm import MaskedBatchNorm

CLASSIFIER = "gloss_output_layer"
"""Name of the layer that only the gloss logits need."""
PIECE = 2048
"""Steps that the convolutions see at once, outside of training: an hour of video would take a gigabyte there."""


class VisualHead(nn.Module):
    """Linear, masked batch norm, ReLU, positions, residual temporal convolutions, layer norm, gloss classifier.

    With `padding: masked` a clip's result does not depend on its batch mates but for the statistics of the norm in
    training. With `published` the convolutions see padding: it reaches the last valid steps (two with kernels 3, 3).
    State-dict names are the published ones without the table of positions, which is computed.
    """

    def __init__(self, config: HeadConfig, in_features: int, num_classes: int):
        super().__init__()
        self.fc1 = nn.Linear(in_features, config.hidden)
        self.bn1 = MaskedBatchNorm(config.hidden)
        self.positions = PositionalEncoding(config.hidden) if config.positional_encoding else None
        self.dropout = nn.Dropout(config.dropout)
        self.feedforward = TemporalFeedForward(config)
        self.layer_norm = nn.LayerNorm(config.hidden, eps=1e-6)
        self.gloss_output_layer = nn.Linear(config.hidden, num_classes)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return `gloss_rep (B, S, R)` and `gloss_logits (B, S, K)`.

        Args:
            features: (B, S, C), any values beyond lengths.
            lengths: (B,) valid steps.
        """
        mask = valid_mask(lengths, features.shape[1])
        x = torch.relu(self.bn1(self.fc1(features), mask))
        if self.positions is not None:
            x = self.positions(x)
        gloss_rep = self.layer_norm(self.feedforward(self.dropout(x), mask))
        return gloss_rep, self.gloss_output_layer(gloss_rep)


def valid_mask(lengths: Tensor, num_steps: int) -> Tensor:
    """Return (B, S) bool, True on the first `lengths (B,)` of `num_steps` S steps."""
    return torch.arange(num_steps, device=lengths.device) < lengths.unsqueeze(1)


class PositionalEncoding(nn.Module):
    """Adds sinusoids: channel 2i gets sin(p * 10000^(-2i/R)), channel 2i+1 the cosine, p the step's position from 0."""

    table: Tensor

    def __init__(self, num_channels: int, num_positions: int = 5000):
        super().__init__()
        self.register_buffer("table", _sinusoids(num_positions, num_channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, S, R) plus the encoding of its S positions; the table grows for longer clips."""
        if x.shape[1] > len(self.table):
            self.table = _sinusoids(x.shape[1], x.shape[2]).to(self.table)
        return x + self.table[: x.shape[1]]


class TemporalFeedForward(nn.Module):
    """x + g(LayerNorm(x)), g being "same" temporal convolutions with ReLU and dropout between, dropout at the end."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.masked = config.padding == "masked"
        self.margin = sum(size // 2 for size in config.kernel_sizes)
        self.layer_norm = nn.LayerNorm(config.hidden, eps=1e-6)
        last = len(config.kernel_sizes) - 1
        layers: list[nn.Module] = []
        for i, size in enumerate(config.kernel_sizes):
            in_channels = config.hidden if i == 0 else config.feedforward
            out_channels = config.hidden if i == last else config.feedforward
            layers.append(nn.Conv1d(in_channels, out_channels, size, padding="same"))
            layers += [nn.Dropout(config.dropout)] if i == last else [nn.ReLU(inplace=True), nn.Dropout(config.dropout)]
        self.pwff_layer = nn.Sequential(*layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x (B, S, R), of which mask (B, S) bool is True on valid steps, to (B, S, R)."""
        y, size, margin = self.layer_norm(x).transpose(1, 2), x.shape[1], self.margin
        if self.training or size <= PIECE:
            return x + self._convolved(y, mask).transpose(1, 2)
        out = torch.empty_like(x)
        for start in range(0, size, PIECE):
            end, first = min(start + PIECE, size), max(start - margin, 0)
            seen = self._convolved(y[:, :, first : end + margin], mask[:, first : end + margin])
            out[:, start:end] = seen[:, :, start - first : end - first].transpose(1, 2)
        return out.add_(x)

    def _convolved(self, y: Tensor, mask: Tensor) -> Tensor:
        for layer in self.pwff_layer:
            if self.masked and isinstance(layer, nn.Conv1d):
                y = y.masked_fill(~mask.unsqueeze(1), 0.0)  # as "same" pads a clip that is alone
            y = layer(y)
        return y


def _sinusoids(num_positions: int, num_channels: int) -> Tensor:
    position = torch.arange(num_positions, dtype=torch.float32).unsqueeze(1)
    exponent = torch.arange(0, num_channels, 2, dtype=torch.float32) * -(math.log(10000.0) / num_channels)
    rate = exponent.double().exp().float()  # rounded once: in float32 `exp` differs in the last bit between processors
    return torch.stack(((position * rate).sin(), (position * rate).cos()), dim=2).flatten(1)
