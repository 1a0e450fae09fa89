"""The errors of the store: one kind for all, and of it what is not there, what is damaged, what others have made."""

import errno

REPAIR = "verify the store, repair it, and make what is lost again"


class StoreError(Exception):
    """A store that cannot be used as asked: one line that names the thing, both values, and the cure."""


class NotFoundError(StoreError):
    """A store, a stream or a clip that is not there."""


class DamagedError(StoreError):
    """Bytes that are not those that were written."""


class MadeByOtherError(StoreError):
    """A store that is sound, and was made by something else than was asked for."""


def is_missing(error: StoreError) -> bool:
    """Say whether it is that a file is not there: what it held may have moved since it was looked up."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOENT


def cannot_read(where: str, error: OSError) -> StoreError:
    """Return the error for a file that the system does not let us read."""
    kind = DamagedError if error.errno in (errno.ENOENT, errno.EIO) else StoreError
    cure = _CURES.get(error.errno or 0, "try again when that is fixed")
    return kind(f"cannot read {where} ({error.strerror or error}): {cure}")


_CURES = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EMFILE: "allow this process more open files (ulimit -n)",
    errno.ENFILE: "allow this machine more open files",
    errno.ENOENT: REPAIR,
    errno.EIO: REPAIR,
}
