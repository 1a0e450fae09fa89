"""A store in a folder on a local or mounted file system."""

import contextlib
import errno
import os
import resource
import socket
import tempfile
import uuid
from collections.abc import Iterable
from os import preadv
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import REPAIR, DamagedError, StoreError, cannot_read
from cache.places.base import Files

# Half of what the process may open, the rest is left to others. Files beyond that are opened for each read.
MAX_OPEN_FILES = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
# Seconds after which a claim is given up: of a process that is there (another one by then), of one that is unknown.
OLD, LATE = 24 * 3600.0, 3600.0


class LocalFiles(Files):
    """A store's folder on a local or mounted file system. Picklable; safe under fork and threads (positional reads).

    durable: wait for the disk where the format asks for it; without, a power cut may lose or tear what was committed in
    the last seconds, a killed process still loses nothing.
    """

    writable = True
    num_open = 0
    """Descriptors that all stores of this process keep open."""

    def __init__(self, root: str | Path, *, durable: bool = True) -> None:
        self.root = Path(root).absolute()
        self._durable = durable
        self._prefix = f"{self.root}/"
        self.open_files: dict[str, int] = {}  # path -> descriptor of the files that are kept open

    # Reading

    def read(self, path: str) -> bytes:
        """Return a whole small file."""
        return Path(self._prefix + path).read_bytes()

    def exists(self, path: str) -> bool:
        """Say whether a file or folder is there. Raises StoreError where that is not to be known."""
        try:
            return Path(self._prefix + path).exists()
        except OSError as error:
            raise cannot_read(self.describe(path), error) from error

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; none if there is no such folder."""
        try:
            return sorted(os.listdir(self._prefix + folder))  # noqa: PTH208 (twice as fast as iterdir)
        except FileNotFoundError:
            return []

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        return os.stat(self._prefix + path).st_size  # noqa: PTH116

    def disk_usage(self, path: str) -> int:
        """Return the bytes that a file takes on the disk: fewer than its size where it has holes."""
        return os.stat(self._prefix + path).st_blocks * 512  # noqa: PTH116

    def walk(self, folder: str) -> list[str]:
        """Return all files below a folder, sorted."""
        found = [path for path in Path(self._prefix + folder).rglob("*") if not path.is_dir()]
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
        """Fill `out` (contiguous) from the bytes at `offset`. Raises StoreError where the file ends too early."""
        try:
            done = preadv(self.open_files[path], (out,), offset)  # pyright: ignore[reportArgumentType]
        except KeyError:
            return self._open_and_read(path, offset, out)
        except OSError as error:
            raise cannot_read(self.describe(path), error) from error
        if done != out.nbytes:
            self._read_all(self.open_files[path], path, offset, out)

    def read_many(self, wanted: Iterable[tuple[str, int, np.ndarray]]) -> None:
        """Do `read_into` for each (path, offset, out)."""
        read_into = self.read_into
        for path, offset, out in wanted:
            read_into(path, offset, out)

    def describe(self, path: str) -> str:
        """Return the file's full name for messages."""
        return self._prefix + path

    # Writing

    def create(self, files: dict[str, bytes], folders: Iterable[str] = ()) -> None:
        """Make the store's folder with these files and folders, all or nothing. Raises FileExistsError if it exists."""
        made = [parent for parent in self.root.parents if not parent.exists()]
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.root.parent) from error
        new = self.root.parent / f".{self.root.name}.{uuid.uuid4().hex}.new"
        new.mkdir()
        try:
            for folder in folders:
                (new / folder).mkdir()
            for path, data in files.items():
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                _write_file(new / path, [data], None)
            if self._durable:
                for path in {new, *(new / path for path in files), *((new / path).parent for path in files)}:
                    _sync_path(path)
            if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
                raise FileExistsError(self.root)
            new.rename(self.root)  # only one of several creators gets past this: the target is no longer empty
            if self._durable:
                for folder in (self.root, *made):
                    _sync_path(folder.parent)
        except BaseException as error:
            _remove_tree(new)
            if isinstance(error, OSError) and self.root.is_dir() and any(self.root.iterdir()):
                raise FileExistsError(self.root) from error
            raise

    def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> None:
        """Write a new file from buffers; with `size`, end it with a hole of zeros up to that many bytes."""
        target = Path(self._prefix + path)
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_file(target, parts, size)

    def sync(self, path: str) -> None:
        """Wait until the file's bytes (or the folder's names) are on the disk."""
        if self._durable:
            _sync_path(Path(self._prefix + path))

    def rename(self, source: str, target: str) -> None:
        """Give a file its final name, replacing what has it."""
        Path(self._prefix + target).parent.mkdir(parents=True, exist_ok=True)  # some copying tools drop empty folders
        os.replace(self._prefix + source, self._prefix + target)  # noqa: PTH105

    def claim(self, path: str) -> bool:
        """Make a file that says who we are if nobody has it yet; say whether it was us."""
        target = Path(self._prefix + path)
        target.parent.mkdir(exist_ok=True)
        try:
            _write_file(target, [f"{socket.gethostname()} {os.getpid()}\n".encode()], None)
        except FileExistsError:
            return False
        except OSError:  # a full disk has room for a name, if for nothing else
            target.unlink(missing_ok=True)
            raise
        return True

    def claim_is_live(self, path: str) -> bool:
        """Say whether the process that made a claim is still there; of another machine's we know how old it is."""
        try:
            host, _, process = self.read(path).decode().rstrip().rpartition(" ")
            age = self.age(path)
        except FileNotFoundError:
            return False
        if host != socket.gethostname() or not process.isdigit():
            return age < LATE
        with contextlib.suppress(PermissionError):  # then it is there
            try:
                os.kill(int(process), 0)
            except (ProcessLookupError, OverflowError):
                return False
        return age < OLD

    def remove(self, path: str) -> None:
        """Remove a file or empty folder, if it is there. Raises StoreError if links make it lie outside the store."""
        target = Path(self._prefix + path)
        if not target.parent.resolve().is_relative_to(self.root.resolve()):
            raise StoreError(f"{target} lies in {target.parent.resolve()}, not in the store, and was not removed")
        with contextlib.suppress(FileNotFoundError):
            target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()

    def age(self, path: str) -> float:
        """Return the seconds since a file or folder was last changed, by the file system's own clock."""
        with tempfile.TemporaryFile(dir=self.root) as now:
            return os.fstat(now.fileno()).st_mtime - os.stat(self._prefix + path).st_mtime  # noqa: PTH116

    def close(self) -> None:
        """Close every open file."""
        while self.open_files:
            os.close(self.open_files.popitem()[1])
            LocalFiles.num_open -= 1

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "durable": self._durable}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _open_and_read(self, path: str, offset: int, out: np.ndarray) -> None:
        try:
            descriptor = os.open(self._prefix + path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise cannot_read(self.describe(path), error) from error
        # Kept files are never closed while the store lives, as another thread may be reading from them.
        keep = LocalFiles.num_open < MAX_OPEN_FILES and self.open_files.setdefault(path, descriptor) == descriptor
        LocalFiles.num_open += keep
        try:
            self._read_all(descriptor, path, offset, out)
        finally:
            if not keep:
                os.close(descriptor)

    def _read_all(self, descriptor: int, path: str, offset: int, out: np.ndarray) -> None:
        view, count = out.reshape(-1).view(np.uint8).data, 0
        while count < len(view):
            try:
                more = preadv(descriptor, [view[count:]], offset + count)
            except OSError as error:
                raise cannot_read(self.describe(path), error) from error
            if not more:
                size, needed = os.fstat(descriptor).st_size, offset + len(view)
                raise DamagedError(f"{self.describe(path)} has {size} bytes, {needed} needed: {REPAIR}")
            count += more


def _write_file(path: Path, parts: Iterable[Any], size: int | None) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while len(view):
                view = view[os.write(descriptor, view) :]
        if size is not None:
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(folder: Path) -> None:
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            Path(path, name).unlink(missing_ok=True)
        Path(path).rmdir()
