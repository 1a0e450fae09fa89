"""A store in memory that stops, or fails, at any of its file operations."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cache.testing.memory import MemoryFiles


class Stopped(BaseException):
    """The process is gone: nothing may catch this but the test."""


class FaultyFiles(MemoryFiles):
    """Fails at the n-th changing operation once `armed`: stops for good, or raises `error` that once.

    torn: a write that is stopped leaves its first half.
    """

    def __init__(self, stop_at: int, *, torn: bool = False, error: OSError | None = None) -> None:
        super().__init__()
        self.armed, self.stopped = False, False
        self._left_to_do, self._torn, self._error = stop_at, torn, error

    def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> None:
        """Write a new file, or the first half of it."""
        parts = list(parts)
        stop = self._count(quiet=self._torn)
        super().write(path, [b"".join(bytes(part) for part in parts)[: 10 if stop else None]], None if stop else size)
        if stop:
            self._count()

    def sync(self, folder: str) -> None:
        """Sync, or fail."""
        self._count()
        super().sync(folder)

    def rename(self, source: str, target: str) -> None:
        """Rename, or fail."""
        self._count()
        super().rename(source, target)

    def claim(self, path: str, data: bytes) -> bool:
        """Claim, or fail."""
        self._count()
        return super().claim(path, data)

    def remove(self, path: str) -> None:
        """Remove, or fail."""
        self._count()
        super().remove(path)

    def _count(self, quiet: bool = False) -> bool:
        """Count an operation; at the one to fail raise, or if `quiet` return True."""
        if not self.armed:
            return False
        self._left_to_do -= 1
        if self._left_to_do >= 0 or (self._error and self.stopped):
            return False
        if quiet and not self.stopped:
            self._left_to_do = 0
            return True
        self.stopped = True
        raise self._error or Stopped


def each_operation(least: int, **options: Any) -> Iterator[FaultyFiles]:
    """Yield an empty place that fails at its first operation, one that fails at its second, and so on to the last.

    least: how many operations there must be, lest the loop shows nothing.
    """
    for stop_at in range(1000):
        place = FaultyFiles(stop_at, **options)
        yield place
        if not place.stopped:
            break
    assert least <= stop_at < 999


def until_stopped(place: FaultyFiles, work: Callable[[], object]) -> None:
    place.armed = True
    try:
        work()
    except Stopped:
        pass
    finally:
        place.armed = False
