"""The small run of tests/training in several processes, and what can go wrong in one of them."""

import json
import os
import signal
import time
from pathlib import Path

import torch
from toy_run import SignalAt, toy_train, toy_trainable

from slt_pipeline.training import distributed
from slt_pipeline.training.trainable import Trainable


def train(folder: str, changes: dict | None = None) -> None:
    """Train, and write the result of this process beside the run."""
    changes = dict(changes or {})
    dropout = changes.pop("dropout", 0.3)
    tell(folder, toy_train(Path(folder), toy_trainable(dropout=dropout), **changes))


def train_and_signal(folder: str, signum: int, batch: int, ranks: tuple[int, ...], changes: dict) -> None:
    """Send a signal to some of the processes before their forward pass of a batch (from 1)."""
    distributed.join()
    trap = SignalAt(signum, batch) if distributed.rank() in ranks else (lambda: 1.0)
    tell(folder, toy_train(Path(folder), toy_trainable(each_batch=trap), **changes))


def train_to_nan(folder: str, batch: int) -> None:
    """The second process's loss of a batch is not finite."""
    distributed.join()
    seen = []

    def each() -> float:
        seen.append(1)
        return float("nan") if distributed.rank() == 1 and len(seen) == batch else 1.0

    with distributed.one_for_all():
        toy_train(Path(folder), named(toy_trainable(each_batch=each)))


def named(trainable: Trainable) -> Trainable:
    from dataclasses import replace

    return replace(trainable, names=[f"clip-{i}" for i in range(trainable.num_items)])


def train_with_slow_saves(folder: str) -> None:
    """A checkpoint takes much longer than a step, and is due at moments that no two clocks agree on."""
    import slt_pipeline.training.loop as loop

    save = loop.save_checkpoint
    loop.save_checkpoint = lambda *a, **k: (time.sleep(0.2), save(*a, **k))[1]
    tell(folder, toy_train(Path(folder), toy_trainable(), epochs=8, checkpoint_minutes=0.003, validate_every=3))


def train_and_die_in_validation(folder: str) -> None:
    """The second process is killed while it validates."""
    distributed.join()

    def validate(model: torch.nn.Module) -> dict[str, float]:
        if distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"dev_loss": float(sum(distributed.shared_out([1.0, 2.0], list)))}

    with distributed.one_for_all():
        toy_train(Path(folder), toy_trainable(validate=validate), epochs=1)


def tell(folder: str, result) -> None:
    path = Path(folder) / f"told-{distributed.rank()}.json"
    path.write_text(json.dumps([result.steps, result.best_step, result.best_score]), encoding="utf-8")
