"""Work done by a user who may do little, whoever runs the tests."""

import multiprocessing
import os
from collections.abc import Callable

from cache import StoreError

_fork = multiprocessing.get_context("fork")


def as_nobody(work: Callable[[], object]) -> str:
    """Do the work in a process without privileges; return what the StoreError says, or "done"."""
    results = _fork.SimpleQueue()
    process = _fork.Process(target=_run, args=(work, results))
    process.start()
    process.join()
    return results.get()


def _run(work: Callable[[], object], results: "multiprocessing.SimpleQueue[str]") -> None:
    if os.geteuid() == 0:  # who may do anything
        os.setgroups([])
        os.setuid(65534)
    try:
        work()
    except StoreError as error:
        results.put(str(error))
    except BaseException as error:
        results.put(repr(error))
    else:
        results.put("done")
