"""A lock that survives a fork."""

import os
from threading import Lock


class ForkLock:
    """A lock among threads, which a forked process finds free even if a thread held it that it does not have."""

    def __init__(self) -> None:
        self._lock, self._process = Lock(), os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock, self._process = Lock(), os.getpid()
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
