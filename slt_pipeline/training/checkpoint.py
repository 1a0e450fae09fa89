"""Checkpoints: `step-00012000/` holds weights, trainer state and, written last, `meta.json` as the finished mark."""

import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_model

from slt_pipeline.config.runs import SWEEP_FILE
from slt_pipeline.errors import SltError, refused_by_torch
from slt_pipeline.files import file_hash, read_json, replacing, write_json

WEIGHTS, STATE, META = "weights.safetensors", "state.pt", "meta.json"
RESULT = "result.json"
"""What a finished run reported: it is not trained again while this lies in its folder."""
BEST = "best.json"
"""Names the best checkpoint of a run: its step, and its score."""


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint on disk."""

    folder: Path
    meta: dict[str, Any]

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights' file: what `meta.json` says, or of the file where an earlier version wrote it."""
        return str(self.meta.get("weights") or "") or file_hash(self.folder / WEIGHTS)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers by name, on the CPU. Of tied parameters one name is stored.

        Raises:
            SltError: the file is damaged, or is not the one that the checkpoint was written with.
        """
        self._require_own_weights()
        return load_file(self.folder / WEIGHTS)

    def load_model(self, model: torch.nn.Module) -> None:
        """Copy the weights into `model`.

        Raises:
            SltError: names or shapes differ, or the file is not the one that the checkpoint was written with.
        """
        self._require_own_weights()
        try:
            load_model(model, self.folder / WEIGHTS, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise SltError(f"checkpoint {self.folder} does not fit the recipe's model: {reason}") from error
        except (OSError, SafetensorError) as error:
            raise self._damaged(WEIGHTS, error) from error

    @property
    def best(self) -> tuple[int, float]:
        """Step and score of the best checkpoint until then; -1 and NaN: there was none, or it is gone."""
        step, score = self.meta["best_step"], self.meta["best_score"]
        if score is None or not (self.folder.with_name(_name(step)) / META).is_file():
            return -1, float("nan")
        return step, score

    def load_state(self) -> dict[str, Any]:
        """Read the states of optimiser, scaler and random generators."""
        try:
            return torch.load(self.folder / STATE, weights_only=True, map_location="cpu")
        except UnpicklingError as error:
            raise self._damaged(STATE, refused_by_torch(error)) from None
        except (OSError, EOFError, RuntimeError, LookupError, ValueError) as error:
            raise self._damaged(STATE, error) from error

    def with_meta(self, **changes: Any) -> "Checkpoint":
        """Write what has become known of it since, and return it."""
        changed = replace(self, meta={**self.meta, **changes})
        write_json(self.folder / META, changed.meta)
        return changed

    def _require_own_weights(self) -> None:
        if not (self.folder / WEIGHTS).is_file():
            raise self._damaged(WEIGHTS, "it is missing")
        found = file_hash(self.folder / WEIGHTS)
        if found != self.weights_hash:
            raise self._damaged(WEIGHTS, ValueError(f"its SHA-256 is {found[:12]}, not {self.weights_hash[:12]}"))

    def _damaged(self, name: str, error: Exception | str) -> SltError:
        reason = " ".join(str(error).split())[:120]
        return SltError(f"{self.folder / name} cannot be read ({reason}); {self._cure()}")

    def _cure(self) -> str:
        root = self.folder.parent
        if (root.parent / RESULT).is_file():
            return "its run is finished: put back a whole copy, or train it anew with --overwrite"
        others = [other.folder.name for other in list_checkpoints(root) if other.folder != self.folder]
        return f"delete {self.folder} to " + (f"go on from {others[-1]}" if others else "begin anew: there is no other")


def save_checkpoint(
    root: Path, step: int, model: torch.nn.Module, state: dict[str, Any], meta: dict[str, Any]
) -> Checkpoint:
    """Write root/step-<step>/; a crash on the way leaves a folder without `meta.json`, which nobody reads.

    Raises:
        SltError: the disk does not take it.
    """
    folder = root / _name(step)
    _remove(folder)
    folder.mkdir(parents=True)
    try:
        with replacing(folder / WEIGHTS) as scratch:
            save_model(model, str(scratch))
        torch.save(state, folder / STATE)
        _flush(folder / STATE)
    except (OSError, SafetensorError, RuntimeError) as error:  # of a disk that is full, the writers raise no OSError
        shutil.rmtree(folder)
        free = shutil.disk_usage(root).free
        reason = str(error).splitlines()[0]
        raise SltError(
            f"{folder} cannot be written ({reason}), with {free} bytes free; make room, and run the same command again "
            "to go on from the last checkpoint"
        ) from error
    meta = {"step": step, "weights": file_hash(folder / WEIGHTS), **meta}
    write_json(folder / META, meta)
    return Checkpoint(folder, meta)


def list_checkpoints(root: Path) -> list[Checkpoint]:
    """Return the finished checkpoints, by rising step number."""
    found = []
    for folder in root.glob("step-*"):
        if folder.name[5:].isdigit() and (folder / META).is_file():
            found.append(Checkpoint(folder, read_json(folder / META, dict)))
    return sorted(found, key=lambda c: c.meta["step"])


def best_checkpoint(run_folder: Path, made_by: str, or_else: str = "") -> Checkpoint:
    """Return the best checkpoint of a run.

    Args:
        run_folder: the run's.
        made_by: the command that makes it, for the error.
        or_else: another cure, for the error.

    Raises:
        SltError: there is none.
    """
    if (found := _best(run_folder)) is not None:
        return found
    if (run_folder / SWEEP_FILE).is_file():
        raise SltError(f"{run_folder} is a sweep; name the folder of one of its runs, which lie in it")
    if (run_folder / RESULT).is_file():
        raise SltError(
            f"{run_folder} holds a finished run whose best checkpoint is gone; put it back, or train anew with "
            f"`{made_by} --overwrite` and the same recipe{or_else}"
        )
    if aside(run_folder).exists():
        or_else = ", which goes on, or puts back the earlier run that --overwrite has moved aside"
    raise SltError(f"no trained weights in {run_folder}; make them with `{made_by}` and the same recipe{or_else}")


def has_best(run_folder: Path) -> bool:
    """Whether the best checkpoint of a run is there."""
    return _best(run_folder) is not None


def _best(run_folder: Path) -> Checkpoint | None:
    pointer = run_folder / BEST
    if not pointer.is_file():
        return None
    step = read_json(pointer, dict).get("step")
    if not isinstance(step, int):
        raise SltError(f"{pointer} names the step {step!r}, which is no number; put back a whole copy of the run")
    folder = run_folder / "checkpoints" / _name(step)
    return Checkpoint(folder, read_json(folder / META, dict)) if (folder / META).is_file() else None


def aside(run_folder: Path) -> Path:
    """Return where a run lies that is given up once the new one in its folder has a checkpoint."""
    return run_folder.with_name(f".{run_folder.name}.before")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, on the CPU.

    Raises:
        SltError: it is no safetensors file.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise SltError(f"{path} is no safetensors file that can be read: {error}") from error


def prune(root: Path, keep_last: int, keep_step: int | None) -> None:
    """Delete all but the newest `keep_last` checkpoints and the one of `keep_step`; unfinished ones too."""
    finished = list_checkpoints(root)
    kept = {c.folder for c in finished[-keep_last:]} | {c.folder for c in finished if c.meta["step"] == keep_step}
    for folder in root.glob("step-*"):
        if folder not in kept:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Delete a checkpoint, its finished mark first: killed on the way, it is an unfinished one."""
    (folder / META).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def seed_all(seed: int) -> None:
    """Seed every global random generator."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """State of every global random generator, in types that load with weights_only=True."""
    name, keys, pos, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
        "numpy": [str(name), [int(k) for k in np.asarray(keys)], int(pos), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, pos, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), pos, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
