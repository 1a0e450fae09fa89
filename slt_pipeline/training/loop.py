"""The one training loop: it is handed whatever can be trained, and knows no model."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_json
from slt_pipeline.training import distributed
from slt_pipeline.training.batches import EpochBatches
from slt_pipeline.training.checkpoint import (
    BEST,
    Checkpoint,
    list_checkpoints,
    prune,
    random_state,
    save_checkpoint,
    seed_all,
    set_random_state,
)
from slt_pipeline.training.devices import FreeMemory, loaders_alive, room_for_loaders
from slt_pipeline.training.engine import Engine, to_device
from slt_pipeline.training.loader import arrived, batch_loader, num_loaders
from slt_pipeline.training.losses import Losses
from slt_pipeline.training.optim import build_optimiser, rate_factor, set_rates, unfinished
from slt_pipeline.training.runlog import Meter, RunLog, in_words, means
from slt_pipeline.training.speed import Speed
from slt_pipeline.training.stop import stop_after_step
from slt_pipeline.training.trainable import REJECTED, Result, Trainable

log = logging.getLogger(__name__)


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

    Writes folder/checkpoints/step-*/, folder/best.json, folder/metrics.jsonl and folder/speed.jsonl. On the CPU, k
    steps, a stop, and the rest give bit for bit what an unbroken run gives, with any number of processes.

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
        SltError: a loss or a weight is not finite, the losses are not the parts of the objective, or the run was begun
            by another number of processes.
    """
    distributed.join()
    _require_work_for_all(config)
    batches = EpochBatches(
        trainable.num_items,
        config.batch_size,
        epochs=config.epochs,
        seed=seed,
        lengths=trainable.lengths if config.bucket else None,
        rank=distributed.rank(),
        world=distributed.world(),
    )
    _freeze_the_rest(trainable)
    trainable.model.to(device)
    optimiser = build_optimiser(config.optimiser, trainable.parameter_groups)
    seed_all(seed + distributed.rank())
    saved = distributed.first(lambda: _newest(folder, title))
    if saved is not None:
        saved.load_model(trainable.model)
    run = _Run(trainable, config, folder, title, Engine(trainable.model, optimiser, config, device), batches)
    run.on_checkpoint = on_checkpoint
    if saved is not None:
        run.resume(saved)
    num_workers = num_loaders(config.num_workers, device, heavy=trainable.heavy)
    pin = device.type == "cuda" and not trainable.on_device
    loader = batch_loader(trainable.dataset, batches, trainable.collate, num_workers, pin=pin)
    with stop_after_step() as stop, room_for_loaders(device, num_workers), loaders_alive(title, stop):
        came_to_its_end = run.loop(loader, stop)
    at = run.position
    return Result(at.step, at.best_step, at.best_score, None if came_to_its_end else at.epoch)


