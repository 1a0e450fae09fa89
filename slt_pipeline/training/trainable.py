"""What the training loop is handed, and what it hands back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset

from slt_pipeline.training.objective import Objective

REJECTED = "rejected"
"""Key of a batch under which a data set names the items that it could not make and has replaced, with the reason."""


@dataclass(frozen=True)
class Trainable:
    """A model with everything that the loop has to know of it."""

    model: torch.nn.Module
    """Trained in place."""
    parameter_groups: Mapping[str, Sequence[torch.nn.Parameter]]
    """Parameters by group, for learning rates; those in none have no part in the loss and are frozen."""
    dataset: Dataset
    """Items by (epoch, index)."""
    num_items: int
    """Items of an epoch."""
    collate: Callable[[Any], Any]
    """Items to a batch: a mapping whose tensors are moved to the device."""
    losses: Callable[[torch.nn.Module, Any], dict[str, torch.Tensor]]
    """Model and batch to scalar losses by part, not weighted, means over the items of the batch."""
    objective: Objective
    """Weighs the parts."""
    validate: Callable[[torch.nn.Module], dict[str, float]]
    """Scores on the dev split, which all processes share out; the model is in eval mode, gradients are off, and it
    computes in float32 as extraction and evaluation do."""
    score: str
    """The score that decides which checkpoint is best."""
    higher_is_better: bool
    """Whether more of it is better."""
    protocol: str = ""
    """Protocol and version by which it is scored, written beside every score; empty: by none."""
    lengths: Sequence[int] | None = None
    """Length of every item, for bucketing."""
    names: Sequence[str] | None = None
    """Name of every item, for messages."""
    on_device: bool = False
    """Whether the data set makes its batches on the device itself."""
    prepare: Callable[[Any], Any] | None = None
    """Called with every batch once it is on the device: what is cheaper to send than to make there."""
    heavy: bool = False
    """Whether making an item is work for processes of its own, such as decoding video."""
    padding: Mapping[str, tuple[int, Callable[[torch.Tensor, int], torch.Tensor]]] | None = None
    """Tensors of a batch that are padded: along which dimension, and how one is made longer by so many entries. The
    shares of several processes are padded to the longest of the batch, since padding can reach a number: statistics of
    batch norms, the last steps through the published head (FACTS 4), CV-SLT's published losses (FACTS 9.5)."""
    counts: Callable[[Any], Mapping[str, float]] | None = None
    """What of a batch is counted and logged, such as clips that CTC cannot align."""
    on_rejected: Callable[[Mapping[str, str]], None] | None = None
    """Called in one process at each checkpoint with the items that could not be made so far, and the reasons."""
    give_up: Callable[[], bool] | None = None
    """Asked in the first process after each validation but the last, whose scores are in metrics.jsonl by then: whether
    the run is not worth going on with."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    steps: int
    best_step: int
    best_score: float
    pruned_at: int | None = None
    """Epochs after which it was given up; None: it came to its end."""
