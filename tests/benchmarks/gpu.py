"""Extraction, and steps, epochs and memory of all training, on a GPU at published size, as one Markdown table.

    python tests/benchmarks/gpu.py --minutes 8         (--toy: all of it on a CPU at tiny sizes, in seconds)

Rows come as they are measured, so that a run that is killed has told what it knows. A part that fails, or for which no
time is left, is a row that says so. Clips, texts and weights are made up; sizes, optimiser, number formats and what is
kept for backward are those of training; nothing is read or decoded. A ratio is to plain float32 of the same part.
"""

import argparse
import gc
import importlib
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import gpu_resume
import numpy as np
import torch
from torch import Tensor

from slt_pipeline.avatar.encode import write_mp4
from slt_pipeline.config.encoder import EncoderConfig, HeadConfig, S3DConfig
from slt_pipeline.config.training import OptimiserConfig, TrainingConfig
from slt_pipeline.config.translator import CVSLTConfig, MBartConfig, MMTLBConfig, TranslatorConfig
from slt_pipeline.models.build import build_translator
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.engines import build_engine
from slt_pipeline.models.mbart import EOS_ID, PAD_ID
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import HeadFront, VideoFront
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.models.visual_head import VisualHead
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.training.engine import Engine, to_device
from slt_pipeline.training.optim import build_optimiser
from slt_pipeline.video.reader import open_video

CLIPS = 7096
"""Training clips of PHOENIX-2014T."""
GLOSSES, PIECES, FIRST_PIECE, LANGUAGE = 1094, 2498, 30, 6
COLUMNS = ("part", "setting", "s/step", "steps/s", "time, of float32", f"s/epoch of {CLIPS} clips", "peak GiB", "note")

Batch = dict[str, Tensor]
Build = Callable[[], tuple[torch.nn.Module, Callable[[torch.nn.Module, Batch], Batch]]]
"""Makes a model, and what makes its losses of a batch."""


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    width: float = 1.0
    hidden: int = 512
    clips: int = 8
    frames: int = 64
    pixels: int = 224
    mbart: MBartConfig = field(default_factory=MBartConfig)
    steps: int = 30
    seconds: float = 15.0
    """Longest time for the steps of one row."""


TOY = Sizes(0.03, 16, 2, 16, 32, MBartConfig(d_model=16, num_layers=1, num_heads=2, ffn_dim=16), 2, 3.0)


class Vocabulary:
    """So many pieces as the published German tokenizer has (FACTS 6.1)."""

    language_id, vocab_size, byte_pieces = LANGUAGE, PIECES, 0

    def gloss_pieces(self, name: str) -> list[int]:
        """Return nothing of use: there is no gloss table."""
        raise NotImplementedError(name)


