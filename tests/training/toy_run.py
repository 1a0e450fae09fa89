"""A small training run on real parts: a visual head with dropout and batch norm, trained with CTC on made-up sequences.

Run as a program it trains in the folder given, and can send itself a signal in the middle of a step.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from slt_pipeline.config.encoder import HeadConfig
from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.visual_head import VisualHead
from slt_pipeline.training.checkpoint import list_checkpoints
from slt_pipeline.training.loop import train
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.trainable import Result, Trainable

NUM_ITEMS, WIDTH, NUM_CLASSES = 13, 6, 7
LENGTHS = [6 + 5 * i % 11 for i in range(NUM_ITEMS)]


class Sequences(Dataset):
    """Sequences (T, D) by (epoch, index), noisy in every epoch in another way."""

    def __len__(self) -> int:
        return NUM_ITEMS

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = key
        fixed, noise = np.random.default_rng([5, index]), np.random.default_rng([5, epoch, index])
        shape = (LENGTHS[index], WIDTH)
        features = fixed.standard_normal(shape) + 0.1 * noise.standard_normal(shape)
        return torch.from_numpy(features).float(), torch.from_numpy(fixed.integers(4, NUM_CLASSES, 2))


def collate(items: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        "features": torch.nn.utils.rnn.pad_sequence([features for features, _ in items], batch_first=True),
        "lengths": torch.tensor([len(features) for features, _ in items]),
        "gloss_labels": torch.stack([labels for _, labels in items]),
        "gloss_label_lengths": torch.full((len(items),), 2),
    }


def toy_trainable(
    *, each_batch: Callable[[], float] = lambda: 1.0, validate: Callable | None = None, dropout: float = 0.3
) -> Trainable:
    """`each_batch` is called before every forward pass; the loss is multiplied by what it returns."""
    torch.manual_seed(3)
    model = VisualHead(HeadConfig(hidden=8, feedforward=12, dropout=dropout), WIDTH, NUM_CLASSES)
    data = Sequences()
    dev = collate([data[(0, index)] for index in range(5)])

    def losses(head: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        factor = each_batch()
        _, gloss_logits = head(batch["features"], batch["lengths"])
        return {"recognition": factor * _ctc_loss(gloss_logits, batch), "spread": gloss_logits.std()}

    def score(head: torch.nn.Module) -> dict[str, float]:
        _, gloss_logits = head(dev["features"], dev["lengths"])
        return {"dev_loss": float(_ctc_loss(gloss_logits, dev))}

    return Trainable(
        model=model,
        parameter_groups={"recognition": list(model.parameters())},
        dataset=data,
        num_items=NUM_ITEMS,
        collate=collate,
        losses=losses,
        objective=Objective({"recognition": 1.0, "spread": 0.0}),
        validate=validate or score,
        score="dev_loss",
        higher_is_better=False,
        lengths=LENGTHS,
    )


def _ctc_loss(gloss_logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return ctc_loss(gloss_logits, batch["lengths"], batch["gloss_labels"], batch["gloss_label_lengths"])


def toy_config(**changes) -> TrainingConfig:
    settings = {
        "epochs": 3,
        "batch_size": 3,
        "bucket": True,
        "log_every": 2,
        "optimiser": {"lr": {"default": 0.01}},
        "schedule": {"name": "cosine-step", "warmup_steps": 2},
    }
    return TrainingConfig.model_validate(settings | changes)


def toy_train(folder: Path, trainable: Trainable | None = None, *, on_checkpoint=None, **changes) -> Result:
    return train(
        trainable or toy_trainable(),
        toy_config(**changes),
        folder,
        seed=11,
        device=torch.device("cpu"),
        title="toy",
        on_checkpoint=on_checkpoint,
    )


def same(a, b) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return a == b


def assert_same_end(found: Path, expected: Path) -> None:
    """Weights, optimiser, random states, scores and every logged number, bit for bit."""
    ours, theirs = list_checkpoints(found / "checkpoints"), list_checkpoints(expected / "checkpoints")
    assert [c.meta for c in ours] == [c.meta for c in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert same(a.weights, b.weights)
        assert same(a.load_state(), b.load_state())
    assert (found / "metrics.jsonl").read_text() == (expected / "metrics.jsonl").read_text()
    assert (found / "best.json").read_text() == (expected / "best.json").read_text()


class SignalAt:
    """Sends a signal to its own process before the forward pass of batch number `batch` (from 1)."""

    def __init__(self, signum: int, batch: int, *, to_group: bool = False):
        self.signum, self.batch, self.to_group, self.seen = signum, batch, to_group, 0

    def __call__(self) -> float:
        self.seen += 1
        if self.seen == self.batch:
            (os.killpg if self.to_group else os.kill)(os.getpgrp() if self.to_group else os.getpid(), self.signum)
        return 1.0


if __name__ == "__main__":
    run_folder, signal_name, at_batch, where, overrides = sys.argv[1:]
    trap = SignalAt(signal.Signals[signal_name], int(at_batch), to_group=where == "group")
    toy_train(Path(run_folder), toy_trainable(each_batch=trap), **json.loads(overrides))
