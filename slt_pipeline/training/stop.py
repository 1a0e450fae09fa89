"""Stopping: a signal asks for the end of the run, which comes when the step in progress is done and saved."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from slt_pipeline.training import distributed

log = logging.getLogger(__name__)


@contextmanager
def stop_after_step() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM came; a second Ctrl-C stops at once.

    A SIGTERM beside it does not: a scheduler and a parent process each pass on what the others have sent. Nor does
    anything where there are several processes: their launcher passes on what has reached them already.
    """
    asked: list[int] = []

    def ask(signum: int, frame: Any) -> None:
        if signum == signal.SIGINT and signum in asked and distributed.world() == 1:
            raise KeyboardInterrupt
        if not asked:
            again = "; press Ctrl-C again to stop at once" if distributed.world() == 1 else ""
            log.warning("stopping after this step%s", again)
        asked.append(signum)

    try:
        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever runs the threads handles signals
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def outlive_signals(worker: int) -> None:
    """Set up a loader process: what stops a run reaches it too, and the step in progress may need its batches.

    A second SIGTERM ends it: who has no more use for it sends that.
    """

    def wait_for_second(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, wait_for_second)
