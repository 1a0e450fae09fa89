"""A store in a folder on a local or mounted file system."""

import contextlib
import errno
import fcntl
import mmap
import os
import re
import resource
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from os import preadv
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np

from cache.errors import REPAIR, DamagedError, StoreError, cannot_read
from cache.places.base import Files
from cache.places.create import create, sync_path

# Half of what the process may open, the rest is left to others. Files beyond that are opened for each read.
MAX_OPEN_FILES = min(1 << 14, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
# Where a lock that is held proves that its holder lives, and one that is not proves that it does not.
_LOCKS_ARE_PROOF = frozenset(
    ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "tmpfs", "xfs", "zfs")
)
# Elsewhere: seconds between the signs of life of a claim, and without one until it is given up.
BEAT, LATE = 60.0, 3600.0
_Made = TypeVar("_Made")
_CLAIM = b'{"store":'  # how claims begin whose makers hold a lock; others are of unknown owners


class LocalFiles(Files):
    """A store's folder on a local or mounted file system. Picklable; safe under fork and threads (positional reads).

    durable: wait for the disk where the format asks for it; without, a power cut may lose or tear what was committed in
    the last seconds, a killed process still loses nothing.
    """

    writable = True

    def __init__(self, root: str | Path, *, durable: bool = True) -> None:
        self.root = Path(root).absolute()
        self._durable = durable
        self._prefix = f"{self.root}/"
        self.open_files = {}
        self._claims: dict[
            str, tuple[int, Event]
        ] = {}  # path -> the descriptor that holds its lock, the end of its life

    # Reading

    def read(self, path: str) -> bytes:
        """Return a whole small file."""
        with open(self._prefix + path, "rb", 0) as file:  # noqa: PTH123 (half the time of a Path, here and below)
            return file.read()

    def exists(self, path: str) -> bool:
        """Say whether a file or folder is there. Raises StoreError where that is not to be known."""
        try:
            os.stat(self._prefix + path)  # noqa: PTH116
            return True
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
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

    def map(self, path: str) -> Any:
        """As in `Files`: its pages are shared by all processes."""
        with Path(self._prefix + path).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def version(self, path: str) -> object:
        """As in `Files`, without reading it."""
        found = os.stat(self._prefix + path)  # noqa: PTH116
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def walk(self, folder: str) -> list[str]:
        """Return all files below a folder, sorted."""
        found = [path for path in Path(self._prefix + folder).rglob("*") if not path.is_dir()]
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
        """Fill `out` (contiguous) from the bytes at `offset`. Raises StoreError where the file ends too early."""
        descriptor = self.open_files.get(path)
        if descriptor is None:
            return self._open_and_read(path, offset, out)
        try:
            done = preadv(descriptor, (out,), offset)  # pyright: ignore[reportArgumentType]
        except OSError as error:
            raise cannot_read(self.describe(path), error) from error
        if done != out.nbytes:
            self._read_all(descriptor, path, offset, out)

    def describe(self, path: str) -> str:
        """Return the file's full name for messages."""
        return self._prefix + path

    # Writing

    def create(self, files: dict[str, bytes], folders: Iterable[str] = ()) -> None:
        """Make the store's folder with these files and folders, all or nothing. Raises FileExistsError if it exists."""
        create(self.root, files, [*folders], durable=self._durable)

    def write(self, path: str, parts: Iterable[Any]) -> None:
        """As in `Files`. What has written the bytes waits for them, so that an error of the disk reaches it."""
        self.write_each({path: parts})

    def write_each(self, parts: Mapping[str, Iterable[Any]], folder: str | None = None) -> None:
        """As in `Files`: all are waited for at once, of which file systems make one entry of their journal."""
        opened: list[int] = []
        try:
            for path in parts:
                opened.append(self._in_folder(self._new, path))
                for part in parts[path]:
                    _write_all(opened[-1], part)
            if self._durable:
                if folder is not None:
                    opened.append(os.open(self._prefix + folder, os.O_RDONLY | os.O_CLOEXEC))
                _sync_all(opened)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def sync(self, folder: str) -> None:
        """Wait until the names in a folder are on the disk."""
        if self._durable:
            sync_path(Path(self._prefix + folder))

    def rename(self, source: str, target: str) -> None:
        """Give a file its final name, replacing what has it."""
        self._in_folder(lambda path: os.replace(self._prefix + source, self._prefix + path), target)  # noqa: PTH105

    def rename_new(self, source: str, target: str) -> None:
        """Give a file its final name. Raises FileExistsError where that is taken, whoever takes it meanwhile."""
        try:
            self._in_folder(lambda path: os.link(self._prefix + source, self._prefix + path), target)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            if self.exists(
                target
            ):  # a file system without links: that nobody takes it meanwhile is for claims to see to
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
            return os.rename(self._prefix + source, self._prefix + target)  # noqa: PTH104
        os.unlink(self._prefix + source)  # noqa: PTH108

    def claim(self, path: str, data: bytes) -> bool:
        """As in `Files`: the file appears with its content and a lock on it, which ends with this process."""
        temporary = f"tmp/{uuid.uuid4().hex}.claim"
        descriptor = self._in_folder(self._new, temporary)
        try:
            _write_all(descriptor, data)
            with contextlib.suppress(OSError):  # a file system without locks: signs of life are all there is
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                self.rename_new(temporary, path)
            except FileExistsError:
                return False
            self._claims[path] = descriptor, Event()
        finally:
            if path not in self._claims or self._claims[path][0] != descriptor:
                Path(self._prefix + temporary).unlink(missing_ok=True)
                os.close(descriptor)
        if not self._locks_are_proof():
            Thread(target=_beat, args=(self._prefix + path, self._claims[path][1]), daemon=True).start()
        return True

    def claim_is_live(self, path: str) -> bool:
        """Say whether whoever made a claim is still there: by its lock, or by when it last gave a sign of life."""
        try:
            with Path(self._prefix + path).open("r+b") as file:
                if file.read(len(_CLAIM)) != _CLAIM or not self._locks_are_proof():
                    return self.age(path) < LATE
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
                return False
        except FileNotFoundError:
            return False

    def _locks_are_proof(self) -> bool:
        return _file_system(self.root) in _LOCKS_ARE_PROOF

    def _new(self, path: str) -> int:
        return os.open(self._prefix + path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)

    def _in_folder(self, make: Callable[[str], _Made], path: str) -> _Made:
        """Make a file, and its folder first if it is not there: some copying tools drop empty ones."""
        try:
            return make(path)
        except FileNotFoundError:
            folder = path.partition("/")[0]
            Path(self._prefix + folder).mkdir(exist_ok=True)  # but never the store's own
            Path(self._prefix + path).parent.mkdir(parents=True, exist_ok=True)
            return make(path)

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Hold a file for us alone while a block runs; who dies lets it go. Raises BlockingIOError if others do."""
        descriptor = _locked(self._prefix + path)
        try:
            yield
        finally:
            os.close(descriptor)

    def require_inside(self, path: str) -> None:
        """Raise StoreError if links make a file lie outside the store."""
        target = Path(self._prefix + path)
        if not target.parent.resolve().is_relative_to(self.root.resolve()):
            raise StoreError(f"{target} lies in {target.parent.resolve()}, not in the store, and was not removed")

    def reload(self, path: str) -> None:
        """Let what is read of a file next come from the disk, and not from what the system remembers of it."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._prefix + path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)

    def remove(self, path: str) -> None:
        """Remove a file or empty folder, if it is there. Raises StoreError if links make it lie outside the store."""
        if path in self._claims:
            descriptor, end = self._claims.pop(path)
            end.set()
            os.close(descriptor)
        else:
            self.require_inside(path)
        target = Path(self._prefix + path)
        with contextlib.suppress(FileNotFoundError):
            target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()

    def age(self, path: str) -> float:
        """Return the seconds since a file or folder was last changed, by the file system's own clock."""
        with tempfile.TemporaryFile(dir=self.root) as now:
            return os.fstat(now.fileno()).st_mtime - os.stat(self._prefix + path).st_mtime  # noqa: PTH116

    def close(self) -> None:
        """Close every open file that nobody is reading just now, and end our claims."""
        self.open_files.clear()
        while self._claims:
            descriptor, end = self._claims.popitem()[1]
            end.set()
            os.close(descriptor)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "durable": self._durable}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _open_and_read(self, path: str, offset: int, out: np.ndarray) -> None:
        try:
            descriptor = _Descriptor(os.open(self._prefix + path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise cannot_read(self.describe(path), error) from error
        if _Descriptor.num_open <= MAX_OPEN_FILES:
            self.open_files.setdefault(path, descriptor)
        self._read_all(descriptor, path, offset, out)

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


class _Descriptor(int):
    """A descriptor that is closed when nobody has it any more: a thread that reads from it does."""

    num_open = 0

    def __init__(self, number: int) -> None:
        del number
        _Descriptor.num_open += 1

    def __del__(self) -> None:
        _Descriptor.num_open -= 1
        os.close(self)


def _beat(path: str, end: Event) -> None:
    """Give a sign of life until the end."""
    while not end.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


@lru_cache(64)
def _file_system(folder: Path) -> str:
    """Return the name of the file system that a folder is on, as Linux says it; empty if that is not to be known."""
    found = ("", "")
    with contextlib.suppress(OSError):
        where = os.fsencode(folder.resolve()) + b"/"
        for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
            mount, _, kind = line.partition(b" - ")
            point = (
                re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), mount.split()[4]).rstrip(b"/") + b"/"
            )
            if where.startswith(point) and len(point) >= len(found[0]):
                found = point, kind.split()[0].decode()
    return found[1]


def _write_all(descriptor: int, data: Any) -> None:
    """Write it to the end: on a disk that is full the kernel takes a part, and says no to the rest."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(descriptor, view) :]


def _sync_all(descriptors: Sequence[int]) -> None:
    """Wait until all these files are on the disk."""
    if len(descriptors) == 1:
        return os.fsync(descriptors[0])
    with ThreadPoolExecutor(min(len(descriptors), 8)) as pool:
        list(pool.map(os.fsync, descriptors))


def _locked(path: str) -> int:
    """Return a descriptor of the locked file; one that has been taken away meanwhile is not it."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # NFS locks only what may be written
        except PermissionError:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):  # noqa: PTH116
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
