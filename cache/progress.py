"""How long work says how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], object]
"""Called after each clip with the bytes of features that were done since the last call, and those of the whole work."""


def ignore(done: int, total: int) -> None:
    """Show nothing."""
