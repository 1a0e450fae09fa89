"""Files that appear whole or not at all: text, JSON, JSON Lines, and the hash of what a file holds.

Every file that the pipeline makes outside the feature store goes through here, so that a kill or a full disk leaves the
old file or the new one, never half of one, and two processes never share a temporary name.
"""

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from slt_pipeline.errors import SltError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the place of `path`, flushed to disk, when the block ends well.

    The folder is made if it is missing. If the block raises, `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold a file for this process alone while the block runs; a process that dies lets it go.

    Where the file system has no locks, nobody is kept out.

    Args:
        path: an empty file, which is there as long as it is held, or after a kill.
        what: begins the message: "the run x".

    Raises:
        SltError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _locked(path, what)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _locked(path: Path, what: str) -> int:
    """Return a descriptor of the locked file; one that its holder has just taken away is not it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
                return file
        except BlockingIOError as error:
            os.close(file)
            raise SltError(f"{what} is being written by another process; wait for its end, or stop it") from error
        except OSError:  # no locks here
            return file
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with line feeds as they are given."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes."""
    with replacing(path) as scratch:
        scratch.write_bytes(content)


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people: indented, not escaped."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        SltError: it cannot be read or is damaged; the file is named.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SltError(f"{path} cannot be read: {error}; delete it and run its command again") from error


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line."""
    write_text(path, "".join(json_line(row) for row in rows))


def read_json_lines(path: Path) -> list[Any]:
    """Read one JSON value a line; no file is no rows, and a last line that a kill has torn is left out.

    Raises:
        SltError: another line is no JSON; file and line are named.
    """
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            rows += [json.loads(line)] if line else []
        except ValueError as error:
            raise SltError(f"{path}:{number}: not JSON: {error}; delete the file and run its command again") from error
    return rows


def json_line(row: Any) -> str:
    """One line of a JSON Lines file, line feed included."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. A file that has not changed since is not read a second time.

    Raises:
        SltError: it cannot be read.
    """
    try:
        status = path.stat()
        return _hash_of(path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise SltError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error


@lru_cache(maxsize=256)
def _hash_of(path: Path, *_version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
