"""Care for stores: what is damaged, what can go, what is copied. Each module is a verb."""

from collections.abc import Callable

Progress = Callable[[int, int], object]
"""Called after each clip with the bytes of features that were done since the last call, and those of the whole work."""


def ignore(done: int, total: int) -> None:
    """Show nothing."""
