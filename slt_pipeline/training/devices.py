"""Where a run computes."""

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from slt_pipeline.errors import SltError
from slt_pipeline.training import distributed
from slt_pipeline.training.threads import num_cores


def pick_device(name: str) -> torch.device:
    """Return the device of this process: `auto` is CUDA where there is one, else the CPU; else a torch device name.

    Of several processes on one machine each has the GPU of its number there, and nothing on another one.

    Raises:
        SltError: the device is not there, or is one GPU for several processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and distributed.started() > 1:
        if name != "cuda":
            raise SltError(
                f"--device {name} is one GPU, and there are {distributed.started()} processes; use --device cuda"
            )
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if name == "cpu":
        _keep_heap()
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SltError(f"device {name} cannot be used here ({reason}); --device auto|cpu|cuda") from error
    return device


def require_precision(device: torch.device, precision: str) -> None:
    """Refuse to train in a precision that the device has none of; stages ask before they give up anything old.

    Args:
        device: where the run computes.
        precision: `fp32`, `fp16` or `bf16`.

    Raises:
        SltError: the device cannot compute in this precision.
    """
    if precision == "fp16" and device.type == "cpu":
        raise SltError("training.precision fp16 needs a GPU, and the device is cpu; use fp32 or bf16")


@contextmanager
def room_for_loaders(device: torch.device, num_workers: int) -> Iterator[None]:
    """Compute on a CPU with as many threads as loader processes leave cores, which is faster than with all of them.

    Threads of one step wait for each other, and so for the one whose core a loader has.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and num_workers:
        torch.set_num_threads(max(1, min(before, num_cores() - num_workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def loaders_alive(title: str, stop: Callable[[], bool]) -> Iterator[None]:
    """Say in words that a loader process has died, which torch raises wherever this process stands.

    Raises:
        KeyboardInterrupt: all were to stop, and it had not got as far as to wait for the end of the step.
        SltError: it has died otherwise.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        if stop():
            raise KeyboardInterrupt from error
        raise SltError(
            f"{title}: a loader process has died ({' '.join(str(error).split())}); if memory was short, lower "
            "training.num_workers; run the same command again to go on from the last checkpoint"
        ) from error


@dataclass
class FreeMemory:
    """What is free between what is in use, which glibc keeps.

    Batches of many lengths leave holes into which the next ones do not fit: gigabytes in a run of minutes.
    """

    every: float = 60.0
    """Seconds between two times that it is given back: once costs up to half a second."""
    since: float = field(default_factory=time.monotonic)

    def give_back(self) -> None:
        """Give it back to the system, where glibc has it, if it is time to."""
        if time.monotonic() - self.since < self.every:
            return
        if trim := _of_glibc("malloc_trim"):
            trim(0)
        self.since = time.monotonic()


def _keep_heap() -> None:
    """Ask glibc to keep freed memory: giving it back and faulting it in anew costs a seventh of a training step."""
    if mallopt := _of_glibc("mallopt"):
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(option, value)


def _of_glibc(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
