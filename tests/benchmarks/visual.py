"""S3D and the video before it against torchvision's own S3D in the same process, as one Markdown table of ratios.

    python tests/benchmarks/visual.py                         (--frames 16 --size 64 --width 0.25: in a minute)
    python tests/benchmarks/visual.py --threads 1 --parts forward

All hold the same weights and take turns, in both orders, so that a busy machine disturbs them alike; freed memory is
kept for all, as `slt` does. Times are the least of the repeats and their median; a ratio is of the medians of turns.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import visual_video
from torch import Tensor

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.batch_norm import BatchNorm3d
from slt_pipeline.models.engines import build_engine, require_engine
from slt_pipeline.models.s3d import S3D
from slt_pipeline.training.devices import pick_device

CPU = torch.device("cpu")
EAGER = "torchvision, eager"
COLUMNS = ("part", "what", "precision", "s, least", "s, median", "times as fast", "off, of the largest")


@dataclass
class Contender:
    """One way to compute the same."""

    what: str
    precision: str
    call: Callable[[], Tensor]
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Print the table, part after part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=60, help="length of the long video, whose memory is measured")
    parser.add_argument("--engines", nargs="+", default=["torch", "compiled", "openvino"])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pick_device("cpu")  # asks for freed memory to be kept
    torch.manual_seed(0)
    print(f"{_machine()}; torch {torch.__version__}, {options.threads} threads, {options.repeats} repeats")
    print(f"{options.frames} x {options.size} x {options.size}, width {options.width}\n")
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    for part in options.parts:
        PARTS[part](options)


def forward(options: argparse.Namespace) -> None:
    """Features of one clip, by every engine that is here."""
    model, frames = _model(options).eval(), _frames(options)
    contenders = [Contender(EAGER, "float32", lambda: _plain(model, frames))]
    for precision in ("float32", "bf16"):
        for engine in options.engines:
            try:
                require_engine(engine, precision, CPU)
            except SltError as error:
                print(f"| forward | {engine} | {precision} | | | | {error} |")
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compute = build_engine(model, engine, precision, CPU)
                compute(frames)  # compiles, and is checked
            contenders.append(Contender(engine, precision, lambda compute=compute: compute(frames)))
    with torch.inference_mode():
        _tell("forward", contenders, options.repeats)


def training(options: argparse.Namespace) -> None:
    """One step of one clip, in float32 and by autocast, with the published frozen block."""
    frames, lengths = _frames(options), torch.tensor([options.frames])
    contenders = []
    for what, precision in ((EAGER, "float32"), ("slt", "float32"), (EAGER, "bf16"), ("slt", "bf16")):
        if precision == "bf16" and not _has("bf16"):
            continue
        model = _model(options).train()
        optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], fused=True)

        def step(
            model: S3D = model,
            optimiser: torch.optim.Adam = optimiser,
            what: str = what,
            half: bool = precision == "bf16",
        ) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                features = _plain(model, frames) if what == EAGER else model(frames, lengths)[0]
            features.float().square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
            return features.detach().float()

        contenders.append(Contender(what, precision, step))
    _tell("training step", contenders, options.repeats)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "forward": forward,
    "training": training,
    "extraction": visual_video.extraction,
    "memory": visual_video.memory,
}


def _tell(part: str, contenders: list[Contender], repeats: int) -> None:
    """Let them take turns, the first in line last in every second turn, and print a row for each."""
    results = [contender.call() for contender in contenders]  # warms up
    for turn in range(repeats):
        for contender in contenders if turn % 2 else reversed(contenders):
            contender.seconds.append(_seconds(contender.call))
    first, wanted = contenders[0], results[0]
    for contender, result in zip(contenders, results, strict=True):
        ratio = statistics.median(a / b for a, b in zip(first.seconds, contender.seconds, strict=True))
        off = f"{float((result - wanted).abs().max() / wanted.abs().max()):.1e}" if part == "forward" else ""
        times = f"{min(contender.seconds):.3f} | {statistics.median(contender.seconds):.3f} | {ratio:.2f}"
        print(f"| {part} | {contender.what} | {contender.precision} | {times} | {off} |", flush=True)


def _seconds(call: Callable[[], Tensor]) -> float:
    # With one thread the processor time is the same quantity, and other programs do not disturb it.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    call()
    return clock() - start


def _plain(model: S3D, frames: Tensor) -> Tensor:
    return model.features(frames).mean(dim=(3, 4)).transpose(1, 2)


def _model(options: argparse.Namespace) -> S3D:
    """S3D with the published stem frozen, whose statistics are not those of a new one."""
    torch.manual_seed(0)
    model = S3D(S3DConfig(width=options.width))
    for norm in model.modules():
        if isinstance(norm, BatchNorm3d):
            assert norm.running_mean is not None and norm.running_var is not None
            torch.nn.init.normal_(norm.running_mean, std=0.1)
            torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return model


def _frames(options: argparse.Namespace) -> Tensor:
    return torch.randn(1, 3, options.frames, options.size, options.size)


def _has(precision: str) -> bool:
    try:
        require_engine("torch", precision, CPU)
    except SltError:
        return False
    return True


def _machine() -> str:
    names = [name for name, there in torch.cpu.get_capabilities().items() if there is True and "bf16" in name]
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {' '.join(names) or 'no bf16'}"


if __name__ == "__main__":
    main()
