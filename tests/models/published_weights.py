"""Weights of ours as the published code would have written them, copies and all; and a pickle that calls."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BRIDGE = "translation_network.gaussian_net."
_BRIDGE = {"prior_head": "prior_net", "posterior_head": "posterior_net", "recover": "recover_layer", "norm": "ln"}
_COPIES = ("model.lm_head", "model.model.encoder.embed_tokens", "model.model.decoder.embed_tokens")


class Calls:
    """Pickles into a call of `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def as_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a CV-SLT model with one attention under its published names."""
    published = {"recognition_network.visual_head.pe.pe": torch.zeros(1, 5, 2)}
    for name, value in state.items():
        for key in _published_names(name):
            published[key] = value.clone()
    shared = published["translation_network.model.model.shared.weight"]
    return published | {f"translation_network.{name}.weight": shared.clone() for name in _COPIES}


def write_checkpoint(path: Path, state: Mapping[str, Tensor], **more: Any) -> Path:
    """Write a checkpoint of step 90 with best score 12.5."""
    torch.save({"model_state": dict(state), "epoch": 3, "global_step": 90, "best_score": 12.5, **more}, path)
    return path


def _published_names(name: str) -> list[str]:
    if name.startswith("front.head."):
        return [f"recognition_network.visual_head.{name.removeprefix('front.head.')}"]
    part, _, rest = name.removeprefix("translator.").partition(".")
    module, _, leaf = rest.partition(".")
    if part == "mapper":
        return [f"vl_mapper.{rest}"]
    if part == "gaussian" and module == "attention":
        return [f"{BRIDGE}{path}_variator.attn.{leaf}" for path in ("prior", "posterior")]
    if part == "gaussian":
        return [f"{BRIDGE}{_BRIDGE[module]}.{leaf}"]
    encoder = rest.removeprefix("model.encoder.")
    again = [f"translation_network.encoder.{encoder}"] if encoder != rest else []
    return [f"translation_network.model.{rest}", *again]


_UNITS = {"0.0": "conv_s", "0.1": "bn_s", "1.0": "conv_t", "1.1": "bn_t"}
_UNIT = {"0": "conv", "1": "bn"}


def s3d_as_published(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The trunk of an S3D (`features.<i>...`) under its published names (FACTS 3.5), behind a prefix."""
    found = {}
    for name, value in state.items():
        kind, element, *path, leaf = name.split(".")
        if kind == "features":
            found[".".join([f"{prefix}base", element, *_published_path(path), leaf])] = value.clone()
    return found


def encoder_as_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a visual encoder as that of a published Sign2Gloss."""
    trunk = {name.removeprefix("s3d."): value for name, value in state.items() if name.startswith("s3d.")}
    head = {name: value.clone() for name, value in state.items() if name.startswith("head.")}
    return {
        **s3d_as_published(trunk, "recognition_network.visual_backbone.backbone."),
        **{f"recognition_network.visual_{name}": value for name, value in head.items()},
        "recognition_network.visual_head.pe.pe": torch.zeros(1, 5, 2),
    }


def _published_path(path: list[str]) -> list[str]:
    branch, *unit = path if path[0].startswith("branch") else ["", *path]
    if branch in ("branch1", "branch2", "branch3"):
        first, *unit = unit
        branch = f"{branch}.{first}"
    elif branch:
        branch = f"{branch}.0"
    known = _UNITS if len(unit) == 2 else _UNIT
    return [*([branch] if branch else []), known[".".join(unit)]]
