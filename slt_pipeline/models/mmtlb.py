"""MMTLB's translator: mBART reads the mapped features, and the text is all it learns from (FACTS 6)."""

from collections.abc import Collection, Mapping

from torch import Tensor

from slt_pipeline.models.label_smoothing import label_smoothed_loss
from slt_pipeline.models.language import EncoderInput
from slt_pipeline.models.mbart import PAD_ID
from slt_pipeline.models.translator import Translator


class MMTLB(Translator):
    """One loss, `translation`: the label-smoothed loss of the right text, piece by piece (FACTS 6.3)."""

    parts = frozenset({"translation"})

    def losses(self, source: EncoderInput, batch: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
        """Return `translation`, if it is among `parts`.

        Args:
            source: what `source` made of the batch.
            batch: `labels (B, N)`, `<pad>` where nothing is asked, and `decoder_input_ids (B, N)`.
            parts: names of the losses asked for.
        """
        if "translation" not in parts:
            return {}
        logits = self.decode(self.states(source), source.mask, batch["decoder_input_ids"])
        return {"translation": label_smoothed_loss(logits, batch["labels"], self.config.label_smoothing, PAD_ID)}
