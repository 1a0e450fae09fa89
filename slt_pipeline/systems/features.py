"""The feature store of a recipe: opened only if it is the one that the recipe's encoder makes."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from cache import FeatureStore
from cache.header import HEADER_PATH
from cache.index import FOLDER
from slt_pipeline.config.provenance import ABSENT, require_made_with
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.runs import holds_encoder
from slt_pipeline.config.stages import FeaturesIn
from slt_pipeline.config.taps import STREAMS, Stream
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import require_unchanged
from slt_pipeline.corpora.load import media_root
from slt_pipeline.errors import SltError
from slt_pipeline.files import kept, read_json_lines
from slt_pipeline.systems.recogniser import OR_USE_ENCODER, encoder_fingerprint, trained_encoder
from slt_pipeline.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)

_LOOKED_AT = 32
"""Clips of a split whose media are compared each time that their features are used: at most twice as many."""

_RESIDENT: dict[FeaturesIn, Literal["no", "auto", "yes"]]
_RESIDENT = {"files": "no", "memory": "yes", "auto": "auto", "device": "no"}  # there they are held by the data set


def open_features(recipe: Recipe, *, features_in: FeaturesIn = "files") -> FeatureStore:
    """Open the recipe's store for reading.

    Args:
        recipe: names the store, and the encoder that must have made it.
        features_in: where its streams are while they are read; `device` is for the data set to see to.

    Raises:
        SltError: there is none, or other weights or settings made it; the first difference is named with both values.
    """
    path = recipe.store
    if isinstance(path, Path) and not path.exists():
        raise SltError(f"no feature store at {path}; make it with {_extraction(recipe)}{OR_USE_ENCODER}")
    resident = _RESIDENT[features_in]
    # elsewhere nobody sees at once whether it has changed
    store = _opened(path, resident) if isinstance(path, Path) else _open(path, resident)
    if recipe.encoder_folder.exists():
        require_features_of(store, recipe, trained_encoder(recipe))
    else:
        log.warning("%s is used as it is: there is no %s to compare it with", path, recipe.encoder_folder)
    return store


def _extraction(recipe: Recipe) -> str:
    """Return what makes the store of a recipe: where it names the run of an encoder, a command that names it, too."""
    encoder = recipe.uses.encoder
    if encoder is not None and recipe.extract.store is None and holds_encoder(Path(encoder)):
        return f"`slt extract --run {encoder}`"
    return "`slt extract --split all` and the same recipe"


def _open(path: str | Path, resident: Literal["no", "auto", "yes"]) -> FeatureStore:
    return FeatureStore.open(path, resident=resident, check="first")  # which costs next to nothing


@kept(lambda path, _: [path / HEADER_PATH, path / FOLDER])  # where whatever is committed or removed shows
def _opened(path: Path, resident: Literal["no", "auto", "yes"]) -> FeatureStore:
    return _open(path, resident)


def require_features_of(
    store: FeatureStore, recipe: Recipe, encoder: Checkpoint, device: torch.device | None = None
) -> None:
    """Refuse a store whose features are not those that an encoder makes with a recipe.

    Args:
        store: holds them.
        recipe: says how they should be made.
        encoder: makes them.
        device: where more of them are to be made; None: they are only read.

    Raises:
        SltError: the first difference is named with both values.
    """
    if "encoder_weights" not in store.fingerprint:
        raise SltError(
            f"the store {store.path} does not say which encoder made it, and {recipe.encoder_folder} has one; give it "
            "another folder with -o extract.store=..., or read it with a recipe that has no encoder of its own"
        )
    made_on = store.recorded.get("device", ABSENT)  # of a store whose fingerprint does not say it: a GPU by its name
    require_made_with(
        {"device": made_on if made_on in ("cpu", ABSENT) else "cuda", **store.fingerprint},
        fingerprint(recipe, encoder, device),
        f"the store {store.path}",
        "set it back, or extract into another folder with -o extract.store=...",
    )


def widths_of(store: FeatureStore) -> dict[Stream, int]:
    """Return the width D of every stream that a store holds."""
    return {name: store.streams[name].dim for name in STREAMS if name in store.streams}


def fingerprint(recipe: Recipe, encoder: Checkpoint, device: torch.device | None = None) -> dict[str, Any]:
    """Return what makes the features: whatever changes a number in the store is named here.

    The clips are not: the store remembers each clip's own source (`corpora.features.clip_source`), so that a manifest
    may grow.
    """
    return {**encoder_fingerprint(recipe, encoder, device), "dtype": recipe.extract.dtype}


def rejected_path(recipe: Recipe) -> Path:
    """Return where extraction lists the clips that it could not encode: beside the store, or where it would be."""
    beside = recipe.store if isinstance(recipe.store, Path) else recipe.run_folder("features")
    return beside.parent / "rejected.jsonl"


def read_rejected(recipe: Recipe) -> list[dict[str, str]]:
    """Return those clips: id and reason."""
    return read_json_lines(rejected_path(recipe))


def encodable(recipe: Recipe, store: FeatureStore, clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips without those that extraction had to reject, which are counted in a warning.

    Of some of them it is looked at whether their media, where they are there, are those that the features were made
    from: another corpus may have the same names. (`slt extract` looks at all.)

    Raises:
        SltError: clips have changed since they were stored.
    """
    listed = {row["id"] for row in read_rejected(recipe)}
    kept = [clip for clip in clips if clip.id not in listed or clip.id in store]
    require_unchanged(store, kept[:: max(1, len(kept) // _LOOKED_AT)], media_root(recipe.corpus))
    if len(kept) < len(clips):
        log.warning("%d of %d clips are left out: see %s", len(clips) - len(kept), len(clips), rejected_path(recipe))
    return kept
