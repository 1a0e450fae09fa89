"""What the store asks of the place where its files lie: every file operation, so that a test can stop after any.

All paths are strings relative to the store's folder, with `/` between their parts.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from cache.errors import StoreError


class Files:
    """The files of one store. Picklable; safe under threads.

    A place that is only read does not override what changes files, which is refused here.

    root: the folder or URL, for messages and for opening it again.
    open_files: path -> descriptor of the files that are kept open; empty where there are no descriptors.
    """

    root: Path
    open_files: dict[str, int]

    writable = False
    """Whether a store can be made and changed here."""
    lists_at_once = False
    """Whether a folder is listed as it is at one moment, even while it changes."""

    def read(self, path: str) -> bytes:
        """Return a whole small file. Raises FileNotFoundError if it is not there."""
        raise NotImplementedError

    def read_each(self, paths: Iterable[str]) -> Iterable[bytes]:
        """Return whole small files."""
        return map(self.read, paths)

    def exists(self, path: str) -> bool:
        """Say whether a file or folder is there. Raises StoreError where that is not to be known."""
        raise NotImplementedError

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; none if there is no such folder."""
        raise NotImplementedError

    def size(self, path: str) -> int:
        """Return the bytes of a file. Raises FileNotFoundError if it is not there."""
        raise NotImplementedError

    def disk_usage(self, path: str) -> int:
        """Return the bytes that a file takes: fewer than its size where it has holes."""
        return self.size(path)

    def walk(self, folder: str) -> list[str]:
        """Return all files below a folder, sorted."""
        raise NotImplementedError

    def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
        """Fill `out` (contiguous) from the bytes at `offset`. Raises StoreError where the file ends too early."""
        raise NotImplementedError

    def read_many(self, wanted: Iterable[tuple[str, int, np.ndarray]]) -> None:
        """Do `read_into` for each (path, offset, out)."""
        for path, offset, out in wanted:
            self.read_into(path, offset, out)

    def describe(self, path: str) -> str:
        """Return the file's full name for messages."""
        return f"{self.root}/{path}"

    def require_writable(self) -> None:
        """Raise StoreError if this is a place that is only read, whatever its permissions."""
        if not self.writable:
            self._refuse()

    def create(self, files: dict[str, bytes], folders: Iterable[str] = ()) -> None:
        """Make the store's folder with these files and folders, all or nothing. Raises FileExistsError if it exists."""
        del files, folders
        self._refuse()

    def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> None:
        """Write a new file from buffers; with `size`, end it with a hole of zeros up to that many bytes."""
        del path, parts, size
        self._refuse()

    def write_whole(self, path: str, data: bytes, temporary: str) -> None:
        """Write a small file, which appears whole, by way of a temporary name; its folder is for the caller to sync."""
        self.write(temporary, [data])
        self.sync(temporary)
        self.rename(temporary, path)

    def sync(self, path: str) -> None:
        """Wait until the file's bytes (or the folder's names) are on the disk."""
        del path
        self._refuse()

    def rename(self, source: str, target: str) -> None:
        """Give a file its final name, replacing what has it."""
        del source, target
        self._refuse()

    def claim(self, path: str) -> bool:
        """Make a file that says who we are if nobody has it yet; say whether it was us."""
        del path
        self._refuse()

    def claim_is_live(self, path: str) -> bool:
        """Say whether whoever made a claim is still there."""
        del path
        self._refuse()

    def remove(self, path: str) -> None:
        """Remove a file or empty folder, if it is there. Raises StoreError if links make it lie outside the store."""
        del path
        self._refuse()

    def age(self, path: str) -> float:
        """Return the seconds since a file or folder was last changed, by the file system's own clock."""
        del path
        self._refuse()

    def close(self) -> None:
        """Close what is open; what is read later opens it anew."""

    def _refuse(self) -> NoReturn:
        raise StoreError(f"{self.root} is an object store, which is read only: change a local copy and upload that")
