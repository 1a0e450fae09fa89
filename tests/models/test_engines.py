"""Engines of S3D: the module's numbers within what their precision allows, any length and size, or a clear refusal."""

import importlib.util
import sys

import pytest
import torch
from torch import nn

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models import engines
from slt_pipeline.models.engines import TOLERANCE, Engine, EngineError, build_engine
from slt_pipeline.models.s3d import S3D

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def s3d() -> S3D:
    """A small S3D whose statistics are not those of a new one."""
    torch.manual_seed(0)
    model = S3D(S3DConfig(width=0.125, use_blocks=3)).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm3d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
    return model


def _needs(engine: str, precision: str) -> None:
    if engine == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    if engine == "compiled" and not engines._has_compiler():
        pytest.skip("there is no C++ compiler")
    if precision == "bf16" and not engines._computes_bf16(CPU):
        pytest.skip("this CPU has no bf16 instructions")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.filterwarnings("ignore")  # of the tracer
def test_an_engine_is_the_module(s3d, engine, precision):
    _needs(engine, precision)
    _compare(s3d, engine, precision, [(1, 3, 16, 40, 40), (1, 3, 23, 40, 40), (2, 3, 9, 33, 48)])


@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_the_compiled_module_is_the_module():
    _needs("compiled", "float32")
    _compare(
        S3D(S3DConfig(width=0.125, use_blocks=1)).eval(),
        "compiled",
        "float32",
        [(1, 3, 16, 40, 40), (1, 3, 23, 40, 40)],
    )


def _compare(s3d: S3D, engine: str, precision: str, shapes: list[tuple[int, ...]]) -> None:
    compute = build_engine(s3d, engine, precision, CPU)
    for shape in shapes:
        frames = torch.randn(shape[0], *shape[2:], 3).permute(0, 4, 1, 2, 3)  # as pixels come: colours last in memory
        with torch.inference_mode():
            features, wanted = compute(frames), s3d.pooled(frames)
        assert features.dtype == torch.float32
        assert features.shape == wanted.shape
        assert (features - wanted).abs().max() <= TOLERANCE[precision] * wanted.abs().max()
        if (engine, precision) == ("torch", "float32"):
            assert torch.equal(features, wanted)


def test_the_first_clip_is_compared_with_the_module(s3d):
    frames = torch.randn(1, 3, 8, 32, 32)
    off = Engine(s3d, lambda frames: s3d.pooled(frames) * 1.1, "openvino", "bf16")
    for _ in range(2):  # it is not forgotten after the first time
        with pytest.raises(EngineError, match=r"openvino .* bf16 .* off by 0\.\d+, and 0\.\d+ is allowed; use"):
            off(frames)
    with pytest.raises(EngineError, match="off by nan"):
        Engine(s3d, lambda frames: s3d.pooled(frames) * torch.nan, "openvino", "float32")(frames)
    with pytest.raises(EngineError, match="off by inf"):
        Engine(s3d, lambda frames: s3d.pooled(frames)[:, 1:], "openvino", "float32")(frames)


def test_a_float32_engine_is_held_to_more_than_one_of_bf16(s3d):
    frames = torch.randn(1, 3, 8, 32, 32)

    def slightly_off(frames):
        return s3d.pooled(frames) * 1.001

    with torch.inference_mode():
        Engine(s3d, slightly_off, "compiled", "bf16")(frames)
    with pytest.raises(EngineError):
        Engine(s3d, slightly_off, "compiled", "float32")(frames)


def test_bf16_is_refused_where_it_would_be_slow(s3d, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    for engine in ("torch", "compiled", "openvino"):
        with pytest.raises(SltError, match=r"bf16 needs instructions that this cpu lacks.*use float32"):
            build_engine(s3d, engine, "bf16", CPU)


def test_openvino_that_is_not_there_is_named_with_what_installs_it(s3d, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SltError, match=r"pip install 'slt-pipeline\[openvino\]'"):
        build_engine(s3d, "openvino", "float32", CPU)


def test_openvino_is_for_cpus(s3d):
    with pytest.raises(SltError, match="openvino is for CPUs, and the device is cuda"):
        build_engine(s3d, "openvino", "float32", torch.device("cuda"))


def test_compiled_without_a_compiler_says_so_before_any_work(s3d, monkeypatch):
    monkeypatch.setattr(engines, "_has_compiler", lambda: False)
    with pytest.raises(SltError, match="compiled needs a C\\+\\+ compiler"):
        build_engine(s3d, "compiled", "float32", CPU)


def test_frames_of_another_layout_are_refused_by_every_engine(s3d):
    with pytest.raises(SltError, match=r"\(B, 3, T, H, W\)"):
        build_engine(s3d, "torch", "float32", CPU)(torch.zeros(1, 8, 3, 32, 32))
