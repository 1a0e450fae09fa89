"""Published checkpoints under our names: translators, Sign2Gloss and the S3D trunk, laid beside a model of ours."""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.matching import NO_USE, Match, lay_beside
from slt_pipeline.models.mbart_files import TIED_NAMES
from slt_pipeline.models.s3d import BLOCK_ENDS, S3D
from slt_pipeline.models.weights import s3d_name

CLASSES, PIECES, ROWS = "number of gloss classes", "number of text pieces", "number of rows of the gloss table"

_HEAD, _GAUSSIAN = "recognition_network.visual_head.", "translation_network.gaussian_net."
_SIZES = {
    "encoder.head.hidden": (f"{_HEAD}fc1.weight", 0),
    "encoder.head.feedforward": (f"{_HEAD}feedforward.pwff_layer.0.weight", 0),
    CLASSES: (f"{_HEAD}gloss_output_layer.weight", 0),
    PIECES: ("translation_network.model.model.shared.weight", 0),
    ROWS: ("translation_network.gloss_embedding.weight", 0),
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


def settings_of(state: Mapping[str, Tensor]) -> dict[str, int | str | bool]:
    """Return what published weights tell of the recipe that they belong to, by key; and the sizes of vocabularies."""
    found: dict[str, int | str | bool] = {
        name: state[key].shape[axis] for name, (key, axis) in _SIZES.items() if key in state
    }
    if "encoder.head.hidden" in found:
        found["encoder.head.positional_encoding"] = _COMPUTED in state
    keys = [f"{_GAUSSIAN}{path}_variator.attn.q_proj.weight" for path in ("prior", "posterior")]
    if all(key in state for key in keys):
        same = torch.equal(*(state[key] for key in keys))
        found["translator.attention"] = "shared" if same else "separate"
    return found


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
    """Lay a published translator beside the names and shapes of a model of ours; nothing is loaded."""
    own = model.state_dict()
    return lay_beside(state, own, lambda name: NO_USE if name == _COMPUTED else _serving(our_name(name), own))


def match_encoder(state: Mapping[str, Tensor], model: nn.Module, use_blocks: int) -> Match:
    """Lay a published Sign2Gloss beside a visual encoder that keeps so many blocks; nothing is loaded."""

    def name_of(published: str) -> str | None:
        network, _, rest = published.partition(".")
        part, _, name = rest.partition(".")
        if network != "recognition_network" or published == _COMPUTED:
            return NO_USE
        if part != "visual_backbone":
            return f"head.{name}" if part == "visual_head" else None
        ours = _trunk_name(published)
        return ours and (NO_USE if _element(ours) >= BLOCK_ENDS[use_blocks - 1] else f"s3d.{ours}")

    return lay_beside(state, model.state_dict(), name_of)


def match_trunk(state: Mapping[str, Tensor]) -> tuple[Match, S3DConfig]:
    """Lay an S3D of another project beside ours of as many blocks, 4 or 5; what is behind the trunk is of no use.

    Names of ours are those of `S3D`, `features.<i>...`.
    """
    ours = {name: _trunk_name(name) for name in state}
    inside = {name: state[key] for key, name in ours.items() if name}
    blocks = 5 if any(_element(name) >= BLOCK_ENDS[3] for name in inside) else 4
    config = S3DConfig(use_blocks=blocks, freeze_blocks=0, width=_width(inside))
    with torch.device("meta"):
        own = S3D(config).state_dict()
    return lay_beside(state, own, ours.__getitem__), config


def _trunk_name(published: str) -> str | None:
    """Return the name of an entry of S3D; None: one that is in the trunk and has no place here, as of a gated S3D."""
    try:
        return s3d_name(published) or NO_USE
    except SltError:
        return None


def _element(name: str) -> int:
    """Return the index of the element of S3D that an entry belongs to."""
    return int(name.split(".")[1])


def _width(trunk: Mapping[str, Tensor]) -> float:
    """Return the width of an S3D: 1 is the published one; another is told by the last element of block 4."""
    stem, last = (trunk.get(f"features.{name}.weight") for name in ("0.0.0", "12.branch1.1.0.0"))
    return 1.0 if stem is None or last is None or len(stem) == 64 else min(4.0, max(8, len(last)) / 320)


def _serving(name: str | None, own: Collection[str]) -> str | None:
    """Return the entry that a name of ours is kept under: one attention may serve the prior and the posterior."""
    if name not in own and name is not None:
        name = name.replace(".posterior_attention.", ".attention.")
    return name if name in own else None
