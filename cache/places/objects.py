"""A copy of a store in an object store (S3, Google, Azure, WebDAV), read in place by obstore: the extra `s3`.

Writing needs files that can be renamed, so a store is made in a folder and copied; ranges of its files are read.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from cache.errors import DamagedError, StoreError
from cache.places.base import Files

PART = 1 << 22
"""Bytes fetched by one request at most: longer ranges come in parts, several at once."""
NUM_CONNECTIONS = 16
"""Ranges that are fetched at once: what a batch costs is the time that the network takes to answer, not its bytes."""
PATIENCE = {"max_retries": 10, "retry_timeout": timedelta(seconds=40)}
"""When obstore gives up. A request takes 30 s at most (AWS_TIMEOUT), so a server that never answers is asked twice."""
CHECK_SETTINGS = (
    "check the URL and the settings in the environment (endpoint, region, credentials: AWS_ENDPOINT_URL, ...)"
)
CHECK_LISTING = "check the URL; a web server must also list its folders, by WebDAV's PROPFIND"
COPY_AGAIN = "verify the store that was copied, then copy it again"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# In obstore's message; folders say the second.
_BEYOND_THE_END = ("416 Range Not Satisfiable", "Requested range was invalid")
_STARTED = os.getpid()


class ObjectFiles(Files):
    """The files of a store below a URL, such as `s3://bucket/features`. Picklable; safe under threads.

    Settings (region, endpoint, credentials) come from the environment as obstore reads it: AWS_REGION, AWS_ENDPOINT_URL
    and so on. A forked process is refused: obstore answers by threads that a fork does not copy and that cannot be
    started a second time, so it would wait for ever. A spawned one is fine.
    """

    lists_at_once = True

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")  # pyright: ignore[reportAttributeAccessIssue] (a URL is no path)
        self.open_files, self._url, self._cure = {}, url, CHECK_SETTINGS
        self._require_no_fork()
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import MemoryStore, from_url
        except ImportError as error:
            raise StoreError(f"{url} needs obstore: pip install 'slt-pipeline[s3]'") from error
        self._obstore, self._errors = obstore, (OSError, ValueError, BaseError)
        options: dict[str, Any] = {"retry_config": PATIENCE}
        try:
            if (scheme := obstore.parse_scheme(url)) == "http":
                # Only here: options, once given, replace all that the environment says of them.
                options["client_options"] = {"allow_http": url.startswith("http://")}
                self._cure = CHECK_LISTING
            elif scheme == "s3":
                _check_endpoint()
            self._store = from_url(url, **options)
        except self._errors as error:
            if "Unable to canonicalize filesystem root" not in str(error):
                raise StoreError(f"cannot open the object store {url} ({_first_line(error)}): {self._cure}") from error
            self._store = MemoryStore()  # a folder that is not there has no files

    def read(self, path: str) -> bytes:
        """Return a whole file. Raises FileNotFoundError if it is not there."""
        with self._asking(path):
            return bytes(self._obstore.get(self._store, path).bytes())

    def read_each(self, paths: Iterable[str]) -> Iterable[bytes]:
        """Return whole files, many at once."""
        return self._each(self.read, [(path,) for path in paths])

    def exists(self, path: str) -> bool:
        """Say whether a file is there."""
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; none if there is no such folder."""
        with self._asking(folder):
            found = self._obstore.list_with_delimiter(self._store, folder)
        paths = [item["path"] for item in found["objects"]] + list(found["common_prefixes"])
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        with self._asking(path):
            return self._obstore.head(self._store, path)["size"]

    def walk(self, folder: str) -> list[str]:
        """Return all files below a folder, sorted."""
        with self._asking(folder):
            return sorted(item["path"] for page in self._obstore.list(self._store, folder) for item in page)

    def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
        """Fill `out` (contiguous) from the bytes at `offset`. Raises StoreError where the file ends too early."""
        self.read_many([(path, offset, out)])

    def read_many(self, wanted: Iterable[tuple[str, int, np.ndarray]]) -> None:
        """Do `read_into` for each (path, offset, out), many at once."""
        parts: list[tuple[str, int, np.ndarray]] = []
        for path, offset, out in wanted:
            flat = out.reshape(-1).view(np.uint8)
            parts += [(path, offset + start, flat[start : start + PART]) for start in range(0, len(flat), PART)]
        for _ in self._each(self._read_part, parts):
            pass

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def _read_part(self, path: str, start: int, out: np.ndarray) -> None:
        try:
            with self._asking(path):
                data: Any = self._obstore.get_range(self._store, path, start=start, length=len(out))
            end = start + len(data)
        except FileNotFoundError as error:
            raise DamagedError(f"cannot read {self._url}/{path} ({error.strerror}): {COPY_AGAIN}") from error
        except StoreError as error:
            if not any(words in str(error) for words in _BEYOND_THE_END):
                raise
            data, end = b"", self.size(path)
        if len(data) != len(out):
            raise DamagedError(f"{self._url}/{path} has {end} bytes, {start + len(out)} needed: {COPY_AGAIN}")
        out[:] = np.frombuffer(data, np.uint8)

    def _each(self, ask: Callable[..., Any], questions: list[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the answers to several questions, which are asked at once."""
        if len(questions) == 1:
            yield ask(*questions[0])
        else:
            with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
                yield from pool.map(lambda question: ask(*question), questions)

    def _require_no_fork(self) -> None:
        if os.getpid() != _STARTED:
            raise StoreError(f"{self.root} cannot be read in a process that was forked: start it by spawning")

    @contextlib.contextmanager
    def _asking(self, path: str) -> Iterator[None]:
        self._require_no_fork()
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self._url}/{path}") from None
        except self._errors as error:
            raise StoreError(f"cannot read {self._url}/{path} ({_first_line(error)}): {self._cure}") from error


def _check_endpoint() -> None:
    """Raise StoreError for an endpoint that obstore would stumble over without a word that helps."""
    for name in _ENDPOINTS:
        endpoint = os.environ.get(name)
        if endpoint is not None and not urlsplit(endpoint).hostname:
            raise StoreError(f"{name} is {endpoint!r}, which is no URL: set it to one such as https://example.org:9000")
        if endpoint is not None and endpoint.startswith("http://") and "AWS_ALLOW_HTTP" not in os.environ:
            raise StoreError(f"{name} is {endpoint}, which is not encrypted: set AWS_ALLOW_HTTP=true if that is right")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(": ")[:300]
