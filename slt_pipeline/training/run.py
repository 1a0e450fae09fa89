"""A run folder: what a stage was given, whether it is done, and the refusal to mix two experiments in one folder."""

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.provenance import differences, flatten, require_made_with
from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import held, read_json, require_place, write_json
from slt_pipeline.training import distributed
from slt_pipeline.training.checkpoint import BEST, RESULT, aside, has_best, list_checkpoints, save_checkpoint
from slt_pipeline.training.loop import train
from slt_pipeline.training.trainable import Result, Trainable

log = logging.getLogger(__name__)

INPUTS, EXTENDED, PRUNED = "inputs.json", "extended.json", "pruned.json"
_EPOCHS = "training.epochs"
_CURE = "add --overwrite to start anew, or -o name=...{to_keep_both} to keep both"

Plan = tuple[Mapping[str, Path | str | None], Mapping[str, Path | str]]
"""What a command would read and write, by name: what `--dry-run` prints."""


@dataclass(frozen=True)
class Run:
    """A run folder that is there or is to be made; nothing is changed before `begin`."""

    folder: Path
    stage: str
    inputs: Mapping[str, Any]
    """Everything that decides the result: recipe sections, hashes of what is read."""
    anew: bool = False
    """Whether an earlier run in the folder is to be given up for this one."""
    extends: int | None = None
    """Epochs that the run in the folder was planned for, which is to go on for more."""

    result: dict[str, Any] | None = None
    """What the finished run reported; None: it is not finished, or is given up."""

    def begin(self, recipe: Recipe, describe: Callable[[Path], None] | None = None) -> Path:
        """Make the folder, or go on in it, and save the resolved recipe and the inputs: the first process alone does.

        An earlier run that is to be given up is moved aside until the new one has written its first checkpoint.

        Args:
            recipe: of the run.
            describe: writes into the folder what else is needed to open the run.

        Returns:
            the folder.

        Raises:
            SltError: another command is training in this folder.
        """
        distributed.first(lambda: self._begin(recipe, describe))
        return self.folder

    def _begin(self, recipe: Recipe, describe: Callable[[Path], None] | None) -> None:
        with _held(self.folder):
            if self.extends is not None:
                before = read_json(self.folder / EXTENDED) if (self.folder / EXTENDED).is_file() else []
                write_json(self.folder / EXTENDED, [*before, self.extends])
                (self.folder / RESULT).unlink(missing_ok=True)
            elif not self.anew:  # another command may have been there meanwhile
                _require_made_of(self.folder, self.inputs, _CURE.format(to_keep_both=""))
            elif self.folder.exists():
                _remove(aside(self.folder))
                self.folder.rename(aside(self.folder))
            save_recipe(recipe, self.folder)
            write_json(self.folder / INPUTS, flatten(self.inputs))
            if describe is not None:
                describe(self.folder)

    def train(
        self,
        trainable: Trainable,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
        at_end: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Train, from where an earlier call was stopped, mark the run as done, and tell its score beside its gate.

        One that was given up on the way is not done: `pruned.json` says so, and `pruned_at` of what is returned.
        If it fails before its first checkpoint, the run that was moved aside is put back.

        Args:
            trainable: what is trained.
            config: how.
            seed: of all that is drawn.
            device: where it computes.
            at_end: what else belongs to a finished run, done with its best checkpoint before it is marked as one.

        Raises:
            SltError: another command is training in this folder.
        """
        with ExitStack() as stack:
            distributed.first(lambda: self._hold(stack))
            try:
                ended = train(
                    trainable,
                    config,
                    self.folder,
                    seed=seed,
                    device=device,
                    title=self.stage,
                    on_checkpoint=lambda: _remove(aside(self.folder)),
                )
            except (Exception, KeyboardInterrupt):  # the second one, which waits for no step
                if distributed.is_main():
                    _put_back(self.folder)
                raise
            result = {"score": trainable.score, "best_score": ended.best_score, "best_step": ended.best_step}
            if ended.pruned_at is not None:
                log.info("%s: pruned at epoch %d of %d", self.stage, ended.pruned_at, config.epochs)
                result = {"pruned_at": ended.pruned_at, **result}
                distributed.first(lambda: write_json(self.folder / PRUNED, result))
                return result
            if at_end is not None:
                at_end()
            _tell_gate(self.stage, trainable, config.gate, ended)
            return self.finish({**result, "processes": distributed.world()})

    def _hold(self, until: ExitStack) -> None:
        until.enter_context(_held(self.folder))
        if (self.folder / INPUTS).is_file() and not _begun_with(self.folder, self.inputs):
            raise SltError(f"the run {self.folder} was begun anew by another process; wait for its end, or stop it")

    def keep(
        self, model: torch.nn.Module, step: int, score: str, best_score: float | None, origin: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Take weights that others have trained as the run's only checkpoint, and mark it as done.

        Args:
            model: holds them.
            step: optimiser steps that they were trained for.
            score: name of the score that they were chosen by.
            best_score: its value, if it is known.
            origin: where they are from, for the result.
        """
        try:
            save_checkpoint(self.folder / "checkpoints", step, model, {}, dict(origin))
            write_json(self.folder / BEST, {"step": step, score: best_score})
            _remove(aside(self.folder))
        except Exception:
            _put_back(self.folder)
            raise
        return self.finish({"score": score, "best_score": best_score, "best_step": step, **origin})

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Mark the run as done."""
        distributed.first(lambda: write_json(self.folder / RESULT, dict(result)))
        (self.folder / PRUNED).unlink(missing_ok=True)  # given up by a search, and gone on with since
        return dict(result)


def warn_if_unfinished(folder: Path) -> None:
    """Say that a run which is opened was stopped on the way: its best weights are those so far."""
    if not (folder / RESULT).is_file() and (folder / PRUNED).is_file():
        at = read_json(folder / PRUNED, dict)["pruned_at"]
        log.warning("%s was pruned at epoch %d by its search: its weights are the best until then", folder, at)
    elif not (folder / RESULT).is_file():
        log.warning("%s is not finished: its weights are the best so far; run its command again to go on", folder)


def find_run(
    folder: Path,
    stage: str,
    inputs: Mapping[str, Any],
    *,
    overwrite: bool = False,
    extend: bool = False,
    to_keep_both: str = "",
) -> Run:
    """Look at a run folder: new, begun or finished.

    Args:
        folder: where the run lies or will lie.
        stage: names the run.
        inputs: everything that decides the result, as config sections and plain values.
        overwrite: start anew, whatever is there.
        extend: go on for more epochs than what is there was planned for, if nothing else differs. The learning rate
            goes on as if all of them had been planned.
        to_keep_both: further options that the same recipe under another name needs.

    Raises:
        SltError: the folder holds work made from other inputs; the first difference is named.
    """
    if overwrite and extend:
        raise SltError("--overwrite starts anew and --extend goes on; leave out one of them")
    return distributed.first(lambda: _found(folder, stage, inputs, overwrite, extend, to_keep_both))


def _found(
    folder: Path, stage: str, inputs: Mapping[str, Any], overwrite: bool, extend: bool, to_keep_both: str
) -> Run:
    if aside(folder).exists() and (overwrite or not _begun_with(folder, inputs)):
        with _held(folder):  # or it is a run that another process is training
            _put_back(folder)  # what a kill before the first checkpoint has left
    fewer = _fewer_epochs(folder, inputs)
    if fewer is not None and extend:
        return Run(folder, stage, inputs, extends=fewer)
    if not overwrite:
        more = "" if fewer is None else f"add --extend to go on from {fewer} to {flatten(inputs)[_EPOCHS]} epochs, "
        _require_made_of(folder, inputs, more + _CURE.format(to_keep_both=to_keep_both))
    done = folder / RESULT
    result = read_json(done, dict) if done.is_file() and not overwrite else None
    if result is None:
        require_place(folder, folder=True)
    elif not has_best(folder):
        log.warning("%s holds a finished run whose best checkpoint is gone; put it back, or add --overwrite", folder)
    return Run(folder, stage, inputs, anew=overwrite, result=result)


def _held(folder: Path) -> AbstractContextManager[None]:
    """Keep other commands out of a run folder; the lock lies beside it, so that the folder can be moved."""
    return held(folder.with_name(f".{folder.name}.lock"), f"the run {folder}")


def _tell_gate(stage: str, trainable: Trainable, gate: float | None, ended: Result) -> None:
    """Say whether a run has come as far as the next stage needs it."""
    if gate is None:
        return
    passed = ended.best_score >= gate if trainable.higher_is_better else ended.best_score <= gate
    expected = f"dev {trainable.score} expected {'>=' if trainable.higher_is_better else '<='} {gate:g}"
    tell = log.info if passed else log.warning
    tell(
        "%s: %s, you have %.4g%s",
        stage,
        expected,
        ended.best_score,
        "" if passed else ": look at it before you go on, or set training.gate",
    )


def _require_made_of(folder: Path, inputs: Mapping[str, Any], cure: str) -> None:
    unfinished = not (folder / RESULT).is_file()
    if (folder / INPUTS).is_file():
        require_made_with(
            read_json(folder / INPUTS, dict), inputs, f"{folder} holds a run that", cure, unfinished=unfinished
        )
    elif not unfinished or list_checkpoints(folder / "checkpoints"):
        raise SltError(f"{folder} holds a run without {INPUTS}, so that it may be made from anything; {cure}")


def _fewer_epochs(folder: Path, inputs: Mapping[str, Any]) -> int | None:
    """Return the epochs that a run was planned for, if they are fewer and nothing else differs."""
    if not (folder / INPUTS).is_file():
        return None
    found = differences(read_json(folder / INPUTS, dict), inputs, unfinished=True)
    planned = [(was, now) for key, was, now in found if key == _EPOCHS]  # an imported run has none
    epochs = [was for was, now in planned if isinstance(was, int) and isinstance(now, int) and was < now]
    return epochs[0] if epochs and len(found) == 1 else None


def _begun_with(folder: Path, inputs: Mapping[str, Any]) -> bool:
    return (folder / INPUTS).is_file() and read_json(folder / INPUTS, dict) == flatten(inputs)


def _put_back(folder: Path) -> None:
    """Undo the moving aside, unless the new run has something to show by now."""
    if not aside(folder).exists():
        return
    if (folder / RESULT).is_file() or list_checkpoints(folder / "checkpoints"):
        _remove(aside(folder))
        return
    _remove(folder)
    aside(folder).rename(folder)
    log.warning("%s is as it was before: the new run came to nothing", folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
