"""Checkpoints of other projects, mapped onto the names used here."""

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from slt_pipeline.errors import SltError
from slt_pipeline.models.s3d import BLOCK_ENDS, S3D

Value = TypeVar("Value")

_UNITS = {"conv_s": "0.0", "bn_s": "0.1", "conv_t": "1.0", "bn_t": "1.1", "conv": "0", "bn": "1"}
_S3D_KEY = re.compile(r"(?:.*\.)?(?:(?P<published>base)|features)\.(?P<rest>\d+\..+)")


def convert_s3d_keys(state: Mapping[str, Value]) -> dict[str, Value]:
    """Return the S3D trunk of a checkpoint under our names, `features.<i>...`, in the order given (FACTS 3.4, 3.5).

    Takes the published names (`base.<i>...`, under any prefix: `module.`, `backbone.`,
    `recognition_network.visual_backbone.backbone.`), torchvision's (`features.<i>...`) and ours under `s3d.`.
    Entries outside of the trunk (classifiers, heads) are left out.

    Raises:
        SltError: there is no trunk, or an entry of it has no name here.
    """
    converted = {name: value for key, value in state.items() if (name := s3d_name(key))}
    if not converted:
        some = ", ".join(list(state)[:3]) or "none"
        raise SltError(f"the checkpoint holds no S3D trunk: expected keys base.<i>... or features.<i>..., got {some}")
    return converted


def s3d_name(key: str) -> str | None:
    """Return what an entry of an S3D trunk is called here; None: it is outside of the trunk.

    Raises:
        SltError: it is in the trunk and has no name here.
    """
    match = _S3D_KEY.fullmatch(key)
    return match and "features." + (_rename(match["rest"]) if match["published"] else match["rest"])


def convert_head_keys(state: Mapping[str, Value]) -> dict[str, Value]:
    """Return the visual head of a checkpoint under our names, which are the published ones without a prefix.

    Takes `visual_head.<name>` under any prefix. The table of positions (`pe.pe`) is left out: it is computed.

    Raises:
        SltError: there is no visual head.
    """
    converted = {
        key.rpartition("visual_head.")[2]: value
        for key, value in state.items()
        if "visual_head." in key and not key.endswith(".pe.pe")
    }
    if not converted:
        some = ", ".join(list(state)[:3]) or "none"
        raise SltError(f"the checkpoint holds no visual head: expected keys visual_head.<name>, got {some}")
    return converted


def load_s3d(s3d: S3D, state: Mapping[str, Tensor]) -> None:
    """Load the trunk of a checkpoint in any of the known layouts; blocks that `s3d` does not keep are left out.

    Raises:
        SltError: an entry is missing or of another shape; nothing is loaded then.
    """
    kept = BLOCK_ENDS[s3d.config.use_blocks - 1]
    given = {key: value for key, value in convert_s3d_keys(state).items() if int(key.split(".")[1]) < kept}
    for key, own in s3d.state_dict().items():
        if key not in given:
            # Old checkpoints may lack the counters of seen batches, which momentum makes irrelevant.
            if key.endswith("num_batches_tracked"):
                given[key] = own
                continue
            raise SltError(f"the checkpoint has no entry for {key}: it is not an S3D of {s3d.config.use_blocks} blocks")
        if given[key].shape != own.shape:
            have, need = tuple(given[key].shape), tuple(own.shape)
            raise SltError(f"{key} has shape {have} in the checkpoint, {need} here: set encoder.s3d.width")
    s3d.load_state_dict(given)


def _rename(rest: str) -> str:
    """Map `5.branch1.1.conv_s.weight` to `5.branch1.1.0.0.weight`; a single-unit branch 0 loses its own index."""
    *path, unit, leaf = rest.split(".")
    if path[-2:] == ["branch0", "0"]:
        path.pop()
    if unit not in _UNITS:
        raise SltError(f"unknown S3D entry base.{rest}: expected one of {', '.join(_UNITS)} before the last name")
    return ".".join([*path, _UNITS[unit], leaf])
