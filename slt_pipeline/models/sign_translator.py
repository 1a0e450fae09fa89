"""Stored features to text: the translator alone, or with the visual head before it and trained with it.

Sources: FACTS 8.1, 8.3.

B clips, T feature steps, D S3D channels, K gloss classes, L glosses, N target positions, V pieces.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.translator import Generation, Translator
from slt_pipeline.models.visual_head import VisualHead


@dataclass(frozen=True)
class SignTranslatorOutput:
    """`logits (B, N, V)`, with a head `gloss_logits (B, T, K)`, and the losses, scalars or `None`.

    `loss` = recognition weight * `recognition_loss` + translation weight * `translation_loss`, each divided by B.
    """

    logits: Tensor
    gloss_logits: Tensor | None
    loss: Tensor | None
    translation_loss: Tensor | None
    recognition_loss: Tensor | None


class SignTranslator(nn.Module):
    """Stored stream -> (visual head -> CTC, and) mapper -> mBART -> text."""

    def __init__(self, head: VisualHead | None, translator: Translator):
        """Join the two; the weights of their losses are those of the translator's configuration.

        Without a head the stored stream goes to the mapper as it is (`head: frozen`), and nothing is recognised.
        """
        super().__init__()
        self.head = head
        self.translator = translator
        self.recognition_weight = translator.config.recognition_weight
        self.translation_weight = translator.config.translation_weight

    def forward(
        self,
        features: Tensor,
        lengths: Tensor,
        labels: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        *,
        gloss_ids: Tensor | None = None,
        gloss_lengths: Tensor | None = None,
    ) -> SignTranslatorOutput:
        """Recognise and translate with the right words so far given.

        Args:
            features: (B, T, D), the stored stream: `s3d` for a head, else what the mapper reads.
            lengths: (B,) valid steps.
            labels: (B, N), `<pad>` where nothing is asked; without them there is no translation loss.
            decoder_input_ids: (B, N).
            gloss_ids: (B, L) recognition classes; without them, or with recognition weight 0, there is no CTC loss.
            gloss_lengths: (B,) glosses of each row.
        """
        tapped, gloss_logits = self._recognise(features, lengths)
        translated = self.translator(tapped, lengths, labels, decoder_input_ids)
        recognition = None
        if (
            gloss_logits is not None
            and gloss_ids is not None
            and gloss_lengths is not None
            and self.recognition_weight > 0
        ):
            recognition = ctc_loss(gloss_logits, lengths, gloss_ids, gloss_lengths)
        parts = [
            weight * loss
            for weight, loss in ((self.recognition_weight, recognition), (self.translation_weight, translated.loss))
            if loss is not None
        ]
        total = torch.stack(parts).sum() if parts else None
        return SignTranslatorOutput(translated.logits, gloss_logits, total, translated.loss, recognition)

    @torch.no_grad()
    def generate(self, features: Tensor, lengths: Tensor, **settings: int | float) -> Generation:
        """Search the best texts of `features (B, T, D)`; settings as in `Translator.generate`."""
        tapped, _ = self._recognise(features, lengths)
        return self.translator.generate(tapped, lengths, **settings)  # type: ignore[arg-type]

    @torch.no_grad()
    def recognise(self, features: Tensor, lengths: Tensor) -> Tensor | None:
        """Return gloss logits (B, T, K), to be decoded with CTC; `None` without a head."""
        return self._recognise(features, lengths)[1]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by part, which is how learning rates are given (FACTS 8.1)."""
        mapper, head = self.translator.mapper, self.head
        parts = {} if head is None else {"recognition": list(head.parameters())}
        if mapper is not None:
            parts["mapper"] = list(mapper.parameters())
        mapped = {id(p) for p in parts.get("mapper", [])}
        parts["translation"] = [p for p in self.translator.parameters() if id(p) not in mapped]
        return parts

    def _recognise(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.head is None:
            return features, None
        features = features.to(self.head.fc1.weight.dtype)
        gloss_rep, gloss_logits = self.head(features, lengths)
        taps = {"s3d": features, "gloss_rep": gloss_rep, "gloss_logits": gloss_logits, "gloss_probs": gloss_logits}
        return taps[self.translator.config.mapper.input], gloss_logits
