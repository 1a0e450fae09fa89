"""The one error of the store."""

REPAIR = "see what is damaged with `slt cache verify`, drop it with `slt cache repair`, then extract again"


class StoreError(Exception):
    """A store that cannot be used as asked: one line that names the thing, both values, and the cure."""


def cannot_read(where: str, error: OSError) -> StoreError:
    """Return the error for a file that the system does not let us read."""
    cure = "let yourself read it" if isinstance(error, PermissionError) else REPAIR
    return StoreError(f"cannot read {where} ({error.strerror or error}): {cure}")
