"""Where a translator taps the visual stack, and the three fronts that bring it there: stored, head, video."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from slt_pipeline.config.taps import STREAMS, TAPS, Stream, TapName
from slt_pipeline.errors import SltError
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.visual_head import CLASSIFIER, VisualHead

RECOGNITION = "recognition"
"""The part of the loss that a front makes, CTC on its gloss logits; every other part is the translator's."""


@dataclass(frozen=True, slots=True)
class Taps:
    """What the visual stack knows of a batch of clips; steps beyond `lengths` are not zero.

    `taps[name]` gives the tap of that name by the table `config.taps.TAPS`.
    """

    s3d: Tensor | None
    """(B, S, C) pooled S3D features."""
    gloss_rep: Tensor | None
    """(B, S, R) gloss representations."""
    gloss_logits: Tensor | None
    """(B, S, K) gloss logits."""
    lengths: Tensor
    """(B,) int64 valid steps."""

    def __getitem__(self, name: TapName) -> Tensor:
        """Return a tap (B, S, D).

        Raises:
            SltError: the stream that it is made of is not there.
        """
        stream: Tensor | None = getattr(self, TAPS[name].stream)
        if stream is None:
            there = ", ".join(each for each in STREAMS if getattr(self, each) is not None)
            raise SltError(
                f"tap {name} is made of the stream {TAPS[name].stream}, and only {there} is there; "
                "set translator.mapper.input to what is read"
            )
        return torch.softmax(stream, dim=-1) if TAPS[name].activation == "softmax" else stream


def stream_widths(channels: int, hidden: int, num_classes: int) -> dict[Stream, int]:
    """Return the width D of every stream: `channels` C, `hidden` R, `num_classes` K."""
    return {"s3d": channels, "gloss_rep": hidden, "gloss_logits": num_classes}


class Front(nn.Module, ABC):
    """Batch to taps: what stands before a translator."""

    recognises: ClassVar[bool] = False
    """Whether the gloss logits are its own, with gradient, so that CTC can train it."""

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> Taps:
        """Return the taps (B, S, D) of a batch of stored features or frames."""

    def parameter_groups(self, tap: TapName, parts: Collection[str]) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that have a part in the loss, by group.

        Args:
            tap: what the translator reads.
            parts: names of the parts of the loss.
        """
        return {}


class StoredTap(Front):
    """Reads what the store holds: no layer, nothing to train."""

    def __init__(self, stream: Stream):
        super().__init__()
        self.stream: Stream = stream

    def forward(self, batch: Mapping[str, Tensor]) -> Taps:
        """Take `features (B, S, D)` of the stream, any float type, and `lengths (B,)`."""
        streams: dict[Stream, Tensor | None] = dict.fromkeys(STREAMS)
        streams[self.stream] = batch["features"].float()
        return Taps(**streams, lengths=batch["lengths"])


class HeadFront(Front):
    """Runs the visual head on stored S3D features, as the published systems do when they translate (FACTS 8.3)."""

    recognises = True

    def __init__(self, head: VisualHead, *, decay_idle: bool = False):
        """Take a head; `decay_idle`: weight decay reaches its classifier where no loss does (FACTS 9.5)."""
        super().__init__()
        self.head, self.decay_idle = head, decay_idle

    @property
    def leaks(self) -> bool:
        """Whether padding reaches a clip's last steps, so that its result depends on its batch mates."""
        return not self.head.feedforward.masked

    def forward(self, batch: Mapping[str, Tensor]) -> Taps:
        """Take `features (B, S, C)` of the stream `s3d`, any float type, and `lengths (B,)`."""
        features = batch["features"].to(self.head.fc1.weight.dtype)
        gloss_rep, gloss_logits = self.head(features, batch["lengths"])
        if self.decay_idle and self.training:
            gloss_rep = gloss_rep + 0.0 * gloss_logits.sum()  # a gradient of zero: the optimiser decays what has one
        return Taps(features, gloss_rep, gloss_logits, batch["lengths"])

    def parameter_groups(self, tap: TapName, parts: Collection[str]) -> dict[str, list[nn.Parameter]]:
        """Return the group `recognition`: what of the head is between the features and the loss."""
        trained = _head_parameters(self.head, tap, parts)
        return _without_empty({"recognition": list(self.head.parameters()) if trained and self.decay_idle else trained})


class VideoFront(Front):
    """Runs S3D and the visual head on frames: fine-tuning down to the pixels."""

    recognises = True

    def __init__(self, encoder: nn.Module, freeze: Collection[str] = ()):
        """Take a `VisualEncoder`, whose children are `s3d` and `head` and whose output are taps.

        Args:
            encoder: runs on the frames.
            freeze: of its groups (`s3d`, `s3d.<block>`, `recognition`): what is not trained, and stays in evaluation
                mode, so that its batch norms use the running statistics; other names are not its own.
        """
        super().__init__()
        self.encoder = encoder
        self.frozen = frozenset(freeze)
        for part in self._frozen_parts():
            part.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "VideoFront":
        """Set training mode, except in what is frozen."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        return self

    def forward(self, batch: Mapping[str, Tensor]) -> Taps:
        """Take `frames (B, 3, T, H, W)`, normalised, and `frame_lengths (B,)`."""
        return self.encoder(batch["frames"], batch["frame_lengths"])

    def parameter_groups(self, tap: TapName, parts: Collection[str]) -> dict[str, list[nn.Parameter]]:
        """Return the groups `s3d.<block>`, for each block that is not frozen, and `recognition`, the visual head."""
        blocks = {name: list(block.parameters()) for name, block in self._blocks().items()} if parts else {}
        groups = {**blocks, "recognition": _head_parameters(self.encoder.get_submodule("head"), tap, parts)}
        trained = {name: [p for p in parameters if p.requires_grad] for name, parameters in groups.items()}
        return _without_empty(trained)

    def _blocks(self) -> dict[str, nn.Module]:
        """Blocks of the backbone, by the names of their groups."""
        trunk = self.encoder.get_submodule("s3d")
        assert isinstance(trunk, S3D)
        return {f"s3d.{number}": trunk.block(number) for number in range(1, trunk.config.use_blocks + 1)}

    def _frozen_parts(self) -> list[nn.Module]:
        found = [block for name, block in self._blocks().items() if not self.frozen.isdisjoint((name, "s3d"))]
        return [*found, self.encoder.get_submodule("head")] if RECOGNITION in self.frozen else found


def _head_parameters(head: nn.Module, tap: TapName, parts: Collection[str]) -> list[nn.Parameter]:
    """Return the parameters of a visual head that CTC, or a translator that reads `tap`, sends a gradient to."""
    translated = any(part != RECOGNITION for part in parts)
    if RECOGNITION in parts or (translated and TAPS[tap].stream == "gloss_logits"):
        return list(head.parameters())
    if translated and TAPS[tap].stream == "gloss_rep":
        return [p for name, p in head.named_parameters() if not name.startswith(f"{CLASSIFIER}.")]
    return []


def _without_empty(groups: dict[str, list[nn.Parameter]]) -> dict[str, list[nn.Parameter]]:
    return {name: parameters for name, parameters in groups.items() if parameters}
