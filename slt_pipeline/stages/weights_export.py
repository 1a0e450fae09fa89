"""`slt weights export`: the S3D of a run as a state dict of torchvision, with the frames that it is for."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from slt_pipeline.config.provenance import flatten
from slt_pipeline.config.recipe import recipe_of_run
from slt_pipeline.config.runs import SIGNS_FILE, holds_encoder
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json
from slt_pipeline.models.weights import convert_s3d_keys
from slt_pipeline.models.weights_file import Frames, require_new_weights, require_suffix, write_weights
from slt_pipeline.systems.parts import ENCODER, best_of
from slt_pipeline.training.checkpoint import best_checkpoint
from slt_pipeline.training.run import INPUTS


def weights_export(run: Path, to: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write the S3D of the best checkpoint; the classifier too, where the run has five blocks and one.

    Args:
        run: folder of visual-train, visual-pretrain or joint-train.
        to: a safetensors file, or one for torch.load (.pt, .pth), beside which its account is written as JSON.
        overwrite: replace the file, if it was made by this.

    Returns:
        the account of the file: `blocks`, `width`, `frames`, `classes` and `lacks`, what torchvision's S3D has more.

    Raises:
        SltError: the run holds no visual encoder, or the file is there.
    """
    require_suffix(to)
    require_new_weights(to, [], overwrite)
    transform = recipe_of_run(run).video.transform
    whole = holds_encoder(run)
    if not whole and not (run / SIGNS_FILE).is_file():
        raise SltError(
            f"{run} holds no visual encoder; name a run of `slt visual-train`, `slt visual-pretrain` or "
            "`slt joint-train`"
        )
    checkpoint = best_of(run, ENCODER, "slt visual-train") if whole else best_checkpoint(run, "slt visual-pretrain")
    weights = checkpoint.weights
    state = convert_s3d_keys({name: value for name, value in weights.items() if name.startswith("s3d.")})
    inputs = flatten(read_json(run / INPUTS))
    network = {name: inputs[f"{'encoder.' if whole else ''}s3d.{name}"] for name in ("use_blocks", "width")}
    names = [] if whole or network["use_blocks"] < 5 else read_json(run / SIGNS_FILE)
    if names:
        state |= _classifier(weights, len(names))
    lacks = ["block 5"] if network["use_blocks"] < 5 else []
    lacks += [] if names else ["the classifier"]
    lacks += [] if network["width"] == 1 else [f"its width: it has 1, the run {network['width']}"]
    frames = Frames.of(transform)
    account = {
        "exported_from": str(run),
        "weights": checkpoint.weights_hash,
        "blocks": network["use_blocks"],
        "width": network["width"],
        "classes": names,
        "lacks": lacks,
    }
    write_weights(to, state, account, frames)
    return {**account, "frames": asdict(frames)}


def _classifier(weights: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Return the classifier of glosses as torchvision's convolution, the norm before it taken into it."""
    weight, bias = weights["classifier.weight"][:classes].flatten(1).double(), weights["classifier.bias"][:classes]
    shift = bias.double()
    if "norm.weight" in weights:
        mean, var, scale, offset = (
            weights[f"norm.{name}"].double() for name in ("running_mean", "running_var", "weight", "bias")
        )
        factor = scale / (var + 1e-5).sqrt()
        shift = shift + weight @ (offset - mean * factor)
        weight = weight * factor
    return {
        "classifier.1.weight": weight.to(bias.dtype)[:, :, None, None, None],
        "classifier.1.bias": shift.to(bias.dtype),
    }
