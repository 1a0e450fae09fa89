"""A run folder: what a stage was given, whether it is done, and the refusal to mix two experiments in one folder."""

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, write_json
from slt_pipeline.training.loop import Job, train

log = logging.getLogger(__name__)

Plan = tuple[Mapping[str, Path | str | None], Mapping[str, Path | str]]
"""What a stage would read and write, by name: what `--dry-run` prints."""

# Settings that change how a run goes, not what comes out of it.
_FREE = {"num_workers", "log_every", "checkpoint_minutes", "keep_last"}


@dataclass(frozen=True)
class Run:
    """An opened run folder."""

    folder: Path
    stage: str

    @property
    def result(self) -> dict[str, Any] | None:
        """What the finished run reported, or None."""
        path = self.folder / "result.json"
        return read_json(path) if path.is_file() else None

    def train(self, job: Job, config: TrainingConfig, seed: int, device: torch.device) -> dict[str, Any]:
        """Train, from where an earlier call was stopped, and mark the run as done."""
        ended = train(job, config, self.folder, seed=seed, device=device, title=self.stage)
        return self.finish({"score": job.score, "best_score": ended.best_score, "best_step": ended.best_step})

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Mark the run as done."""
        write_json(self.folder / "result.json", dict(result))
        return dict(result)


def open_run(
    recipe: Recipe, stage: str, inputs: Mapping[str, Any], *, overwrite: bool = False, folder: Path | None = None
) -> Run:
    """Open the stage's run folder and save the resolved recipe in it.

    **Arguments:** `inputs`: everything that decides the result (recipe sections, hashes of what is read).

    **Raises:** SltError if the folder holds work made from other inputs; the first difference is named.
    """
    folder = folder or recipe.run_folder(stage)
    if overwrite and folder.exists():
        shutil.rmtree(folder)
    now = flatten(inputs)
    if (folder / "inputs.json").is_file():
        before = read_json(folder / "inputs.json")
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise SltError(
                    f"{folder} holds a run made with {key} = {before.get(key)!r}, but now it is {now.get(key)!r}; "
                    f"add --overwrite to start anew, or -o runs_dir=... to keep both"
                )
    folder.mkdir(parents=True, exist_ok=True)
    save_recipe(recipe, folder)
    write_json(folder / "inputs.json", now)
    return Run(folder, stage)


def training_inputs(config: TrainingConfig) -> dict[str, Any]:
    """The part of a training section that decides the result."""
    return {key: value for key, value in config.model_dump(mode="json").items() if key not in _FREE}


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SltError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping by dotted key, so that a difference has a name."""
    if isinstance(value, Mapping) and value:
        flat: dict[str, Any] = {}
        for key, inner in value.items():
            flat.update(flatten(inner, f"{prefix}.{key}" if prefix else str(key)))
        return flat
    return {prefix: list(value) if isinstance(value, tuple) else value}
