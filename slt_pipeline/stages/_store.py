"""The feature store as phase two reads it: opened only if it is the one that the recipe's encoder makes."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from cache import FeatureStore
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.stages import Resident
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError
from slt_pipeline.stages._encoder import fingerprint
from slt_pipeline.training.checkpoint import best_checkpoint

log = logging.getLogger(__name__)


def rejected_path(recipe: Recipe) -> Path:
    """Where extraction lists the clips that it could not encode."""
    return recipe.store_folder.parent / "rejected.jsonl"


def read_rejected(recipe: Recipe) -> list[dict[str, str]]:
    """Those clips: id and reason."""
    path = rejected_path(recipe)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def encodable(recipe: Recipe, store: FeatureStore, clips: Sequence[Clip]) -> list[Clip]:
    """The clips without those that extraction had to reject, which are counted in a warning."""
    listed = {row["id"] for row in read_rejected(recipe)}
    kept = [clip for clip in clips if clip.id not in listed or clip.id in store]
    if len(kept) < len(clips):
        log.warning("%d of %d clips are left out: see %s", len(clips) - len(kept), len(clips), rejected_path(recipe))
    return kept


def open_features(recipe: Recipe, *, resident: Resident = "no", device: torch.device | None = None) -> FeatureStore:
    """The recipe's store, its streams held as `resident` says: on `device` if that is `device`.

    **Raises:** SltError if there is none, StoreError if other weights or settings made it, naming both values.
    """
    path = recipe.store_folder
    made_by = f"slt extract --split all -r {recipe.name}"
    held = {"resident": resident, "device": device if resident == "device" else None}
    if not path.exists():
        raise SltError(f"no feature store at {path}; make it with `{made_by}`")
    if recipe.run_folder("visual_train").exists():
        encoder = best_checkpoint(recipe.run_folder("visual_train"), made_by=f"slt visual-train -r {recipe.name}")
        return FeatureStore.open(path, fingerprint=fingerprint(recipe, encoder), **held)
    log.warning("%s is used as it is: there is no visual_train run to compare its fingerprint with", path)
    return FeatureStore.open(path, **held)
