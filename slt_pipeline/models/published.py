"""Whole published checkpoints: read without running anything in them, under our names, checked one against one."""

import gzip
import io
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from slt_pipeline.errors import SltError
from slt_pipeline.models.mbart import TIED_NAMES

MAX_BYTES = 2**33
"""Largest checkpoint, unpacked, if it is packed by gzip; the published ones have about 1.5 GB."""

CLASSES, PIECES = "number of gloss classes", "number of text pieces"

_HEAD, _GAUSSIAN = "recognition_network.visual_head.", "translation_network.gaussian_net."
_SIZES = {
    "encoder.head.hidden": (f"{_HEAD}fc1.weight", 0),
    "encoder.head.feedforward": (f"{_HEAD}feedforward.pwff_layer.0.weight", 0),
    CLASSES: (f"{_HEAD}gloss_output_layer.weight", 0),
    PIECES: ("translation_network.model.model.shared.weight", 0),
    "translator.latent": (f"{_GAUSSIAN}recover_layer.weight", 1),
}
"""Where a size is written: the tensor and its axis."""
_SHARED = "model.shared.weight"
_BRIDGE = {
    "prior_net": "prior_head",
    "posterior_net": "posterior_head",
    "recover_layer": "recover",
    "ln": "norm",
    "prior_variator.attn": "attention",
    "posterior_variator.attn": "posterior_attention",
}
_BRIDGE_KEY = re.compile(rf"({'|'.join(map(re.escape, _BRIDGE))})\.(.+)")
_COMPUTED = f"{_HEAD}pe.pe"
"""The table of positions: a buffer there, computed here."""


@dataclass(frozen=True)
class PublishedCheckpoint:
    """What of a published checkpoint is of use; the states of its optimiser are not."""

    state: Mapping[str, Tensor]
    """Parameters and buffers under their published names."""
    step: int
    """Optimiser steps that it was trained for; 0: it does not say."""
    best_score: float | None
    """The best score of its training, in percent, as it says."""

    def settings(self) -> dict[str, int | str]:
        """Return what its tensors tell of the recipe that they belong to, by key; and the sizes of its vocabularies."""
        found: dict[str, int | str] = {
            name: self.state[key].shape[axis] for name, (key, axis) in _SIZES.items() if key in self.state
        }
        keys = [f"{_GAUSSIAN}{path}_variator.attn.q_proj.weight" for path in ("prior", "posterior")]
        if all(key in self.state for key in keys):
            same = torch.equal(*(self.state[key] for key in keys))
            found["translator.attention"] = "shared" if same else "separate"
        return found


@dataclass(frozen=True)
class Match:
    """A published state beside a model of ours."""

    found: Mapping[str, Tensor]
    """Of every name of ours that was found, its value."""
    missing: Sequence[str]
    """Names of ours that nothing stands for."""
    unexpected: Sequence[str]
    """Published names that nothing here has a use for."""
    misshapen: Sequence[str]
    """Names of ours whose shapes differ, with both."""
    unequal: Sequence[str]
    """Published names that stand for the same as another one and have other values."""

    def require_whole(self, what: str) -> None:
        """Refuse a state that is not the model's, one to one.

        Raises:
            SltError: the names, by kind.
        """
        kinds = {
            "missing": self.missing,
            "left over": self.unexpected,
            "of another shape": self.misshapen,
            "no copy of what it should repeat": self.unequal,
        }
        faults = [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
        if faults:
            raise SltError(
                f"{what} does not fit the recipe: {len(self.found)} names match, {', '.join(faults)}; set the recipe's "
                "system, sizes and vocabularies to the checkpoint's"
            )


def read_published(path: Path) -> PublishedCheckpoint:
    """Read a checkpoint of the published code, plain or packed by gzip; nothing in it is carried out.

    Raises:
        SltError: it asks for anything but tensors and plain data, is damaged, or is no such checkpoint.
    """
    content = _load(path)
    state = content.get("model_state") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        keys = ", ".join(map(str, list(content)[:3])) if isinstance(content, dict) else type(content).__name__
        raise SltError(f"{path} is no published checkpoint: expected tensors by name under model_state, found {keys}")
    if odd := [name for name, value in state.items() if not (isinstance(name, str) and _is_plain(value))]:
        raise SltError(f"{path}: {odd[0]} under model_state is no dense tensor of finite real numbers")
    step, score = content.get("global_step"), content.get("best_score")
    return PublishedCheckpoint(
        state,
        step if isinstance(step, int) and 0 <= step < 10**8 else 0,
        float(score) if isinstance(score, int | float) and math.isfinite(score) else None,
    )


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor holds all of its numbers, real and finite ones; one that only claims to be large does not."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_complex():
        return False
    held = value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    return held and bool(value.isfinite().all())


def our_name(published: str) -> str | None:
    """Return what an entry of a published model is called in `SignToText`; None: nothing here stands for it.

    Several published names may stand for one of ours: the text embedding has four, and CV-SLT lists its encoder twice
    (FACTS 9.5).
    """
    network, _, rest = published.partition(".")
    if network == "vl_mapper":
        return f"translator.mapper.{rest}"
    part, _, name = rest.partition(".")
    match network, part:
        case "recognition_network", "visual_head":
            return f"front.head.{name}"
        case "translation_network", "model":
            return f"translator.mbart.{_SHARED if name in TIED_NAMES else name}"
        case "translation_network", "encoder":
            return our_name(f"translation_network.model.model.encoder.{name}")
        case "translation_network", "gloss_embedding":
            return f"translator.gloss_table.{name}"
        case "translation_network", "gaussian_net":
            found = _BRIDGE_KEY.fullmatch(name)
            return found and f"translator.gaussian.{_BRIDGE[found[1]]}.{found[2]}"
    return None


def match_published(state: Mapping[str, Tensor], model: nn.Module) -> Match:
    """Lay a published state beside the names and shapes of a model of ours; nothing is loaded."""
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    unexpected, misshapen, unequal = [], [], []
    for published, value in state.items():
        if published == _COMPUTED:
            continue
        name = _serving(our_name(published), own)
        if name is None:
            unexpected.append(published)
        elif name in found and not (value is found[name] or torch.equal(value, found[name])):
            unequal.append(published)
        elif value.shape != own[name].shape:
            misshapen.append(f"{published} {tuple(value.shape)}, here {tuple(own[name].shape)}")
        else:
            found[name] = value
    missing = [name for name in own if name not in found and not any(name == our_name(key) for key in state)]
    return Match(found, missing, unexpected, misshapen, unequal)


def _serving(name: str | None, own: Collection[str]) -> str | None:
    """Return the entry that a name of ours is kept under: one attention may serve the prior and the posterior."""
    if name not in own and name is not None:
        name = name.replace(".posterior_attention.", ".attention.")
    return name if name in own else None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if not packed:
            return torch.load(path, map_location="cpu", weights_only=True)
        with gzip.open(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SltError(f"{path}: refused: unpacks to more than {MAX_BYTES} bytes")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else "it is no file of tensors, or a program"
        raise SltError(f"{path}: refused: {reason}; only tensors and plain data are read from a checkpoint") from None
    except SltError:
        raise
    except Exception as error:  # of damaged bytes torch, gzip and zlib raise almost anything
        reason = " ".join(str(error).split())[:120]
        raise SltError(f"{path}: not a checkpoint that can be read ({reason}); fetch it anew") from None
