"""MMTLB's translator: mBART reads the mapped features, and the text is all it learns from (FACTS 6)."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from slt_pipeline.models.label_smoothing import label_smoothed_loss
from slt_pipeline.models.language import EncoderInput
from slt_pipeline.models.mbart import PAD_ID
from slt_pipeline.models.translator import Translator


class MMTLB(Translator):
    """`translation`: the label-smoothed loss of the right text, piece by piece (FACTS 6.3).

    `agreement`, which no published system of the two has: how far two passes with other dropout are apart, the mean of
    both directions of their KL divergence (R-Drop, Liang et al. 2021). With it `translation` is the mean of both.

    `distillation`, neither: the KL divergence from what teachers expect of each piece (Kim and Rush 2016, word level).
    """

    parts = frozenset({"translation", "agreement", "distillation"})

    def losses(self, source: EncoderInput, batch: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
        """Return those of the losses that are among `parts`: each summed over pieces, divided by B.

        Args:
            source: what `source` made of the batch.
            batch: `labels (B, N)`, `<pad>` where nothing is asked, and `decoder_input_ids (B, N)`; for `distillation`
                `teacher_log_probs (B, N, V)`.
            parts: names of the losses asked for.
        """
        if self.parts.isdisjoint(parts):
            return {}
        labels, inputs = batch["labels"], batch["decoder_input_ids"]
        if "agreement" in parts:
            source = EncoderInput(*(torch.cat([each, each]) for each in source))
            labels, inputs = (torch.cat([each, each]) for each in (labels, inputs))
        logits = self.decode(self.states(source), source.mask, inputs)
        losses, valid = {}, batch["labels"] != PAD_ID
        if "translation" in parts:
            losses["translation"] = label_smoothed_loss(logits, labels, self.config.label_smoothing, PAD_ID)
        if {"agreement", "distillation"}.isdisjoint(parts):
            return losses
        passes = logits.float().log_softmax(dim=-1).split(len(valid))
        if "agreement" in parts:
            first, second = passes
            losses["agreement"] = _divergence(first, second, valid)
        if "distillation" in parts:
            taught = [_missed(batch["teacher_log_probs"], each, valid) for each in passes]
            losses["distillation"] = torch.stack(taught).mean()
        return losses


def _divergence(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """Return (KL(first || second) + KL(second || first)) / 2 of log-probabilities (B, N, V).

    Summed over the positions that are `valid (B, N)`, divided by B.
    """
    both = ((first.exp() - second.exp()) * (first - second)).sum(dim=-1)
    return (both * valid).sum() / (2 * first.shape[0])


def _missed(wanted: Tensor, found: Tensor, valid: Tensor) -> Tensor:
    """Return KL(wanted || found) of log-probabilities (B, N, V), summed where `valid (B, N)`, divided by B."""
    return ((wanted.exp() * (wanted - found)).sum(dim=-1) * valid).sum() / len(wanted)
