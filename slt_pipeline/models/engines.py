"""Engines: what computes S3D once it is trained, checked on the first clip against the module itself."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slt_pipeline.errors import SltError
from slt_pipeline.models.s3d import S3D, check_frames
from slt_pipeline.models.s3d_cpu import folded, run_element

Compute = Callable[[Tensor], Tensor]
"""Normalised frames (B, 3, T, H, W) to features (B, S, C), on one device."""

TOLERANCE = {"float32": 1e-4, "bf16": 2e-2}
"""How far a feature may be from the module's, of the largest feature."""

_DTYPE = {"float32": torch.float32, "bf16": torch.bfloat16}


class EngineError(SltError):
    """An engine that does not compute what it should: no clip is at fault, and none is left out for it."""


class Engine:
    """Computes the features of S3D, whatever the length and size of a clip."""

    def __init__(self, s3d: S3D, compute: Compute, engine: str, precision: str):
        """Take what computes; nothing is computed yet.

        Args:
            s3d: the module that it stands for, with its final weights, in evaluation mode.
            compute: the same in another way.
            engine: its name.
            precision: its number format.
        """
        self._s3d, self._compute, self._engine, self._precision = s3d, compute, engine, precision
        self._checked = (engine, precision) == ("torch", "float32")  # the same calls

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Tensor:
        """Return the features (B, S, C) float32 of normalised frames (B, 3, T, H, W).

        Raises:
            SltError: the frames have another layout or are too small.
            EngineError: the features of the first clip are not S3D's.
        """
        check_frames(frames, self._s3d.config.use_blocks)
        features = self._compute(frames).float()
        if not self._checked:
            self._check(features, self._s3d.pooled(frames))
            self._checked = True
        return features

    def _check(self, features: Tensor, wanted: Tensor) -> None:
        same_shape = features.shape == wanted.shape
        apart = float((features - wanted).abs().max()) if same_shape else float("inf")
        allowed = TOLERANCE[self._precision] * float(wanted.abs().max())
        if not apart <= allowed:  # NaN is not
            raise EngineError(
                f"encoder.engine {self._engine} with encoder.precision {self._precision} is wrong here: features of "
                f"the first clip are off by {apart:.2g}, and {allowed:.2g} is allowed; use torch and float32"
            )


def build_engine(s3d: S3D, engine: str, precision: str, device: torch.device) -> Engine:
    """Build what computes a trained S3D.

    Args:
        s3d: on `device`, with its final weights, in evaluation mode: an engine may have its own copy of them.
        engine: `torch`, `compiled` or `openvino` (`config.encoder`).
        precision: `float32` or `bf16`.
        device: where it computes.

    Raises:
        SltError: the device lacks the precision, or the machine what the engine needs.
    """
    require_engine(engine, precision, device)
    build = {"torch": _torch, "compiled": _compiled, "openvino": _openvino}[engine]
    return Engine(s3d, build(s3d, precision, device), engine, precision)


def require_engine(engine: str, precision: str, device: torch.device) -> None:
    """Refuse an engine that cannot run here; arguments and errors as of `build_engine`."""
    if precision == "bf16" and not _computes_bf16(device):
        raise SltError(
            f"encoder.precision bf16 needs instructions that this {device.type} lacks: it would be many times slower "
            "than float32, not faster; use float32"
        )
    if engine == "compiled" and device.type == "cpu" and not _has_compiler():
        raise SltError(
            "encoder.engine compiled needs a C++ compiler, and there is none here; install g++ (or name yours in CXX), "
            "or use torch or openvino"
        )
    if engine == "openvino":
        if device.type != "cpu":
            raise SltError(
                f"encoder.engine openvino is for CPUs, and the device is {device.type}; use torch or compiled"
            )
        _import_openvino()


def _torch(s3d: S3D, precision: str, device: torch.device) -> Compute:
    """The module's own calls; on a CPU with batch norms folded once."""
    if device.type == "cpu":
        return _OnCPU(s3d, precision)
    if precision == "float32":
        return s3d.pooled

    def compute(frames: Tensor) -> Tensor:
        with torch.autocast(device.type, _DTYPE[precision]):
            return s3d.pooled(frames)

    return compute


def _compiled(s3d: S3D, precision: str, device: torch.device) -> Compute:
    """Compiled by inductor on the first clip, for every length at once and for its height and width."""
    compiled = torch.compile(_torch(s3d, precision, device))

    def compute(frames: Tensor) -> Tensor:
        torch._dynamo.maybe_mark_dynamic(frames, 2)
        return compiled(frames)

    return compute


def _openvino(s3d: S3D, precision: str, device: torch.device) -> Compute:
    """Converted in memory by tracing the module, for any length and size."""
    openvino = _import_openvino()
    settings = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own
        model = openvino.convert_model(_Plain(s3d), example_input=torch.zeros(1, 3, 32, 64, 64))
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def compute(frames: Tensor) -> Tensor:
        return torch.from_numpy(compiled([frames.contiguous().numpy()])[0])

    return compute


class _Plain(nn.Module):
    """S3D's elements by torchvision's own calls, (B, 3, T, H, W) to features (B, S, C)."""

    def __init__(self, s3d: S3D):
        super().__init__()
        self.features = s3d.features

    def forward(self, frames: Tensor) -> Tensor:
        """Return the features (B, S, C) of frames (B, 3, T, H, W)."""
        return self.features(frames).mean(dim=(3, 4)).transpose(1, 2)


class _OnCPU(nn.Module):
    """S3D with its batch norms folded once, by the calls of `models.s3d_cpu`."""

    def __init__(self, s3d: S3D, precision: str):
        super().__init__()
        self.dtype = _DTYPE[precision]
        self.features = folded(s3d.features).to(self.dtype)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the features (B, S, C) of frames (B, 3, T, H, W)."""
        x = frames.to(self.dtype).contiguous(memory_format=torch.channels_last_3d)
        return run_element(self.features, x).float().mean(dim=(3, 4)).transpose(1, 2)


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    ask = getattr(torch.cpu, "get_capabilities", dict)  # older versions of torch do not tell
    return any(there for name, there in ask().items() if name.endswith("bf16"))


def _has_compiler() -> bool:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise SltError("encoder.engine openvino needs OpenVINO: pip install 'slt-pipeline[openvino]'") from error
    return openvino
