"""The one training loop: every stage hands it a job; it knows no model."""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_json
from slt_pipeline.training.batches import EpochBatches
from slt_pipeline.training.checkpoint import (
    list_checkpoints,
    prune,
    random_state,
    save_checkpoint,
    seed_all,
    set_random_state,
)
from slt_pipeline.training.devices import make_accelerator
from slt_pipeline.training.optim import build_optimiser, rate_factor, set_rates
from slt_pipeline.training.runlog import RunLog

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a stage hands to the loop."""

    model: torch.nn.Module
    """Trained in place."""
    parts: Mapping[str, Sequence[torch.nn.Parameter]]
    """Parameters by part, for learning rates."""
    dataset: Dataset
    """Items by (epoch, index)."""
    num_items: int
    """Items of an epoch."""
    collate: Callable[[Any], Any]
    """Items to a batch: a mapping whose tensors are moved to the device."""
    losses: Callable[[torch.nn.Module, Any], dict[str, torch.Tensor]]
    """Model and batch to scalar losses; `loss` is minimised, the others are logged."""
    validate: Callable[[torch.nn.Module], dict[str, float]]
    """Scores on the dev split; the model is in eval mode and gradients are off."""
    score: str
    """The score that decides which checkpoint is best."""
    higher_is_better: bool
    """Whether more of it is better."""
    lengths: Sequence[int] | None = None
    """Length of every item, for bucketing."""
    on_device: bool = False
    """Whether the data set makes its batches on the device itself."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    steps: int
    best_step: int
    best_score: float


