"""Signs to text: a front that sees them, and a translator that reads one of its taps (FACTS 8.1, 8.3)."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slt_pipeline.config.taps import TapName
from slt_pipeline.models.beam_search import Generation
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.language import EncoderInput
from slt_pipeline.models.taps import RECOGNITION, Front, Taps
from slt_pipeline.models.translator import Translator


class SignToText(nn.Module):
    """`translate(front(batch)[mapper.input])`, and CTC where the front makes gloss logits of its own.

    Decoding runs the front once: `taps = model.front(batch)`, then `model.generate(taps)` for the text and, where
    `model.front.recognises`, `taps.gloss_logits` for the glosses.
    """

    def __init__(self, front: Front, translator: Translator):
        """Join the two: what `front` gives at the translator's tap has to be as wide as its mapper's input."""
        super().__init__()
        self.front = front
        self.translator = translator
        self.tap: TapName = translator.config.mapper.input
        self.register_load_state_dict_pre_hook(_take_old_names)

    @property
    def parts(self) -> frozenset[str]:
        """Names of the losses that this model can make."""
        return self.translator.parts | ({RECOGNITION} if self.front.recognises else set())

    def forward(self, batch: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
        """Return the losses of those `parts` that are this model's: scalars, not weighted, summed / B.

        Args:
            batch: what the front reads; what the translator's losses read (`labels`, `decoder_input_ids`); for
                `recognition`, `gloss_labels (B, L)` classes and `gloss_label_lengths (B,)`, -1 without gloss.
            parts: names of the losses asked for.
        """
        taps = self.front(batch)
        losses = {}
        if not self.translator.parts.isdisjoint(parts):
            losses = self.translator.losses(self.source(taps), batch, parts)
        if RECOGNITION in parts and self.front.recognises:
            labels, label_lengths = batch["gloss_labels"], batch["gloss_label_lengths"]
            losses[RECOGNITION] = ctc_loss(taps.gloss_logits, taps.lengths, labels, label_lengths)
        return losses

    @torch.no_grad()
    def generate(self, taps: Taps, **settings: Any) -> Generation:
        """Search the best texts of the clips of `taps`; settings as in `Translator.generate`."""
        return self.translator.generate(self.source(taps), **settings)

    def source(self, taps: Taps) -> EncoderInput:
        """Return what mBART's encoder reads of the clips of `taps`."""
        return self.translator.source({"features": taps[self.tap], "lengths": taps.lengths})

    def parameter_groups(self, parts: Collection[str]) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that have a part in the loss, by group, for learning rates (FACTS 8.1).

        Args:
            parts: names of the parts of the loss; what serves none of them is in no group.
        """
        parts = self.parts.intersection(parts)
        return {**self.front.parameter_groups(self.tap, parts), **self.translator.parameter_groups(parts)}


def _take_old_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """State-dict hook: runs of earlier versions hold the visual head as `head`, not as the front's."""
    for name in [name for name in state if name.startswith(f"{prefix}head.")]:
        state[f"{prefix}front.{name.removeprefix(prefix)}"] = state.pop(name)
