"""What the store asks of the place where its files lie: every file operation, so that a test can stop after any.

All paths are strings relative to the store's folder, with `/` between their parts.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
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
    open_files: dict[str, Any]

    writable = False
    """Whether a store can be made and changed here."""
    lists_at_once = False
    """Whether a folder is listed as it is at one moment, even while it changes."""

    def read(self, path: str) -> bytes:
        """Return a whole small file. Raises FileNotFoundError if it is not there."""
        raise NotImplementedError

    def map(self, path: str) -> Any:
        """Return a file as a buffer, of which no more is read than is used where the place can do that."""
        return self.read(path)

    def version(self, path: str) -> object:
        """Return what is another if the file is another. Raises FileNotFoundError if it is not there."""
        return self.read(path)

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
        self._refuse()

    def write(self, path: str, parts: Iterable[Any]) -> None:
        """Write a new file from buffers, on to the disk."""
        self._refuse()

    def write_each(self, parts: Mapping[str, Iterable[Any]], folder: str) -> None:
        """Write new files as `write` does, and wait for the names in a folder too."""
        for path in parts:
            self.write(path, parts[path])
        self.sync(folder)

    def write_whole(self, path: str, data: bytes, temporary: str) -> None:
        """Write a small file, which appears whole, by way of a temporary name; its folder is for the caller to sync."""
        self.write(temporary, [data])
        self.rename(temporary, path)

    def sync(self, folder: str) -> None:
        """Wait until the names in a folder are on the disk."""
        self._refuse()

    def rename(self, source: str, target: str) -> None:
        """Give a file its final name, replacing what has it."""
        self._refuse()

    def rename_new(self, source: str, target: str) -> None:
        """Give a file its final name. Raises FileExistsError where that is taken, whoever takes it meanwhile."""
        self._refuse()

    def claim(self, path: str, data: bytes) -> bool:
        """Make a file of these bytes, and show that we live until it is removed; False if somebody has it already."""
        self._refuse()

    def claim_is_live(self, path: str) -> bool:
        """Say whether whoever made a claim is still there."""
        self._refuse()

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Hold a file for us alone while a block runs; who dies lets it go. Raises BlockingIOError if others do."""
        self._refuse()

    def require_inside(self, path: str) -> None:
        """Raise StoreError if links make a file lie outside the store."""

    def reload(self, path: str) -> None:
        """Let what is read of a file next come from the disk, and not from what the system remembers of it."""

    def remove(self, path: str) -> None:
        """Remove a file or empty folder, if it is there. Raises StoreError if links make it lie outside the store."""
        self._refuse()

    def age(self, path: str) -> float:
        """Return the seconds since a file or folder was last changed, by the file system's own clock."""
        self._refuse()

    def forget(self, paths: Iterable[str]) -> None:
        """Close files that nobody asks for any more, once nobody is reading from them."""
        for path in paths:
            self.open_files.pop(path, None)

    def close(self) -> None:
        """Close what is open; what is read later opens it anew."""

    def _refuse(self) -> NoReturn:
        raise StoreError(f"{self.root} is an object store, which is read only: change a local copy and upload that")
