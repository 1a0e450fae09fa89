"""What `encoder.s3d.checkpoint_activations` costs and saves: a training step of S3D, with and without.

Run it as `python tests/benchmarks/checkpointing.py --frames 64 --size 112`. Each is measured in a process of its own,
in turns; memory is the most that the step adds to what the process held before it.
"""

import argparse
import multiprocessing
import resource
import statistics
import time

import torch

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.models.s3d import S3D


def step(again: bool, frames: int, size: int, sender) -> None:
    torch.manual_seed(0)
    s3d = S3D(S3DConfig(checkpoint_activations=again))
    video, lengths = torch.randn(1, 3, frames, size, size), torch.tensor([frames])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    features, _ = s3d(video, lengths)
    features.square().mean().backward()
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sender.send((seconds, (after - before) / 1024 / frames))


def measured(*arguments) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=step, args=(*arguments, sender))
    process.start()
    found = receiver.recv()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = {again: [] for again in (False, True)}
    for _ in range(options.rounds):
        for again, rows in found.items():
            rows.append(measured(again, options.frames, options.size))
    kept, anew = ([statistics.median(column) for column in zip(*found[again], strict=True)] for again in (False, True))
    size = f"{options.frames} frames of {options.size} x {options.size}"
    print(f"{size}, first block frozen, {torch.get_num_threads()} threads")
    print(f"kept              : {kept[1]:6.2f} MB a frame       , {kept[0]:6.2f} s")
    memory, seconds = anew[1] / kept[1], anew[0] / kept[0]
    print(f"computed once more: {anew[1]:6.2f} MB a frame ({memory:.2f}), {anew[0]:6.2f} s ({seconds:.2f})")


if __name__ == "__main__":
    main()
