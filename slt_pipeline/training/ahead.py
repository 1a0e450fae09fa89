"""A process that imports what workers will need while their parent still does; workers are its forks."""

import os
import signal
from multiprocessing import forkserver, get_all_start_methods, get_context, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

_GPU = Path("/dev/nvidiactl")
_begun: list[str] = []


def import_ahead(module: str, threads: int) -> None:
    """Begin to import a module for workers, and return at once.

    They then start in no time and share its memory, where each would import torch anew. Beside a GPU nothing is begun:
    a fork of a process that has used one is not sound, and what an import does there is not ours to know.

    Args:
        module: what jobs of `side_by_side` need.
        threads: what each of them computes with.
    """
    if _GPU.exists() or "forkserver" not in get_all_start_methods():
        return
    get_context("forkserver").set_forkserver_preload([module])
    resource_tracker.ensure_running()  # or it is started on the way, and lets signals through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # or Ctrl-C meets an import, and it says where
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        forkserver.ensure_running()
        _begun.append(module)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def context_of_workers() -> ForkServerContext | SpawnContext:
    """Return what starts processes: from what was imported ahead, or each from nothing."""
    return get_context("forkserver") if _begun else get_context("spawn")
