"""Care for stores: what is damaged, what can go, what is copied. Each module is a verb."""

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cache.errors import StoreError, cannot_read
from cache.header import HEADER_PATH
from cache.places import files_at
from cache.places.base import Files

Progress = Callable[[int, int], object]
"""Called after each clip with the bytes of features that were done since the last call, and those of the whole work."""


def ignore(*done: int) -> None:
    """Show nothing."""


def header_bytes(files: Files) -> bytes:
    """Return store.json. Raises StoreError if there is none."""
    try:
        return files.read(HEADER_PATH)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"there is no feature store at {files.root}") from None
    except OSError as error:
        raise cannot_read(files.describe(HEADER_PATH), error) from error


@contextmanager
def caring(files: Files, *, yes: bool = False) -> Iterator[None]:
    """Be the only one to repair, prune, restore, copy into or delete a store while the block runs.

    That is a lock on store.json, which never changes: nothing is left of it, and who dies lets it go.

    Raises:
        StoreError: another process has it; or, unless `yes`, the file system has no locks.
    """
    with ExitStack() as held:
        try:
            held.enter_context(files.lock(HEADER_PATH))
        except BlockingIOError as error:
            raise StoreError(
                f"{files.root} is being repaired, pruned, copied into or deleted by another process: "
                "wait for its end, and try again"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise cannot_read(files.describe(HEADER_PATH), error) from error
            if not yes:
                raise StoreError(
                    f"{files.root} lies on a file system without locks, so that others may be caring for it too: "
                    "see that nobody does, and say so (yes=True, or --yes)"
                ) from error
        yield


@contextmanager
def changing(path: str | Path, files: Files | None, *, yes: bool = False) -> Iterator[Files]:
    """Care for a store that is there, in a place that can be changed; what the system refuses is a StoreError."""
    files = files or files_at(path)
    files.require_writable()
    header_bytes(files)
    try:
        with caring(files, yes=yes):
            yield files
    except OSError as error:
        raise StoreError(
            f"cannot change {error.filename2 or error.filename or files.root}: {error.strerror or error}: no clip was "
            "lost but those that are to go; fix that and run again"
        ) from error
