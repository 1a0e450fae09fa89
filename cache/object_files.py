"""A copy of a store in an object store (S3, Google, Azure, WebDAV), read in place. Needs obstore: the extra `s3`.

Writing needs files that can be renamed, so a store is made in a folder and copied; ranges of its files are read.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np

from cache.errors import StoreError
from cache.files import LocalFiles
from cache.objects import NUM_CONNECTIONS, Helper, Objects, forked

PART = 1 << 22
"""Bytes fetched by one request at most: longer ranges come in parts, several at once."""


class ObjectFiles(LocalFiles):
    """The files of a store below a URL, such as `s3://bucket/features`. Picklable; safe under fork and threads.

    Settings (region, endpoint, credentials) come from the environment as obstore reads it: AWS_REGION, AWS_ENDPOINT_URL
    and so on. A process that was forked, before or after the first read, reads through a helper process of its own
    (see `cache.objects`), which takes some tenths of a second to start: spawned processes need none.
    """

    lists_at_once = True

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")  # pyright: ignore[reportAttributeAccessIssue] (a URL is no path)
        self.open_files = {}
        self._helpers: dict[int, Helper] = {}  # process -> its helper
        self._objects = None if forked() else Objects(self.root)

    def read(self, path: str) -> bytes:
        """Return a whole small file. Raises FileNotFoundError if it is not there."""
        return self._ask("read", path)

    def read_each(self, paths: Iterable[str]) -> Iterable[bytes]:
        """Return whole small files, many at once."""
        return self._ask_all([("read", path) for path in paths])

    def exists(self, path: str) -> bool:
        """Say whether a file is there."""
        return self._ask("exists", path)

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; none if there is no such folder."""
        return self._ask("names", folder)

    def size(self, path: str) -> int:
        """Return the bytes of a file. Raises FileNotFoundError if it is not there."""
        return self._ask("size", path)

    def disk_usage(self, path: str) -> int:
        """Return the bytes of a file."""
        return self.size(path)

    def walk(self, folder: str) -> list[str]:
        """Return all files below a folder, sorted."""
        return self._ask("walk", folder)

    def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
        """Fill `out` (contiguous) from the bytes at `offset`. Raises StoreError where the file ends too early."""
        self.read_many([(path, offset, out)])

    def read_many(self, wanted: Iterable[tuple[str, int, np.ndarray]]) -> None:
        """Do `read_into` for each (path, offset, out), many at once."""
        parts: list[tuple[str, int, np.ndarray]] = []
        for path, offset, out in wanted:
            flat = out.reshape(-1).view(np.uint8)
            parts += [(path, offset + start, flat[start : start + PART]) for start in range(0, len(flat), PART)]
        answers = self._ask_all([("range", path, start, len(out)) for path, start, out in parts])
        for (_, _, out), data in zip(parts, answers, strict=True):
            out[:] = np.frombuffer(data, np.uint8)

    def describe(self, path: str) -> str:
        """Return the file's URL for messages."""
        return f"{self.root}/{path}"

    def require_writable(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def create(self, files: dict[str, bytes], folders: Iterable[str] = ()) -> NoReturn:
        """Refuse."""
        self._refuse()

    def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> NoReturn:
        """Refuse."""
        self._refuse()

    def sync(self, path: str) -> NoReturn:
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

    def age(self, path: str) -> NoReturn:
        """Refuse: only a writer asks."""
        self._refuse()

    def close(self) -> None:
        """End the helper process, if this process has one; connections close by themselves."""
        if helper := self._helpers.pop(os.getpid(), None):
            helper.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.root}

    def _ask(self, *question: Any) -> Any:
        (answer,) = self._ask_all([question])
        return answer

    def _ask_all(self, questions: list[tuple[Any, ...]]) -> Iterator[Any]:
        if forked():
            yield from self._helpers.setdefault(os.getpid(), Helper(self.root)).ask(questions)
        elif len(questions) == 1:
            yield self._answer(questions[0])
        else:
            with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
                yield from pool.map(self._answer, questions)

    def _answer(self, question: tuple[Any, ...]) -> Any:
        return getattr(self._objects, question[0])(*question[1:])

    def _refuse(self) -> NoReturn:
        raise StoreError(f"{self.root} is an object store, which is read only: change a local copy and upload that")
