"""What an object store is asked, through obstore: in this process or, after a fork, in a helper process.

obstore answers by threads that a fork does not copy, and that it cannot start a second time in one process: a process
that was forked from one that has used it would wait for ever, whichever client it asks. So it asks a fresh Python.
"""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from cache.errors import StoreError

NUM_CONNECTIONS = 16
"""Ranges that are fetched at once: what a batch costs is the time that the network takes to answer, not its bytes."""
PATIENCE = {"max_retries": 10, "retry_timeout": timedelta(seconds=40)}
"""When obstore gives up. A request takes 30 s at most (AWS_TIMEOUT), so a server that never answers is asked twice."""
CHECK_SETTINGS = (
    "check the URL and the settings in the environment (endpoint, region, credentials: AWS_ENDPOINT_URL, ...)"
)
CHECK_LISTING = "check the URL; a web server must also list its folders, by WebDAV's PROPFIND"
COPY_AGAIN = "check the store that was copied with `slt cache verify`, then copy it again"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_BEYOND_THE_END = (
    "416 Range Not Satisfiable",
    "Requested range was invalid",
)  # in obstore's message; folders say the second
_STARTED = os.getpid()


def forked() -> bool:
    """Say whether this process was forked from one that may have used obstore."""
    return os.getpid() != _STARTED


class Objects:
    """The files below a URL. Raises FileNotFoundError where one is not there, StoreError where asking fails."""

    def __init__(self, url: str) -> None:
        try:
            from obstore import parse_scheme
            from obstore.exceptions import BaseError
            from obstore.store import MemoryStore, from_url
        except ImportError as error:
            raise StoreError(f"{url} needs obstore: pip install 'slt-pipeline[s3]'") from error
        self._url, self._errors, self._cure = url, (OSError, ValueError, BaseError), CHECK_SETTINGS
        options: dict[str, Any] = {"retry_config": PATIENCE}
        try:
            if parse_scheme(url) == "http":
                # Only here: options, once given, replace all that the environment says of them.
                options["client_options"] = {"allow_http": url.startswith("http://")}
                self._cure = CHECK_LISTING
            elif parse_scheme(url) == "s3":
                _check_endpoint()
            self._store = from_url(url, **options)
        except self._errors as error:
            if "Unable to canonicalize filesystem root" in str(error):  # a folder that is not there has no files
                self._store = MemoryStore()
                return
            raise StoreError(f"cannot open the object store {url} ({_first_line(error)}): {self._cure}") from error

    def read(self, path: str) -> bytes:
        """Return a whole file."""
        import obstore

        with self._asking(path):
            return bytes(obstore.get(self._store, path).bytes())

    def exists(self, path: str) -> bool:
        """Say whether a file is there."""
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        import obstore

        with self._asking(path):
            return obstore.head(self._store, path)["size"]

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; none if there is no such folder."""
        import obstore

        with self._asking(folder):
            found = obstore.list_with_delimiter(self._store, folder)
        paths = [item["path"] for item in found["objects"]] + list(found["common_prefixes"])
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def walk(self, folder: str) -> list[str]:
        """Return all files below a folder, sorted."""
        import obstore

        with self._asking(folder):
            return sorted(item["path"] for page in obstore.list(self._store, folder) for item in page)

    def range(self, path: str, start: int, length: int) -> Any:
        """Return some bytes of a file, as a buffer. Raises StoreError where the file is not there or ends too early."""
        import obstore

        try:
            with self._asking(path):
                data = obstore.get_range(self._store, path, start=start, length=length)
            end = start + len(data)
        except FileNotFoundError as error:
            raise StoreError(f"cannot read {self._url}/{path} ({error.strerror}): {COPY_AGAIN}") from error
        except StoreError as error:
            if not any(words in str(error) for words in _BEYOND_THE_END):
                raise
            data, end = b"", self.size(path)
        if len(data) != length:
            raise StoreError(f"{self._url}/{path} has {end} bytes, {start + length} needed: {COPY_AGAIN}")
        return data

    @contextlib.contextmanager
    def _asking(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self._url}/{path}") from None
        except self._errors as error:
            raise StoreError(f"cannot read {self._url}/{path} ({_first_line(error)}): {self._cure}") from error


class Helper:
    """`Objects` in a process of its own, started by the first question. Threads may share it: one asks at a time."""

    def __init__(self, url: str) -> None:
        self._url, self._pid, self._lock = url, os.getpid(), threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, questions: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the answer to each (method of `Objects`, its arguments), asked all at once."""
        with self._lock:
            self._process = process = self._process or self._start()
            assert process.stdin and process.stdout
            try:
                process.stdin.writelines(json.dumps(question).encode() + b"\n" for question in questions)
                process.stdin.flush()
                for _ in questions:
                    yield self._answer(process.stdout)
            except BaseException as error:
                self._stop()  # answers that nobody waits for may still be on their way
                if isinstance(error, BrokenPipeError):
                    raise self._lost() from error
                raise

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _start(self) -> "subprocess.Popen[bytes]":
        code = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import cache.objects; cache.objects._serve()"
        command = [sys.executable, "-c", code, json.dumps(sys.path), self._url]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _answer(self, stream: Any) -> Any:
        line = stream.readline()
        if not line:
            raise self._lost()
        kind, content = json.loads(line)
        if kind == "bytes":
            return stream.read(content)
        if kind == "missing":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), content)
        if kind == "error":
            raise StoreError(content)
        return content

    def _lost(self) -> StoreError:
        return StoreError(f"the helper process that reads {self._url} has ended: see above, or run it again")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process and self._pid == os.getpid():
            process.kill()
            process.communicate()


def _serve() -> None:
    """Answer the questions on the standard input until it is closed, in their order, several at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who ask: this process ends with them
    url, waiting = sys.argv[2], SimpleQueue[Future[tuple[str, Any]]]()
    threading.Thread(target=_write_answers, args=(waiting,), daemon=True).start()
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        for line in sys.stdin.buffer:
            waiting.put(pool.submit(_find_answer, url, json.loads(line)))
        os._exit(0)


def _find_answer(url: str, question: list[Any]) -> tuple[str, Any]:
    method, *arguments = question
    try:
        answer = getattr(_objects(url), method)(*arguments)
    except FileNotFoundError as error:
        return "missing", error.filename
    except StoreError as error:
        return "error", str(error)
    return ("value" if isinstance(answer, bool | int | list) else "bytes"), answer


def _write_answers(waiting: "SimpleQueue[Future[tuple[str, Any]]]") -> None:
    out = sys.stdout.buffer
    while True:
        kind, content = waiting.get().result()
        out.write(json.dumps([kind, len(content) if kind == "bytes" else content]).encode() + b"\n")
        if kind == "bytes":
            out.write(content)
        out.flush()


_objects = lru_cache(1)(Objects)


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
