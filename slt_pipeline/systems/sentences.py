"""Clips as mBART's encoder sees them, layer by layer: one vector of the signs alone, one of the text alone.

L layers with what the first one reads, N clips, M mBART's width.
"""

from dataclasses import dataclass

import numpy as np
import torch

from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.models.language import EncoderInput, LanguageModel
from slt_pipeline.systems.decoding import Sign2Text


@dataclass(frozen=True)
class Sentences:
    """Sentence-level representations of clips, in their order."""

    signs: np.ndarray
    """(L, N, M) float32."""
    texts: np.ndarray
    """(L, N, M) float32."""

    @property
    def gaps(self) -> np.ndarray:
        """The modality gap of each clip after each layer, (L, N): the L2 distance between its two representations."""
        return np.linalg.norm(self.signs - self.texts, axis=-1)

    @property
    def layers(self) -> list[str]:
        """Names of the L layers."""
        return ["embedding", *(f"layer {number}" for number in range(1, len(self.signs)))]


@torch.no_grad()
def sentences(translator: Sign2Text, features: FeatureDataset, batch_size: int) -> Sentences:
    """Return the representations of all clips: means over the steps that count, with suffix or `</s>`.

    Args:
        translator: whose encoder sees them.
        features: clips with the labels of their texts.
        batch_size: clips at once; padding changes nothing.
    """
    model = translator.model.translator
    signs: dict[str, torch.Tensor] = {}
    texts: dict[str, torch.Tensor] = {}
    for indices in translator.batches(features, batch_size):
        clips = [features.clips[index] for index in indices]
        batch, ids = features.batch(clips), [clip.id for clip in clips]
        signs |= zip(ids, _means(model, translator.model.source(translator.taps(batch))), strict=True)
        texts |= zip(ids, _means(model, model.text_source(batch["labels"].to(translator.device))), strict=True)
    return Sentences(*(np.stack([found[clip.id] for clip in features.clips], axis=1) for found in (signs, texts)))


def _means(model: LanguageModel, source: EncoderInput) -> np.ndarray:
    """Return (B, L, M): the mean over the steps of the mask, after every layer."""
    mask = source.mask[..., None]
    means = [(states * mask).sum(dim=1) / mask.sum(dim=1) for states in model.layers(source)]
    return torch.stack(means, dim=1).float().cpu().numpy()
