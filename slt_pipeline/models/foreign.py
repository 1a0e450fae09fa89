"""Checkpoints of other projects: read without running anything in them, told apart by what they hold (FACTS 3.4)."""

import gzip
import math
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from slt_pipeline.config.names import WEIGHTS_KINDS as KINDS
from slt_pipeline.config.names import WeightsKind as Kind
from slt_pipeline.errors import SltError, refused_by_torch

MAX_BYTES = 2**33
"""Largest checkpoint, unpacked, if it is packed by gzip; the published ones have about 1.5 GB."""

WHAT: Mapping[Kind, str] = {
    "torchvision": "S3D of torchvision",
    "kylemin": "S3D of Kinetics-400 under the published names",
    "glosscls": "S3D of isolated signs under the published names",
    "sign2gloss": "published Sign2Gloss",
    "gloss2text": "published Gloss2Text",
    "sign2text": "published Sign2Text of MMTLB",
    "cvslt": "published Sign2Text of CV-SLT",
}
"""What each kind is, in words."""
S3D_KINDS: tuple[Kind, ...] = ("torchvision", "kylemin", "glosscls")
"""Kinds that are a backbone alone."""

_WRAPPERS = ("model_state", "state_dict")
_TRUNK = re.compile(r"(?:.*\.)?(base|features)\.\d+\..+")
_OURS = re.compile(r"(front\.encoder\.)?s3d\.features\..+")


@dataclass(frozen=True)
class Foreign:
    """What of a checkpoint is of use."""

    path: Path
    state: Mapping[str, Tensor]
    """Parameters and buffers under their own names."""
    wrapper: str
    """The entry that holds them: `model_state`, `state_dict`, or none, where they are the whole file."""
    beside: tuple[str, ...] = ()
    """Entries beside it, such as the states of an optimiser: of no use."""
    step: int = 0
    """Optimiser steps that it was trained for; 0: it does not say."""
    best_score: float | None = None
    """The best score of its training, in percent, as it says."""

    def kind(self, asked: Kind | None = None) -> Kind:
        """Return what it is.

        Args:
            asked: what the user takes it for; None: what it says itself.

        Raises:
            SltError: it is none of `KINDS`, is not the one that is asked for, or may be one of two.
        """
        possible, likely = _kinds(self.wrapper, self.state)
        if not possible:
            raise SltError(f"{self.path} is none of {', '.join(KINDS)}: {_contents(self.state)}")
        if asked and asked not in possible:
            raise SltError(f"{self.path} is not {asked} but {' or '.join(possible)}; leave out --as, or name that")
        if not asked and not likely:
            raise SltError(
                f"{self.path} may be {' or '.join(possible)}: {_contents(self.state)}; say which with --as, as that "
                "decides how frames are made for it"
            )
        found = asked or likely
        assert found is not None
        return found


def read_foreign(path: Path) -> Foreign:
    """Read a checkpoint of torch, plain or packed by gzip, or a safetensors file; nothing in it is carried out.

    Raises:
        SltError: it asks for anything but tensors and plain data, is damaged, or holds no tensors by name.
    """
    content = _load(path)
    table = content if isinstance(content, dict) else {}
    wrapper = next((name for name in _WRAPPERS if name in table), "")
    state = table[wrapper] if wrapper else table
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = ", ".join(map(str, list(table)[:3])) or type(content).__name__
        raise SltError(f"{path} is no checkpoint of a network: expected tensors by name, found {found}")
    if odd := [name for name, value in state.items() if not (isinstance(name, str) and _is_plain(value))]:
        raise SltError(f"{path}: {odd[0]} is no dense tensor of finite real numbers")
    beside = tuple(str(name) for name in table if name != wrapper) if wrapper else ()
    step, score = (table.get(name) if wrapper else None for name in ("global_step", "best_score"))
    return Foreign(
        path,
        state,
        wrapper,
        beside,
        step if isinstance(step, int) and 0 <= step < 10**8 else 0,
        float(score) if isinstance(score, int | float) and math.isfinite(score) else None,
    )


def _kinds(wrapper: str, names: Collection[str]) -> tuple[tuple[Kind, ...], Kind | None]:
    """Return what tensors of these names may be, and what they are if nobody says otherwise; None: that is not sure."""
    signs, texts = (
        any(name.startswith(f"{part}_network.") for name in names) for part in ("recognition", "translation")
    )
    if signs or texts:
        whole: Kind = "cvslt" if any(".gaussian_net." in name for name in names) else "sign2text"
        has_trunk = any(name.startswith("recognition_network.visual_backbone.") for name in names)
        found: list[Kind] = ["sign2gloss"] if has_trunk else []
        if texts:
            found.append(whole if signs else "gloss2text")
        return tuple(found), found[0] if len(found) == 1 else None
    trunk = {match[1]: name for name in names if not _OURS.fullmatch(name) and (match := _TRUNK.fullmatch(name))}
    if "base" in trunk:
        known: dict[tuple[str, str], Kind] = {("", "module"): "kylemin", ("state_dict", "backbone"): "glosscls"}
        return ("kylemin", "glosscls"), known.get((wrapper, trunk["base"].split(".")[0]))
    return (("torchvision",), "torchvision") if "features" in trunk else ((), None)


def _contents(names: Collection[str]) -> str:
    if any(_OURS.fullmatch(name) for name in names):
        return "these are weights of a run of slt itself, whose folder -o visual_train.init=FOLDER takes as it is"
    return f"it holds {', '.join(list(names)[:3])}{', ...' if len(names) > 3 else ''}"


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor holds all of its numbers, real and finite ones; one that only claims to be large does not."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_complex():
        return False
    held = value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    return held and bool(value.isfinite().all())


class _NumpyType:
    """Stands for numpy's type of a number: scores and steps were often saved as numpy's numbers."""

    def __init__(self, name: str, *_: object):
        self.name = str(name)

    def __setstate__(self, _: object) -> None:
        """Byte order and alignment: taken as they are on every machine of today."""


def _number(kind: object, content: object) -> int | float | None:
    """Return what numpy wrote of one number; None: it is something else."""
    if isinstance(kind, _NumpyType) and re.fullmatch("[fi][48]", kind.name) and isinstance(content, bytes):
        return np.frombuffer(content, f"<{kind.name}")[0].item() if len(content) == int(kind.name[1]) else None
    return None


_STAND_INS: list[Any] = [(_NumpyType, "numpy.dtype")]
_STAND_INS += [(_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head[:2] != b"\x1f\x8b":
            return _unpickled(path) if head[8:] != b"{" else load(path.read_bytes())
        with gzip.open(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SltError(f"{path}: refused: unpacks to more than {MAX_BYTES} bytes")
        return _unpickled(BytesIO(content)) if content[8:9] != b"{" else load(content)
    except UnpicklingError as error:
        reason = refused_by_torch(error)
        raise SltError(f"{path}: refused: {reason}; only tensors and plain data are read from a checkpoint") from None
    except SltError:
        raise
    except Exception as error:  # of damaged bytes torch, safetensors, gzip and zlib raise almost anything
        reason = " ".join(str(error).split())[:120]
        raise SltError(f"{path}: not a checkpoint that can be read ({reason}); fetch it anew") from None


def _unpickled(file: Path | BytesIO) -> Any:
    with torch.serialization.safe_globals(_STAND_INS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it can be read shows without torch's doubts
        return torch.load(file, map_location="cpu", weights_only=True)
