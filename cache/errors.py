"""The one error of the store."""

REPAIR = "see what is damaged with `slt cache verify`, drop it with `slt cache repair`, then extract again"


class StoreError(Exception):
    """A store that cannot be used as asked: one line that names the thing, both values, and the cure."""