def train(job: Job, config: TrainingConfig, folder: Path, *, seed: int, device: torch.device, title: str) -> Result:
    """Train until `config.epochs` are done, from the newest checkpoint in `folder` if there is one.

    Writes folder/checkpoints/step-*/, folder/best.json and folder/metrics.jsonl. On the CPU, k steps, a stop, and
    the rest give bit for bit what an unbroken run gives.

    **Raises:** KeyboardInterrupt after Ctrl-C or SIGTERM, once the step in progress is done and saved; SltError if a
    loss is not finite.
    """
    accelerator = make_accelerator(device, config.mixed_precision)
    batches = EpochBatches(
        job.num_items,
        config.batch_size,
        epochs=config.epochs,
        seed=seed,
        lengths=job.lengths if config.bucket else None,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    optimiser = build_optimiser(config.optimiser, job.parts)
    checkpoints = folder / "checkpoints"
    position, meter = _Position(), _Meter()
    seed_all(seed + accelerator.process_index)
    saved = list_checkpoints(checkpoints)
    state = saved[-1].load_state() if saved else None
    if state is not None:
        saved[-1].load_model(job.model)
        optimiser.load_state_dict(state["optimiser"])
        position, meter = _Position(**state["position"]), _Meter(**state["meter"])
        log.info("%s: resumed at step %d (epoch %d of %d)", title, position.step, position.epoch, config.epochs)
    model, optimiser = accelerator.prepare(job.model, optimiser)
    if state is not None:
        if accelerator.scaler is not None and state["scaler"] is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        set_random_state(state["random"])
    batches.start_at(position.epoch, position.batch)
    # Prepared by hand: accelerate's loader cannot start in the middle of an epoch without reading up to there.
    loader = DataLoader(
        job.dataset,
        batch_sampler=batches,
        collate_fn=job.collate,
        num_workers=config.num_workers,
        multiprocessing_context="spawn" if config.num_workers else None,
        worker_init_fn=_ignore_ctrl_c,
        pin_memory=device.type == "cuda" and not job.on_device,
        generator=torch.Generator(),  # its own: starting to iterate draws a number, and a resumed run starts once more
    )
    per_epoch = batches.batches_per_epoch
    run = _Run(job, config, folder, title, accelerator, model, optimiser, position, meter, per_epoch)
    with _stop_after_step() as stop:
        run.loop(loader, stop)
    return Result(position.step, position.best_step, position.best_score)


@dataclass
class _Position:
    """Where a run stands: the part of its state that is plain numbers."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_step: int = -1
    best_score: float = float("nan")


class _Run:
    def __init__(self, job, config, folder, title, accelerator, model, optimiser, position, meter, per_epoch):
        self.job, self.config, self.folder, self.title = job, config, folder, title
        self.accelerator, self.model, self.optimiser = accelerator, model, optimiser
        self.position, self.meter = position, meter
        self.batches_per_epoch = per_epoch
        self.steps_per_epoch = -(-per_epoch // config.accumulate)
        self.main = accelerator.is_main_process
        self.log = RunLog(folder / "metrics.jsonl", resume_step=position.step) if self.main else None
        self.saved_at = time.monotonic()

    def loop(self, loader: DataLoader, stop: Callable[[], bool]) -> None:
        total = self.config.epochs * self.steps_per_epoch
        self._tidy()  # what a crash between a checkpoint and its tidying left over
        progress = tqdm(
            total=total,
            initial=self.position.step,
            desc=self.title,
            unit="step",
            disable=None if self.main else True,
            dynamic_ncols=True,
        )
        with progress:
            for batch in loader:
                stepped = self._micro_step(_to(batch, self.accelerator.device), total)
                if not stepped:
                    continue
                progress.update()
                progress.set_postfix_str(self.meter.text(), refresh=False)
                end_of_epoch = self.position.batch == 0
                if self.log and (end_of_epoch or self.position.step % self.config.log_every == 0):
                    record = {"split": "train", "step": self.position.step, "epoch": self.position.epoch}
                    record |= self.meter.pop()
                    self.log.write({**record, "lr": {g["name"]: g["lr"] for g in self.optimiser.param_groups}})
                epoch = self.position.epoch
                if end_of_epoch and (epoch % self.config.validate_every == 0 or epoch == self.config.epochs):
                    self._validate(progress)
                    self._save()
                elif stop() or time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes:
                    self._save()
                if stop():
                    raise KeyboardInterrupt

    def _micro_step(self, batch: Any, total: int) -> bool:
        """One forward and backward pass; True if it completed an optimiser step."""
        position, config = self.position, self.config
        last = (position.batch + 1) % config.accumulate == 0 or position.batch + 1 == self.batches_per_epoch
        self.model.train()
        with nullcontext() if last else self.accelerator.no_sync(self.model):
            with self.accelerator.autocast():
                losses = self.job.losses(self.model, batch)
            values = {name: float(loss.detach()) for name, loss in losses.items()}
            self._require_finite(values)
            first = position.batch - position.batch % config.accumulate
            group = min(config.accumulate, self.batches_per_epoch - first)  # the last group of an epoch may be smaller
            self.accelerator.backward(losses["loss"] / group)
        self.meter.add(values)
        if last:
            if config.optimiser.clip_norm is not None:
                self.accelerator.clip_grad_norm_(self.model.parameters(), config.optimiser.clip_norm)
            factor = rate_factor(
                config.schedule, epoch=position.epoch, step=position.step, epochs=config.epochs, total_steps=total
            )
            set_rates(self.optimiser, factor)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            position.step += 1
        position.batch += 1
        if position.batch == self.batches_per_epoch:
            position.epoch, position.batch = position.epoch + 1, 0
        return last

    def _require_finite(self, values: Mapping[str, float]) -> None:
        if not math.isfinite(values["loss"]):
            position = self.position
            shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
            raise SltError(
                f"{self.title}: step {position.step + 1}, batch {position.batch + 1} of epoch {position.epoch + 1} has "
                f"{shown}, and training cannot go on from there; lower training.optimiser.lr, set "
                "training.optimiser.clip_norm, or look at the data of that batch"
            )

    def _validate(self, progress: tqdm) -> None:
        position = self.position
        if self.main:
            model = self.accelerator.unwrap_model(self.model)
            model.eval()
            with torch.no_grad():
                scores = self.job.validate(model)
            score = scores[self.job.score]
            better = score >= position.best_score if self.job.higher_is_better else score <= position.best_score
            if better or math.isnan(position.best_score):  # ties go to the later one, as published
                position.best_score, position.best_step = score, position.step
            if self.log:
                self.log.write({"split": "dev", "step": position.step, "epoch": position.epoch, **scores})
            shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
            progress.clear()
            log.info("%s: epoch %d of %d: %s", self.title, position.epoch, self.config.epochs, shown)
        self.accelerator.wait_for_everyone()

    def _save(self) -> None:
        """Checkpoint, then the pointer to the best one, then pruning: a crash between any two is harmless."""
        if self.main:
            scaler = self.accelerator.scaler
            state = {
                "optimiser": self.optimiser.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "random": random_state(),
                "position": vars(self.position).copy(),
                "meter": vars(self.meter).copy(),
            }
            position = self.position
            meta = {"epoch": position.epoch, "best_step": position.best_step}
            root = self.folder / "checkpoints"
            save_checkpoint(root, position.step, self.accelerator.unwrap_model(self.model), state, meta)
            self._tidy()
        self.saved_at = time.monotonic()
        self.accelerator.wait_for_everyone()

    def _tidy(self) -> None:
        """Point to the best checkpoint and delete those that are neither best nor newest."""
        if self.main:
            best = self.position.best_step if self.position.best_step >= 0 else None
            if best is not None:
                write_json(self.folder / "best.json", {"step": best, self.job.score: self.position.best_score})
            prune(self.folder / "checkpoints", self.config.keep_last, best)


class _Meter:
    """Means of the losses since the last log line."""

    def __init__(self, sums: Mapping[str, float] | None = None, count: int = 0):
        self.sums = dict(sums or {})
        self.count = count

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def text(self) -> str:
        return f"loss {self.sums.get('loss', 0.0) / max(1, self.count):.3f}"

    def pop(self) -> dict[str, float]:
        means = {name: value / self.count for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: _to(value, device) for name, value in batch.items()}
    return batch


def _ignore_ctrl_c(worker: int) -> None:
    """Ctrl-C reaches the workers too, and the step in progress may need their batches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _stop_after_step() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM ask for a stop after the step in progress; a second one stops at once."""
    asked: list[int] = []

    def ask(signum: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(signum)
        log.warning("stopping after this step; press Ctrl-C again to stop at once")

    try:
        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever runs the threads handles signals
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