class Bench:
    """Measures parts within a time budget, and prints a row for each setting."""

    def __init__(self, sizes: Sizes, device: torch.device, minutes: float):
        """Start the clock."""
        self.sizes, self.device = sizes, device
        self.end = time.monotonic() + 60 * minutes
        self._baseline: dict[str, float] = {}

    def row(self, part: str, setting: str, measure: Callable[[], dict[str, str]]) -> None:
        """Print what a measurement tells, or why there is none."""
        try:
            if time.monotonic() > self.end - 2 * self.sizes.seconds:
                raise TimeoutError("no time left")
            cells = measure()
        except Exception as error:
            cells = {"note": f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"}
        cells = {"part": part, "setting": setting, **cells}
        print("| " + " | ".join(cells.get(name, "") for name in COLUMNS) + " |", flush=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def train(self, part: str, batches: list[Batch], build: Build, precision: str, *, again: bool = False) -> None:
        """Print a row on training a model by these batches in turn; `again`: with checkpoint_activations."""
        name = {"fp32": "float32", "bf16": "bf16", "fp16": "fp16, loss scaled"}[precision]
        setting = f"{name}, checkpoint_activations" if again else name
        self.row(part, setting, lambda: self._cells(part, setting, *self._steps(build, batches, precision)))

    def frames(self, part: str, setting: str, num_frames: int, prepare: Callable[[], Callable[[], object]]) -> None:
        """Print a row on what `prepare` makes: a call that takes so many frames of one clip."""
        self.row(part, setting, lambda: self._per_second(part, setting, num_frames, prepare()))

    def _per_second(self, part: str, setting: str, num_frames: int, call: Callable[[], object]) -> dict[str, str]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds: list[float] = []
        while len(seconds) < 3 or (len(seconds) < self.sizes.steps and sum(seconds[1:]) < self.sizes.seconds):
            started = self._now()
            call()
            seconds.append(self._now() - started)
        cells = self._cells(part, setting, seconds[1:], 1)
        return {
            **cells,
            "note": f"{num_frames / statistics.median(seconds[1:]):.0f} frames/s; first {seconds[0]:.1f} s",
        }

    def _steps(self, build: Build, batches: list[Batch], precision: str) -> tuple[list[float], int]:
        """Train for a while; return the seconds of each step, and its clips."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        torch.manual_seed(1)
        model, losses = build()
        model.to(self.device).train()
        config = TrainingConfig(precision=precision, optimiser=OptimiserConfig(lr={"default": 1e-5}))  # type: ignore[arg-type]
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        engine = Engine(model, build_optimiser(config.optimiser, {"all": trained}), config, self.device)
        seconds: list[float] = []
        for number, batch in enumerate(cycle(to_device(batch, self.device) for batch in batches)):
            started = self._now()
            with engine.autocast():
                total = torch.stack([value.float() for value in losses(model, batch).values()]).sum()
            if not torch.isfinite(total):
                raise ArithmeticError(f"the loss of step {number + 1} is {float(total)}")
            engine.backward(total)
            engine.step(measure=False)
            seconds.append(self._now() - started)
            warm = len(seconds) - 2
            if warm >= self.sizes.steps or (warm >= 1 and sum(seconds) > self.sizes.seconds):
                break
        return seconds[2:], len(batches[0]["lengths"])

    def _cells(self, part: str, setting: str, seconds: list[float], clips: int) -> dict[str, str]:
        step = statistics.median(seconds)
        if setting == "float32":
            self._baseline[part] = step
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else None
        return {
            "s/step": f"{step:.4f}",
            "steps/s": f"{1 / step:.2f}",
            "time, of float32": f"{step / self._baseline[part]:.2f}" if part in self._baseline else "",
            COLUMNS[5]: f"{statistics.fmean(seconds) * CLIPS / clips:.0f}",
            "peak GiB": "" if memory is None else f"{memory:.1f}",
            "note": f"{len(seconds)} steps of {clips} clips, {min(seconds):.4f} to {max(seconds):.4f}",
        }

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="all in all")
    parser.add_argument("--toy", action="store_true", help="tiny, on the CPU")
    options = parser.parse_args()
    if not options.toy and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here; --toy runs on the CPU")
    device = torch.device("cpu" if options.toy else "cuda")
    bench = Bench(TOY if options.toy else Sizes(), device, options.minutes)
    print(f"{_card(device)}, torch {torch.__version__}, commit {_commit()}\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|---|" + "--:|" * 5 + "---|", flush=True)
    bench.row("resume", "float32, 5 of 8 steps and the rest, against 8 steps", lambda: gpu_resume.compared(device))
    _extraction(bench)
    _decoding(bench)
    _visual(bench)
    _translators(bench)
    _joint(bench)


def _extraction(bench: Bench) -> None:
    """What `slt extract` computes of a clip; on a CPU `visual.py` compares engines."""
    sizes = bench.sizes
    engines = ("torch", "compiled") if bench.device.type == "cuda" else ("torch",)
    model = _encoder(sizes, again=False).to(bench.device).eval()
    frames = torch.randn(1, 3, sizes.frames, sizes.pixels, sizes.pixels, device=bench.device)
    for precision in ("float32", "bf16"):
        for engine in engines:

            def prepare(engine: str = engine, precision: str = precision) -> Callable[[], object]:
                compute = build_engine(model.s3d, engine, precision, bench.device)
                return torch.inference_mode()(lambda: model.streams(compute(frames)))

            setting = precision if engine == "torch" else f"{precision}, {engine}"
            bench.frames(f"extract, {sizes.frames} x {sizes.pixels} x {sizes.pixels}", setting, sizes.frames, prepare)


def _decoding(bench: Bench) -> None:
    """What decoders give extraction: ours, and torchcodec on this device where it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        path, num_frames = Path(folder) / "clip.mp4", bench.sizes.frames
        blocks = np.random.default_rng(0).integers(0, 255, (num_frames, 26, 21, 3), np.uint8)
        write_mp4(path, blocks.repeat(10, axis=1).repeat(10, axis=2), 25, crf=23, gop=12)

        def by_torchcodec() -> Callable[[], object]:
            decoders = importlib.import_module("torchcodec.decoders")
            return lambda: decoders.VideoDecoder(str(path), device=str(bench.device))[:]

        bench.frames(
            "decode 210 x 260", "PyAV, one thread", num_frames, lambda: lambda: open_video(str(path), None).read()
        )
        bench.frames("decode 210 x 260", f"torchcodec, {bench.device.type}", num_frames, by_torchcodec)


def _visual(bench: Bench) -> None:
    """Phase one: `slt visual-train`."""
    batches = [_frames(bench.sizes)]

    def losses(model: torch.nn.Module, batch: Batch) -> Batch:
        taps = model(batch["frames"], batch["frame_lengths"])
        labels = batch["gloss_labels"], batch["gloss_label_lengths"]
        return {"recognition": ctc_loss(taps.gloss_logits, taps.lengths, *labels)}

    for precision in ("fp32", "bf16"):
        for again in (False, True):
            build = lambda again=again: (_encoder(bench.sizes, again), losses)  # noqa: E731
            bench.train(f"visual-train, {_shape(bench.sizes)}", batches, build, precision, again=again)


def _translators(bench: Bench) -> None:
    """Phase two: `slt translate-train` with a trained head on stored features of S3D."""
    for config, clips in ((MMTLBConfig(suffix="txt"), 8), (CVSLTConfig(), 16)):
        batches = list(_features(bench.sizes, min(clips, 2 * bench.sizes.clips)))

        def build(config: TranslatorConfig = config) -> tuple[torch.nn.Module, Callable]:
            head = VisualHead(_head(bench.sizes), _channels(bench.sizes), GLOSSES)
            return _joined(bench.sizes, HeadFront(head), config)

        for precision in ("fp32", "bf16", "fp16"):
            bench.train(f"translate-train, {config.system}", batches, build, precision)


def _joint(bench: Bench) -> None:
    """Both phases in one: pixels to text."""
    batches = [_frames(bench.sizes) | _texts(bench.sizes.clips)]
    for precision in ("fp32", "bf16"):
        for again in (False, True):

            def build(again: bool = again) -> tuple[torch.nn.Module, Callable]:
                return _joined(bench.sizes, VideoFront(_encoder(bench.sizes, again)), MMTLBConfig(suffix="txt"))

            bench.train(f"joint, mmtlb, {_shape(bench.sizes)}", batches, build, precision, again=again)


def _joined(sizes: Sizes, front: HeadFront | VideoFront, config: TranslatorConfig) -> tuple[torch.nn.Module, Callable]:
    config = config.model_copy(update={"mbart": sizes.mbart})
    model = SignToText(front, build_translator(config, Vocabulary(), in_features=sizes.hidden))
    parts = model.parts if config.system == "mmtlb" else model.translator.parts  # as published (FACTS 8.2)
    return model, lambda model, batch: model(batch, parts)


def _encoder(sizes: Sizes, again: bool) -> VisualEncoder:
    s3d = S3DConfig(width=sizes.width, checkpoint_activations=again)
    return VisualEncoder(EncoderConfig(s3d=s3d, head=_head(sizes)), GLOSSES)


def _head(sizes: Sizes) -> HeadConfig:
    return HeadConfig(hidden=sizes.hidden, feedforward=4 * sizes.hidden, padding="published")


def _channels(sizes: Sizes) -> int:
    return _encoder(sizes, again=False).s3d.out_channels


def _frames(sizes: Sizes) -> Batch:
    """A batch of clips of equal length, with glosses."""
    frames = torch.randn(sizes.clips, 3, sizes.frames, sizes.pixels, sizes.pixels)
    lengths = torch.full((sizes.clips,), sizes.frames)
    glosses = max(1, sizes.frames // 8)  # twice the steps that they need
    return {
        "frames": frames,
        "frame_lengths": lengths,
        "lengths": lengths // 4,
        "gloss_labels": torch.randint(1, GLOSSES, (sizes.clips, glosses)),
        "gloss_label_lengths": torch.full((sizes.clips,), glosses),
    }


def _features(sizes: Sizes, clips: int) -> Iterator[Batch]:
    """Yield batches with lengths like PHOENIX's, as S3D's features."""
    rng = np.random.default_rng(1)
    for _ in range(min(sizes.steps, 30)):
        lengths = np.clip(rng.gamma(5.2, 5.6, clips), 6, 75).astype(int)
        rows = [torch.randn(int(n), _WIDTHS.setdefault(sizes.width, _channels(sizes))) for n in lengths]
        yield {
            "features": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "lengths": torch.tensor(lengths),
            "gloss_labels": torch.randint(1, GLOSSES, (clips, 5)),
            "gloss_label_lengths": torch.full((clips,), 3),
            **_texts(clips, rng),
        }


_WIDTHS: dict[float, int] = {}


def _texts(clips: int, rng: np.random.Generator | None = None) -> Batch:
    rng = rng or np.random.default_rng(2)
    lengths = np.clip(rng.gamma(7.0, 2.4, clips), 4, 50).astype(int)
    rows = [[*rng.integers(FIRST_PIECE, PIECES, n).tolist(), EOS_ID] for n in lengths]
    return {
        "labels": pad_ids(rows, PAD_ID)[0],
        "decoder_input_ids": pad_ids([[LANGUAGE, *row[:-1]] for row in rows], PAD_ID)[0],
    }


def _shape(sizes: Sizes) -> str:
    return f"{sizes.clips} x {sizes.frames} x {sizes.pixels} x {sizes.pixels}"


def _card(device: torch.device) -> str:
    if device.type == "cpu":
        return f"CPU ({platform.machine()})"
    tf32 = "" if torch.backends.cudnn.allow_tf32 else "out"
    return f"{torch.cuda.get_device_name(device)}, float32 convolutions with{tf32} TF32"


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


if __name__ == "__main__":
    main()