@dataclass
class _Position:
    """Where a run stands: the part of its state that is plain numbers, the same in every process."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_step: int = -1
    best_score: float = float("nan")


class _Run:
    on_checkpoint: Callable[[], None] | None = None

    def __init__(
        self,
        trainable: Trainable,
        config: TrainingConfig,
        folder: Path,
        title: str,
        engine: Engine,
        batches: EpochBatches,
    ):
        self.trainable, self.config, self.folder, self.title = trainable, config, folder, title
        self.engine, self.batches = engine, batches
        self.position, self.meter, self.speed, self.memory = _Position(), Meter(), Speed(), FreeMemory()
        self.losses = Losses(title, waits=engine.device.type != "cpu")
        self.saved: Checkpoint | None = None
        self.rejected: dict[str, str] = {}
        self.norm: float | None = None
        self.steps_per_epoch = -(-batches.batches_per_epoch // config.accumulate)
        self.saved_at = time.monotonic()

    def resume(self, saved: Checkpoint) -> None:
        """Go on exactly where a checkpoint was written."""
        state = saved.load_state()
        self.engine.load_state(state)
        # A run of an earlier version was saved by one process, and after its validation.
        of_each = state.get("processes") or [{"random": state["random"], "means": state.get("means", {})}]
        mine = of_each[distributed.rank()]
        set_random_state(mine["random"])
        self.position, self.meter = _Position(**state["position"]), Meter(**mine["means"])
        if "best_score" in saved.meta:
            self.position.best_step, self.position.best_score = saved.best
        self.saved = saved
        self.batches.start_at(self.position.epoch, self.position.batch)
        where = (self.position.step, self.position.epoch, self.config.epochs)
        log.info("%s: resumed at step %d (epoch %d of %d)", self.title, *where)

    def loop(self, loader: DataLoader, stop: Callable[[], bool]) -> bool:
        """Train; return whether the run came to its end, or was given up on the way."""
        config, total = self.config, self.config.epochs * self.steps_per_epoch
        for warning in (
            *self.trainable.objective.unfinished(total),
            *unfinished(config.schedule, config.epochs, total),
        ):
            log.warning("%s: %s", self.title, warning)
        self.log = self._open_log("metrics.jsonl") if distributed.is_main() else None
        self.speed.log = self._open_log("speed.jsonl") if distributed.is_main() else None
        self._tidy()  # what a crash between a checkpoint and its tidying left over
        progress = tqdm(
            total=total,
            initial=self.position.step,
            desc=self.title,
            unit="step",
            disable=None if distributed.is_main() else True,
            dynamic_ncols=True,
        )
        with progress:
            if self.position.batch == 0 and self._validates():
                if not self._is_validated():
                    self._validate(progress)  # a kill came between the checkpoint and its score
                if self._is_given_up():
                    return False
            for batch in self.speed.timed(loader):
                if not self._micro_step(self._there(batch), total):
                    continue
                progress.update()
                progress.set_postfix_str(self.meter.text(), refresh=False)
                if not self._end_of_step(progress, stop):
                    return False
        return True

    def _end_of_step(self, progress: tqdm, stop: Callable[[], bool]) -> bool:
        """Log, save, validate and stop: together, since each waits for all processes; return whether to go on."""
        end_of_epoch = self.position.batch == 0
        if end_of_epoch or self.position.step % self.config.log_every == 0:
            self._log_step()
        due = distributed.is_main() and time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes
        order = distributed.highest(2 if stop() else int(due))
        validates = end_of_epoch and self._validates()
        if order or validates:
            self.losses.read(self.meter)
            self._require_finite_weights()
            self._save()
        if order == 2:
            raise KeyboardInterrupt
        self.memory.give_back()
        if end_of_epoch:
            self.speed.end_epoch(self.position.epoch, self.position.step)
        if validates:
            self._validate(progress)
        return not (validates and self._is_given_up())

    def _there(self, batch: Any) -> Any:
        """Return a batch on the device, made there as far as it is not made yet."""
        batch = to_device(arrived(batch), self.engine.device)
        return self.trainable.prepare(batch) if self.trainable.prepare else batch

    def _micro_step(self, batch: Any, total: int) -> bool:
        """One forward and backward pass; True if it completed an optimiser step."""
        position, config, per_epoch = self.position, self.config, self.batches.batches_per_epoch
        last = (position.batch + 1) % config.accumulate == 0 or position.batch + 1 == per_epoch
        if isinstance(batch, dict):
            self.rejected |= batch.pop(REJECTED, {})
        if distributed.world() > 1 and self.trainable.padding:
            batch = _padded_alike(batch, self.trainable.padding)
        self.engine.model.train()
        with nullcontext() if last else self.engine.apart():
            with self.engine.autocast():
                losses = self.trainable.losses(self.engine.model, batch)
            total_loss = self.trainable.objective.total(losses, position.step)
            self.losses.add(
                self.meter,
                total_loss,
                losses,
                where=f"step {position.step + 1}, batch {position.batch + 1} of epoch {position.epoch + 1}",
                clips=self._names(position),
                counts=self.trainable.counts(batch) if self.trainable.counts else {},
            )
            weight = self.batches.weight(position.epoch, position.batch, config.accumulate)
            self.engine.backward(total_loss / weight)
        self.speed.clips += len(self.batches.share(position.epoch, position.batch))
        if last:
            factor = rate_factor(
                config.schedule, epoch=position.epoch, step=position.step, epochs=config.epochs, total_steps=total
            )
            set_rates(self.engine.optimiser, factor)
            logged = (position.step + 1) % config.log_every == 0 or position.batch + 1 == per_epoch
            self.norm = self.engine.step(measure=logged)
            position.step += 1
        position.batch += 1
        if position.batch == per_epoch:
            position.epoch, position.batch = position.epoch + 1, 0
        return last

    def _log_step(self) -> None:
        """Log the means since the last line, and the weights, rates and gradient of the step that was just made."""
        self.losses.read(self.meter)
        found, self.meter = distributed.gathered(self.meter), Meter()
        if self.log is None:
            return
        position, groups = self.position, self.engine.optimiser.param_groups
        record = {"split": "train", "step": position.step, "epoch": position.epoch, **means(found)}
        record["weights"] = self.trainable.objective.weights(position.step - 1)
        self.log.write({**record, "lr": {group["name"]: group["lr"] for group in groups}, "grad_norm": self.norm})

    def _names(self, position: _Position) -> list[str]:
        """Return the names of this process's clips of a batch."""
        names = self.trainable.names
        return [str(i) if names is None else names[i] for i in self.batches.share(position.epoch, position.batch)]

    def _require_finite_weights(self) -> None:
        """A finite loss can have a gradient that is not: what it leaves behind is not saved over good weights."""
        values = self.engine.bare.state_dict()
        bad = next((name for name, tensor in values.items() if not torch.isfinite(tensor).all()), None)
        if bad is not None:
            position = self.position
            raise SltError(
                f"{self.title}: after step {position.step}, of epoch {position.epoch + (position.batch > 0)}, {bad} is "
                "not finite, and training cannot go on from there; lower training.optimiser.lr or set "
                "training.optimiser.clip_norm"
            )

    def _validates(self) -> bool:
        """Whether the epoch that has just ended is one that is validated."""
        epoch = self.position.epoch
        return epoch > 0 and (epoch % self.config.validate_every == 0 or epoch == self.config.epochs)

    def _is_validated(self) -> bool:
        return self.saved is None or self.saved.meta.get("validated", True)

    def _is_given_up(self) -> bool:
        ask = self.trainable.give_up
        return ask is not None and self.position.epoch < self.config.epochs and distributed.first(ask)

    def _validate(self, progress: tqdm) -> None:
        """Score the weights that have just been saved, in float32, and note the score in their checkpoint."""
        position, model = self.position, self.engine.result
        model.eval()
        with torch.no_grad():
            scores = self.trainable.validate(model)
        scores = distributed.first(lambda: scores)  # that of the first counts, whatever the others' rounding
        score = scores[self.trainable.score]
        better = score >= position.best_score if self.trainable.higher_is_better else score <= position.best_score
        if better or math.isnan(position.best_score):  # ties go to the later one, as published
            position.best_score, position.best_step = score, position.step
        if self.log is not None:
            assert self.saved is not None
            said = {"protocol": self.trainable.protocol} if self.trainable.protocol else {}
            self.log.write({"split": "dev", "step": position.step, "epoch": position.epoch, **scores, **said})
            self.saved = self.saved.with_meta(**self._best(), validated=True)
            self._tidy()
        progress.clear()
        shown = in_words(scores) + self.speed.text()
        log.info("%s: epoch %d of %d: %s", self.title, position.epoch, self.config.epochs, shown)
        self.speed.resume()

    def _save(self) -> None:
        """Checkpoint, then the pointer to the best one, then pruning: a crash between any two is harmless."""
        of_each = distributed.gathered(({"random": random_state(), "means": asdict(self.meter)}, self.rejected))
        if distributed.is_main():
            position = self.position
            state = {
                **self.engine.state(),
                "processes": [own for own, _ in of_each],
                "position": {"step": position.step, "epoch": position.epoch, "batch": position.batch},
            }
            validated = not (position.batch == 0 and self._validates())
            meta = {"epoch": position.epoch, **self._best(), "validated": validated, "processes": distributed.world()}
            root = self.folder / "checkpoints"
            self.saved = save_checkpoint(root, position.step, self.engine.result, state, meta)
            self._tidy()
            rejected = {name: reason for _, found in of_each for name, reason in found.items()}
            if rejected and self.trainable.on_rejected is not None:
                self.trainable.on_rejected(rejected)
            if self.on_checkpoint is not None:
                self.on_checkpoint()
        self.saved_at = time.monotonic()
        distributed.barrier()

    def _best(self) -> dict[str, Any]:
        score = self.position.best_score
        return {"best_step": self.position.best_step, "best_score": None if math.isnan(score) else score}

    def _tidy(self) -> None:
        """Point to the best checkpoint and delete those that are neither best nor newest."""
        if distributed.is_main():
            best = self.position.best_step if self.position.best_step >= 0 else None
            if best is not None:
                write_json(self.folder / BEST, {"step": best, self.trainable.score: self.position.best_score})
            prune(self.folder / "checkpoints", self.config.keep_last, best)

    def _open_log(self, name: str) -> RunLog:
        """Open a log without the lines of work that is done again."""
        return RunLog(self.folder / name, resume_step=self.position.step, validated=self._is_validated())


