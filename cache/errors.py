"""The one error of the store."""

import errno

REPAIR = "see what is damaged with `slt cache verify`, drop it with `slt cache repair`, then extract again"


class StoreError(Exception):
    """A store that cannot be used as asked: one line that names the thing, both values, and the cure."""


def cannot_read(where: str, error: OSError) -> StoreError:
    """Return the error for a file that the system does not let us read."""
    cure = _CURES.get(error.errno or 0, "try again when that is fixed")
    return StoreError(f"cannot read {where} ({error.strerror or error}): {cure}")


_CURES = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EMFILE: "allow this process more open files (ulimit -n)",
    errno.ENFILE: "allow this machine more open files",
    errno.ENOENT: f"{REPAIR}; if clips were removed meanwhile, open the store again",
    errno.EIO: REPAIR,
}
