"""The one training loop: it is handed whatever can be trained, and knows no model."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
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
    BEST,
    list_checkpoints,
    prune,
    random_state,
    save_checkpoint,
    seed_all,
    set_random_state,
)
from slt_pipeline.training.devices import make_accelerator, room_for_loaders
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.optim import build_optimiser, rate_factor, set_rates
from slt_pipeline.training.runlog import Meter, RunLog
from slt_pipeline.training.stop import ignore_ctrl_c, stop_after_step

log = logging.getLogger(__name__)


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
    """Model and batch to scalar losses by part, not weighted."""
    objective: Objective
    """Weighs the parts."""
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


def train(
    trainable: Trainable,
    config: TrainingConfig,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    title: str,
    on_checkpoint: Callable[[], None] | None = None,
) -> Result:
    """Train until `config.epochs` are done, from the newest checkpoint in `folder` if there is one.

    Writes folder/checkpoints/step-*/, folder/best.json and folder/metrics.jsonl. On the CPU, k steps, a stop, and
    the rest give bit for bit what an unbroken run gives.

    Args:
        trainable: what is trained, in place.
        config: how.
        folder: of the run.
        seed: decides the order of the items and everything that is drawn.
        device: where to compute.
        title: shown in logs and errors.
        on_checkpoint: called after each checkpoint, in the process that wrote it.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step in progress is done and saved.
        SltError: a loss or a weight is not finite, or the losses are not the parts of the objective.
    """
    accelerator = make_accelerator(device, config.precision)
    batches = EpochBatches(
        trainable.num_items,
        config.batch_size,
        epochs=config.epochs,
        seed=seed,
        lengths=trainable.lengths if config.bucket else None,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    _freeze_the_rest(trainable)
    optimiser = build_optimiser(config.optimiser, trainable.parameter_groups)
    checkpoints = folder / "checkpoints"
    position, meter = _Position(), Meter()
    seed_all(seed + accelerator.process_index)
    saved = list_checkpoints(checkpoints)
    state = saved[-1].load_state() if saved else None
    if state is not None:
        saved[-1].load_model(trainable.model)
        optimiser.load_state_dict(state["optimiser"])
        position, meter = _Position(**state["position"]), Meter(**state.get("means", {}))
        log.info("%s: resumed at step %d (epoch %d of %d)", title, position.step, position.epoch, config.epochs)
    model, optimiser = accelerator.prepare(trainable.model, optimiser)
    if state is not None:
        if accelerator.scaler is not None and state["scaler"] is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        set_random_state(state["random"])
    batches.start_at(position.epoch, position.batch)
    # Prepared by hand: accelerate's loader cannot start in the middle of an epoch without reading up to there.
    loader = DataLoader(
        trainable.dataset,
        batch_sampler=batches,
        collate_fn=trainable.collate,
        num_workers=config.num_workers,
        multiprocessing_context="spawn" if config.num_workers else None,
        worker_init_fn=ignore_ctrl_c,
        pin_memory=device.type == "cuda" and not trainable.on_device,
        generator=torch.Generator(),  # its own: starting to iterate draws a number, and a resumed run starts once more
    )
    per_epoch = batches.batches_per_epoch
    run = _Run(
        trainable, config, folder, title, accelerator, model, optimiser, position, meter, per_epoch, on_checkpoint
    )
    with stop_after_step() as stop, room_for_loaders(device, config.num_workers):
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
    def __init__(
        self, trainable, config, folder, title, accelerator, model, optimiser, position, meter, per_epoch, on_checkpoint
    ):
        self.trainable, self.config, self.folder, self.title = trainable, config, folder, title
        self.accelerator, self.model, self.optimiser = accelerator, model, optimiser
        self.position, self.meter, self.on_checkpoint = position, meter, on_checkpoint
        self.batches_per_epoch = per_epoch
        self.steps_per_epoch = -(-per_epoch // config.accumulate)
        self.main = accelerator.is_main_process
        self.log = RunLog(folder / "metrics.jsonl", resume_step=position.step) if self.main else None
        self.saved_at = time.monotonic()

    def loop(self, loader: DataLoader, stop: Callable[[], bool]) -> None:
        total = self.config.epochs * self.steps_per_epoch
        for part, ramp in self.trainable.objective.unfinished(total).items():
            log.warning(
                "%s: the weight of %s reaches %g at step %d, and the run has %d; lower `over` of its ramp",
                *(self.title, part, ramp.to, ramp.over, total),
            )
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
                    self._log_step(self.log)
                epoch = self.position.epoch
                validates = end_of_epoch and (epoch % self.config.validate_every == 0 or epoch == self.config.epochs)
                if validates or stop() or time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes:
                    self._require_finite_weights()
                    if validates:
                        self._validate(progress)
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
                losses = self.trainable.losses(self.model, batch)
            total_loss = self.trainable.objective.total(losses, position.step)
            value, values = float(total_loss.detach()), {name: float(loss.detach()) for name, loss in losses.items()}
            self._require_finite(value, values)
            first = position.batch - position.batch % config.accumulate
            group = min(config.accumulate, self.batches_per_epoch - first)  # the last group of an epoch may be smaller
            self.accelerator.backward(total_loss / group)
        self.meter.add(value, values)
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

    def _log_step(self, log: RunLog) -> None:
        """Log the means since the last line, and the weights and rates of the step that was just made."""
        position = self.position
        record = {"split": "train", "step": position.step, "epoch": position.epoch, **self.meter.pop()}
        record["weights"] = self.trainable.objective.weights(position.step - 1)
        log.write({**record, "lr": {group["name"]: group["lr"] for group in self.optimiser.param_groups}})

    def _require_finite(self, total: float, losses: Mapping[str, float]) -> None:
        if not math.isfinite(total):
            position = self.position
            shown = ", ".join(f"{name} {value:g}" for name, value in [("loss", total), *losses.items()])
            raise SltError(
                f"{self.title}: step {position.step + 1}, batch {position.batch + 1} of epoch {position.epoch + 1} has "
                f"{shown}, and training cannot go on from there; lower training.optimiser.lr, set "
                "training.optimiser.clip_norm, or look at the data of that batch"
            )

    def _require_finite_weights(self) -> None:
        """A finite loss can have a gradient that is not: what it leaves behind is not saved over good weights."""
        values = self.accelerator.unwrap_model(self.model).state_dict()
        bad = next((name for name, tensor in values.items() if not torch.isfinite(tensor).all()), None)
        if bad is not None:
            position = self.position
            raise SltError(
                f"{self.title}: after step {position.step}, of epoch {position.epoch + (position.batch > 0)}, {bad} is "
                "not finite, and training cannot go on from there; lower training.optimiser.lr or set "
                "training.optimiser.clip_norm"
            )

    def _validate(self, progress: tqdm) -> None:
        position = self.position
        if self.main:
            model = self.accelerator.unwrap_model(self.model)
            model.eval()
            with torch.no_grad():
                scores = self.trainable.validate(model)
            score = scores[self.trainable.score]
            better = score >= position.best_score if self.trainable.higher_is_better else score <= position.best_score
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
                "means": vars(self.meter).copy(),
            }
            position = self.position
            meta = {"epoch": position.epoch, "best_step": position.best_step}
            root = self.folder / "checkpoints"
            save_checkpoint(root, position.step, self.accelerator.unwrap_model(self.model), state, meta)
            self._tidy()
            if self.on_checkpoint is not None:
                self.on_checkpoint()
        self.saved_at = time.monotonic()
        self.accelerator.wait_for_everyone()

    def _tidy(self) -> None:
        """Point to the best checkpoint and delete those that are neither best nor newest."""
        if self.main:
            best = self.position.best_step if self.position.best_step >= 0 else None
            if best is not None:
                write_json(self.folder / BEST, {"step": best, self.trainable.score: self.position.best_score})
            prune(self.folder / "checkpoints", self.config.keep_last, best)


def _freeze_the_rest(trainable: Trainable) -> None:
    """Freeze the parameters in no group: several processes would wait for the gradient that one of them never gets."""
    grouped = {id(parameter) for group in trainable.parameter_groups.values() for parameter in group}
    for parameter in trainable.model.parameters():
        if id(parameter) not in grouped:
            parameter.requires_grad_(False)


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: _to(value, device) for name, value in batch.items()}
    return batch
