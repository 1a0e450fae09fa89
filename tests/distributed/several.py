"""Real processes as a launcher starts them, but forked from one that has imported everything, so they are cheap."""

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(  # of the project alone: before Python 3.13 it does not look where tests import from
    [
        "torch",
        "slt_pipeline.cli.main",
        "slt_pipeline.stages.extract",
        "slt_pipeline.stages.gloss2text_train",
        "slt_pipeline.stages.joint_train",
        "slt_pipeline.stages.translate_train",
        "slt_pipeline.stages.visual_pretrain",
        "slt_pipeline.stages.visual_train",
    ]
)


@dataclass
class Ended:
    """How the processes of one command ended."""

    codes: list[int]
    """Exit status of each; the negative number of a signal."""
    logs: list[str]
    """What each wrote."""
    seconds: float

    @property
    def log(self) -> str:
        return "\n".join(self.logs)


class Several:
    """`world` processes that run the same call."""

    def __init__(self, world: int, folder: Path, call: Callable[..., Any], *arguments: Any):
        folder.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        self.logs = [folder / f"{time.monotonic_ns()}-{rank}.log" for rank in range(world)]
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
        each = [{**where, "RANK": str(r), "LOCAL_RANK": str(r), "LOCAL_WORLD_SIZE": str(world)} for r in range(world)]
        self.processes = [
            CONTEXT.Process(target=_child, args=(environment, str(log), call, arguments))
            for environment, log in zip(each if world > 1 else [{}], self.logs, strict=True)
        ]
        for process in self.processes:
            process.start()

    def kill(self, rank: int, signum: int = signal.SIGKILL) -> None:
        os.kill(self.processes[rank].pid, signum)

    def wait(self, seconds: float = 120) -> Ended:
        """Wait until all have ended; those that have not by then are killed, and the status says so."""
        until = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.1, until - time.monotonic()))
        took = time.monotonic() - self.started
        for process in self.processes:
            if process.is_alive():
                process.kill()
                process.join()
        logs = [log.read_text(encoding="utf-8") if log.is_file() else "" for log in self.logs]
        return Ended([process.exitcode for process in self.processes], logs, took)


def run(world: int, folder: Path, call: Callable[..., Any], *arguments: Any, seconds: float = 120) -> Ended:
    """Run a call in `world` processes to their end."""
    return Several(world, folder, call, *arguments).wait(seconds)


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until a condition is true, and return its value."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def slt(*arguments: str) -> None:
    """The command line, in which no process but the first may write a file outside the store."""
    from slt_pipeline import files
    from slt_pipeline.cli.main import main
    from slt_pipeline.training import distributed

    replacing = files.replacing

    def only_the_first(path: Path):
        assert distributed.is_main(), f"process {distributed.rank()} writes {path}"
        return replacing(path)

    files.replacing = only_the_first
    sys.argv = ["slt", *arguments]
    main()


def lines(path: Path, **wanted: Any) -> list[dict[str, Any]]:
    """Records of a JSON Lines file that have these values."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [record for record in records if wanted.items() <= record.items()]


def _child(environment: Mapping[str, str], log: str, call: Callable[..., Any], arguments: tuple) -> None:
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
    call(*arguments)
