"""S3D weights as one file that says how frames are made for them: channel order, mean and std (FACTS 2.3)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slt_pipeline.config.video import TransformConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, replacing, require_new_file, write_json
from slt_pipeline.models.foreign import Kind

SUFFIXES = (".safetensors", ".pt", ".pth")
_KEY = "slt"
"""Of the metadata of a safetensors file."""
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Frames:
    """What is done to pixels in [0, 1] before they enter weights: the keys of `video.transform`."""

    color_order: Literal["bgr", "rgb"]
    mean: Triple
    std: Triple

    @classmethod
    def of(cls, transform: TransformConfig) -> "Frames":
        """Return what a recipe does to pixels."""
        return cls(transform.color_order, transform.mean, transform.std)


_HALF = (0.5, 0.5, 0.5)
FRAMES: Mapping[Kind, Frames] = {
    "torchvision": Frames("rgb", (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    "kylemin": Frames("rgb", _HALF, _HALF),
    "glosscls": Frames("bgr", _HALF, _HALF),
    "sign2gloss": Frames("bgr", _HALF, _HALF),
}
"""Frames of published weights, by kind."""


def write_weights(path: Path, state: Mapping[str, Tensor], account: Mapping[str, Any], frames: Frames) -> None:
    """Write tensors as safetensors, or for torch.load, with an account of them: in the file, or beside it as JSON.

    Raises:
        SltError: the suffix is of neither.
    """
    require_suffix(path)
    told = {**account, "frames": asdict(frames)}
    whole = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    with replacing(path) as scratch:
        if path.suffix == SUFFIXES[0]:
            save_file(whole, scratch, metadata={_KEY: json.dumps(told)})
        else:
            torch.save(whole, scratch)
    if path.suffix != SUFFIXES[0]:
        write_json(_beside(path), told)


def require_suffix(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Refuse a file whose suffix says no format that is written.

    Raises:
        SltError: the suffixes that do.
    """
    if path.suffix not in suffixes:
        raise SltError(f"{path} does not end in {' or '.join(suffixes)}; name the file so")


def read_account(path: Path) -> dict[str, Any] | None:
    """Return what weights say of themselves, in the file or beside it; None: they say nothing.

    Raises:
        SltError: it is damaged.
    """
    told = None
    if path.suffix != SUFFIXES[0]:
        told = read_json(_beside(path)) if _beside(path).is_file() else None
    else:
        try:
            with safe_open(path, framework="pt") as file:
                told = json.loads((file.metadata() or {}).get(_KEY, "null"))
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            raise SltError(f"{path} is no safetensors file that can be read: {error}") from error
    return told if _is_account(told) else None


def _is_account(told: Any) -> bool:
    return isinstance(told, dict) and isinstance(told.get("frames"), dict)


def require_new_weights(path: Path, reads: Iterable[Path], overwrite: bool) -> None:
    """Refuse a file that must not be written with weights and their account.

    Args:
        path: of the file.
        reads: files that are read.
        overwrite: whether weights with such an account may be replaced.
    """
    what = "weights that `slt weights` has written"
    require_new_file(path, what, lambda path: read_account(path) is not None, reads=reads, overwrite=overwrite)
    if path.suffix != SUFFIXES[0]:
        require_new_file(
            _beside(path), "an account of weights", lambda told: _is_account(read_json(told)), overwrite=overwrite
        )


def frames_said(path: Path) -> Frames | None:
    """Return the frames that weights say they are for; None: they say nothing.

    Raises:
        SltError: they say something else.
    """
    account = read_account(path)
    if account is None:
        return None
    try:
        said = account["frames"]
        return Frames(str(said["color_order"]), *(tuple(map(float, said[name])) for name in ("mean", "std")))  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise SltError(f"{path} says of its frames {account['frames']}: {error}; import it anew") from error


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
