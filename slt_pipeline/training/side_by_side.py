"""Independent jobs, so many at a time, in processes of their own: one that dies takes no other with it."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from logging.handlers import QueueHandler
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from slt_pipeline.errors import SltError
from slt_pipeline.training.ahead import context_of_workers
from slt_pipeline.training.distributed import started
from slt_pipeline.training.stop import stop_after_step

log = logging.getLogger(__name__)
package = logging.getLogger("slt_pipeline")


@dataclass(frozen=True)
class Job:
    """A call that another process can make: a function of a module, and plain data."""

    name: str
    """Stands before the lines that it logs."""
    call: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()
    """Names of the jobs that have to end well before it starts."""
    here: bool = False
    """Whether the call has so little to do that it is made in this process."""


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    job: Job
    seconds: float
    value: Any = None
    """What the call returned."""
    error: str | None = None
    """Why it returned nothing, where it was not stopped from here."""
    stopped: bool = False
    """Whether it was stopped on the way, with all the others."""


def side_by_side(
    jobs: Sequence[Job],
    at_once: int,
    threads: int,
    on_end: Callable[[Ended], None],
    more: Callable[[], Job | None] = lambda: None,
) -> None:
    """Do jobs, the first of those that can start first; log a line as each ends.

    Ctrl-C and SIGTERM are passed on, and a training run is saved as it would be alone.

    Args:
        jobs: what is to be done.
        at_once: how many run at a time.
        threads: what each computes with on a CPU, so that its numbers do not depend on what runs beside it.
        on_end: called here after each job; what it raises stops the others, and is raised when they have ended.
        more: gives a further job where all of those are begun and one more has room; None: there is none.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM.
    """
    if started() > 1:
        raise SltError("jobs go side by side in processes of their own; start the command without a launcher")
    left, workers, well = list(jobs), list[_Worker](), set[str]()

    def end(ended: Ended) -> None:
        if not ended.stopped:
            to_go = len(left) + sum(worker.busy for worker in workers)
            log.info("%s: ended after %.0f s, %d left", ended.job.name, ended.seconds, to_go)
        if ended.error is None and not ended.stopped:
            well.add(ended.job.name)
        on_end(ended)

    with stop_after_step() as stop:
        try:
            while True:
                while not stop() and sum(worker.busy for worker in workers) < at_once:
                    job = _ready(left, well) or more()
                    if job is None:
                        break
                    if job.here:
                        end(_here(job))
                    else:
                        _worker_of(workers, threads).begin(job)
                if not any(worker.busy for worker in workers):
                    break
                for ended in _heard(workers, stop()):
                    end(ended)
        except KeyboardInterrupt:  # a second Ctrl-C
            for worker in workers:
                worker.process.kill()
            raise
        finally:
            for worker in workers:
                worker.process.terminate()
                worker.pipe.close()  # so that it waits for no further job
            for worker in workers:
                worker.process.join()
        if stop():
            raise KeyboardInterrupt
    for job in left:
        missing = ", ".join(name for name in job.needs if name not in well)
        on_end(Ended(job, 0.0, error=f"it needs {missing}, which did not end well"))


def _ready(left: list[Job], well: set[str]) -> Job | None:
    """Take out the first job that can start."""
    place = next((place for place, job in enumerate(left) if well.issuperset(job.needs)), None)
    return None if place is None else left.pop(place)


def _here(job: Job) -> Ended:
    """Make a call that has little to do in this process."""
    since = time.monotonic()
    try:
        value, error = job.call(*job.arguments), None
    except SltError as refusal:
        value, error = None, str(refusal)
    return Ended(job, time.monotonic() - since, value, error)


def _worker_of(workers: list["_Worker"], threads: int) -> "_Worker":
    """Return a worker that has nothing to do: to start one takes the seconds in which it imports torch."""
    if (idle := next((worker for worker in workers if not worker.busy), None)) is not None:
        return idle
    workers.append(_Worker(threads))
    return workers[-1]


def _heard(workers: list["_Worker"], stopping: bool) -> list[Ended]:
    """Take in what workers have to say, for at most a moment; return the jobs that have ended."""
    if stopping:
        for worker in workers:
            worker.ask_to_stop()
    heard = wait([worker.pipe for worker in workers], timeout=0.2)
    found = [worker.listen(stopping) for worker in workers if worker.pipe in heard]
    workers[:] = [worker for worker in workers if not worker.gone]
    return [ended for ended in found if ended is not None]


class _Worker:
    """A process that does one job after the other."""

    def __init__(self, threads: int):
        """Start it."""
        context = context_of_workers()  # a fork of this process, which has used CUDA or threads, is not sound
        self.job: Job | None = None
        self.since, self.asked, self.gone = 0.0, False, False
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, threads, package.getEffectiveLevel()))
        self.process.start()
        theirs.close()

    @property
    def busy(self) -> bool:
        return self.job is not None

    def begin(self, job: Job) -> None:
        self.job, self.since = job, time.monotonic()
        with suppress(OSError):  # it has died: `listen` hears of it
            self.pipe.send((job.call, job.arguments))

    def ask_to_stop(self) -> None:
        if not self.asked:
            self.process.terminate()
            self.asked = True

    def listen(self, stopping: bool) -> Ended | None:
        """Take in a log line, the answer, or the end of the process."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.gone, message = True, (None, f"its process {_how(self.process.exitcode or 0)}")
        if isinstance(message, logging.LogRecord):
            message.msg = f"{self.job.name}: {message.msg}" if self.job else message.msg
            logging.getLogger(message.name).handle(message)
            return None
        job, self.job = self.job, None
        if job is None:
            return None
        value, error = message
        seconds = time.monotonic() - self.since
        if stopping and error is not None:
            return Ended(job, seconds, stopped=True)
        return Ended(job, seconds, value, error)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    cure = "; if memory was short, run fewer at a time" if code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{cure}"


def _work(pipe: Connection, threads: int, level: int) -> None:
    """What a worker does: a call comes through the pipe, and the answer goes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # where no run is to be saved, stop at once
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked in what a fork comes from
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:  # or it finds the variable
        sys.modules["torch"].set_num_threads(threads)
    sys.stderr = _NoTerminal(sys.stderr.buffer, "utf-8", "backslashreplace", line_buffering=True)
    package.handlers[:], package.propagate = [_ToParent(pipe)], False  # type: ignore[list-item]
    package.setLevel(level)
    with suppress(KeyboardInterrupt, OSError):  # asked to stop with nothing to do, or the parent is gone
        while True:
            pipe.send(_answer(pipe))
    for asked in (signal.SIGINT, signal.SIGTERM):  # terminal and parent both ask, and it is on its way out
        signal.signal(asked, signal.SIG_IGN)


def _answer(pipe: Connection) -> tuple[Any, str | None]:
    """What a call returned, or why it returned nothing."""
    pipe.poll(None)
    try:
        call, arguments = pipe.recv()  # imports what the call needs
        return call(*arguments), None
    except KeyboardInterrupt:
        return None, "its process was asked to stop"
    except SltError as error:
        return None, str(error)
    except Exception as error:
        log.warning("failed", exc_info=True)
        return None, f"{type(error).__name__}: {error}"


def _stop_with_parent() -> None:
    """A parent that is killed passes nothing on."""
    if (parent := parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _ToParent(QueueHandler):
    """Sends log records through a pipe, as plain text."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # the parent hears no more
            self.queue.send(record)  # type: ignore[union-attr]


class _NoTerminal(TextIOWrapper):
    """The standard error of one job among several: their progress bars would be drawn over each other."""

    def isatty(self) -> bool:
        return False
