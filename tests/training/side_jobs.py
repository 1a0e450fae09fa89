"""Jobs for tests of processes side by side."""

import logging
import os
import signal
import sys
import time
from pathlib import Path

from slt_pipeline.errors import SltError

log = logging.getLogger("slt_pipeline.side_jobs")


def note(folder: Path, name: str, seconds: float = 0.0) -> str:
    """Write down when it was here, and say so."""
    (folder / f"{name}.started").touch()
    log.info("%s is here", name)
    time.sleep(seconds)
    (folder / f"{name}.ended").touch()
    return name


def die(how: signal.Signals) -> None:
    os.kill(os.getpid(), how)
    time.sleep(60)


def fail(user: bool) -> None:
    raise SltError("no such clip") if user else ZeroDivisionError("by nothing")


def fail_behind(folder: Path, other: str) -> None:
    """Fail when another job is on its way."""
    while not (folder / f"{other}.started").exists():
        time.sleep(0.05)
    fail(True)


def threads() -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def note_id(folder: Path, seconds: float) -> None:
    """Write down which process this is, and stay."""
    (folder / "writing").write_text(str(os.getpid()), encoding="utf-8")
    (folder / "writing").rename(folder / "id")
    time.sleep(seconds)


def has_module(name: str) -> bool:
    return name in sys.modules