def _require_work_for_all(config: TrainingConfig) -> None:
    world, size = distributed.world(), config.batch_size
    if size >= world:
        return
    clips = size * config.accumulate
    cure = f"set training.batch_size={clips} and training.accumulate=1" if clips >= world else f"start {clips} at most"
    raise SltError(f"training.batch_size is {size}, the clips that {world} processes share out; {cure}")


def _newest(folder: Path, title: str) -> Checkpoint | None:
    """Return the checkpoint to go on from.

    Raises:
        SltError: it was written by another number of processes.
    """
    saved = list_checkpoints(folder / "checkpoints")
    if not saved:
        return None
    before, now = saved[-1].meta.get("processes", 1), distributed.world()
    if before != now:
        raise SltError(
            f"{title}: {folder} was trained by {before} {_processes(before)} up to step {saved[-1].meta['step']}, and "
            f"now there {'is' if now == 1 else 'are'} {now}, whose draws would be others; go on with {before} "
            f"(--processes {before}, or torchrun --nproc-per-node {before}), or add --overwrite to start anew"
        )
    return saved[-1]


def _padded_alike(batch: dict[str, Any], padding: Mapping[str, Any]) -> dict[str, Any]:
    """Pad this process's share to the longest of the whole batch."""
    sizes = {name: batch[name].shape[dim] for name, (dim, _) in padding.items()}
    of_each = distributed.gathered(sizes)
    missing = {name: max(each[name] for each in of_each) - size for name, size in sizes.items()}
    longer = {name: padding[name][1](batch[name], more) for name, more in missing.items() if more}
    return {**batch, **longer}


def _processes(number: int) -> str:
    return "process" if number == 1 else "processes"


def _freeze_the_rest(trainable: Trainable) -> None:
    """Freeze the parameters in no group: several processes would wait for the gradient that one of them never gets."""
    grouped = {id(parameter) for group in trainable.parameter_groups.values() for parameter in group}
    for parameter in trainable.model.parameters():
        if id(parameter) not in grouped:
            parameter.requires_grad_(False)
