"""The published label-smoothed loss (FACTS 6.3)."""

import math

import torch
from torch import Tensor


def smoothed_kl(log_probs: Tensor, labels: Tensor, smoothing: float, pad_id: int) -> Tensor:
    """Return the KL divergence of smoothed targets from `log_probs (B, N, V)`, summed over the tokens that are not pad.

    The target has `1 - smoothing` on `labels (B, N)`, none on pad and the rest evenly on the other V - 2 pieces. The
    constant entropy of that target is part of the value, so a perfect model reaches 0.
    """
    valid = labels != pad_id
    right = log_probs.gather(-1, labels[..., None]).squeeze(-1)
    if smoothing == 0:
        return -(right * valid).sum()
    each = smoothing / (log_probs.shape[-1] - 2)
    wrong = log_probs.sum(-1) - right - log_probs[..., pad_id]
    entropy = (1 - smoothing) * math.log(1 - smoothing) + smoothing * math.log(each)
    return ((entropy - (1 - smoothing) * right - each * wrong) * valid).sum()


def label_smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float, pad_id: int) -> Tensor:
    """Return the loss of `logits (B, N, V)` against `labels (B, N)`: summed over tokens, divided by B alone."""
    return smoothed_kl(torch.log_softmax(logits.float(), dim=-1), labels, smoothing, pad_id) / labels.shape[0]
