"""A copy of a store in an object store (S3, Google, Azure, HTTP), read in place. Needs obstore: the extra `s3`.

Writing needs files that can be renamed, so a store is made in a folder and copied; ranges of its files are read.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np

from cache.errors import REPAIR, StoreError
from cache.files import LocalFiles

NUM_CONNECTIONS = 16
"""Ranges that are fetched at once: what a batch costs is the time that the network takes to answer, not its bytes."""


class ObjectFiles(LocalFiles):
    """The files of a store below a URL, such as `s3://bucket/features`. Picklable; fork before the first use.

    Settings (region, endpoint, credentials) come from the environment as obstore reads it: AWS_REGION, AWS_ENDPOINT_URL
    and so on.
    """

    def __init__(self, url: str) -> None:
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            raise StoreError(f"{url} needs obstore: pip install 'slt-pipeline[s3]'") from error
        self.root = url.rstrip("/")  # pyright: ignore[reportAttributeAccessIssue] (a URL is no path)
        self.open_files = {}
        self._errors = (OSError, ValueError, BaseError)
        try:
            self._objects = from_url(self.root)
        except self._errors as error:
            raise StoreError(f"{url} is not a URL of an object store: {_first_line(error)}") from error

    def read(self, path: str) -> bytes:
        """Return a whole small file. Raises FileNotFoundError if it is not there."""
        import obstore

        try:
            return bytes(obstore.get(self._objects, path).bytes())
        except FileNotFoundError:
            raise
        except self._errors as error:
            self._fail(path, error)

    def exists(self, path: str) -> bool:
        """Say whether a file is there."""
        import obstore

        try:
            obstore.head(self._objects, path)
        except FileNotFoundError:
            return False
        except self._errors as error:
            self._fail(path, error)
        return True

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; none if there is no such folder."""
        import obstore

        try:
            found = obstore.list_with_delimiter(self._objects, folder)
        except self._errors as error:
            self._fail(folder, error)
        paths = [item["path"] for item in found["objects"]] + list(found["common_prefixes"])
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        import obstore

        return obstore.head(self._objects, path)["size"]

    def disk_usage(self, path: str) -> int:
        """Return the bytes of a file."""
        return self.size(path)

    def walk(self, folder: str) -> list[str]:
        """Return all files below a folder, sorted."""
        import obstore

        try:
            return sorted(item["path"] for page in obstore.list(self._objects, folder) for item in page)
        except self._errors as error:
            self._fail(folder, error)

    def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
        """Fill `out` (contiguous) from the bytes at `offset`. Raises StoreError where the file ends too early."""
        import obstore

        if not out.nbytes:
            return
        try:
            data = obstore.get_range(self._objects, path, start=offset, length=out.nbytes)
        except self._errors as error:
            self._fail(path, error)
        if len(data) != out.nbytes:
            raise StoreError(f"{self.describe(path)} has {offset + len(data)} bytes, {offset + out.nbytes} needed")
        out.reshape(-1).view(np.uint8)[:] = np.frombuffer(memoryview(data), np.uint8)

    def read_many(self, wanted: Iterable[tuple[str, int, np.ndarray]]) -> None:
        """Do `read_into` for each (path, offset, out), many at once."""
        with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
            for _ in pool.map(lambda item: self.read_into(*item), wanted):
                pass

    def describe(self, path: str) -> str:
        """Return the file's URL for messages."""
        return f"{self.root}/{path}"

    def create(self, files: dict[str, bytes], folders: Iterable[str] = ()) -> NoReturn:
        """Refuse."""
        self._refuse()

    def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> NoReturn:
        """Refuse."""
        self._refuse()

    def rename(self, source: str, target: str) -> NoReturn:
        """Refuse."""
        self._refuse()

    def claim(self, path: str) -> NoReturn:
        """Refuse."""
        self._refuse()

    def remove(self, path: str) -> NoReturn:
        """Refuse."""
        self._refuse()

    def close(self) -> None:
        """Do nothing: connections close by themselves."""

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.root}

    def _refuse(self) -> NoReturn:
        raise StoreError(f"{self.root} is an object store, which is read only: change a local copy and upload that")

    def _fail(self, path: str, error: BaseException) -> NoReturn:
        raise StoreError(f"cannot read {self.describe(path)} ({_first_line(error)}): {REPAIR}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
