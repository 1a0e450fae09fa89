"""Seconds of an S3D training step and of inference on the CPU, next to torchvision's own modules in the same run.

    python tests/benchmarks/s3d_cpu.py --threads 2 --repeats 9

Both networks hold the same modules; "torchvision" calls them as torchvision does, "slt" through `models/s3d_cpu.py`.
They take turns, so that a busy machine disturbs both alike; the least and the median of the repeats are printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.models.s3d import S3D

# (width, frozen blocks, clips, frames, pixels, whether to train): small runs, some with a frozen stem; published size.
SETTINGS = (
    (0.125, 0, 4, 64, 64, True),
    (0.125, 1, 4, 64, 64, True),
    (0.125, 0, 4, 64, 96, True),
    (0.25, 0, 4, 64, 64, True),
    (0.25, 0, 4, 64, 96, True),
    (0.125, 0, 4, 64, 96, False),
    (0.25, 0, 4, 64, 96, False),
    (1.0, 1, 1, 16, 224, False),
)


def main() -> None:
    """Print one line for every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.repeats} repeats; seconds: least (median)")
    # With one thread the processor time is the same quantity, and other programs do not disturb it.
    clock = time.process_time if options.threads == 1 else time.perf_counter
    for width, freeze_blocks, num_clips, num_frames, pixels, training in SETTINGS:
        model = S3D(S3DConfig(width=width, freeze_blocks=freeze_blocks)).train(training)
        frames = torch.randn(num_clips, 3, num_frames, pixels, pixels)
        plain, ours = _compare(model, frames, training, options.repeats, clock)
        what = "train" if training else "infer"
        print(
            f"{what} width {width} freeze {freeze_blocks} {num_clips}x{num_frames}x{pixels}x{pixels}: "
            f"torchvision {min(plain):.3f} ({statistics.median(plain):.3f}), slt {min(ours):.3f} "
            f"({statistics.median(ours):.3f}), {min(plain) / min(ours):.2f} times as fast",
            flush=True,
        )


def _compare(
    model: S3D, frames: Tensor, training: bool, repeats: int, clock: Callable[[], float]
) -> tuple[list[float], list[float]]:
    frame_lengths = torch.full((len(frames),), frames.shape[2])
    optimiser = torch.optim.Adam(model.parameters(), fused=True)

    def plain() -> Tensor:
        return model.features(frames).mean(dim=(3, 4))

    def ours() -> Tensor:
        return model(frames, frame_lengths)[0]

    def timed(forward: Callable[[], Tensor]) -> float:
        start = clock()
        if training:
            forward().square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
        else:
            with torch.inference_mode():
                forward()
        return clock() - start

    pairs = [(timed(plain), timed(ours)) for _ in range(repeats + 1)][1:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


if __name__ == "__main__":
    main()
