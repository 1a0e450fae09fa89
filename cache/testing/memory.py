"""A store without a disk, for tests: `FeatureStore.create("name", files=MemoryFiles(), ...)`."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import REPAIR, DamagedError
from cache.places.base import Files


class _Inode:
    def __init__(self, data: bytes) -> None:
        self.data, self.on_disk = data, b""


class MemoryFiles(Files):
    """A store's folder in memory, which also knows what of it a power cut would leave."""

    writable = True

    def __init__(self) -> None:
        self.root = Path("memory")
        self._alive = True
        self._locked: set[str] = set()
        self.open_files = {}
        self._names: dict[str, _Inode] = {}
        self._names_on_disk: dict[str, _Inode] = {}

    def read(self, path: str) -> bytes:
        """Return a whole file."""
        return self._inode(path).data

    def exists(self, path: str) -> bool:
        """Say whether a file or folder is there."""
        return path in self._names or any(name.startswith(f"{path}/") for name in self._names)

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder."""
        start = f"{folder}/"
        return sorted({name[len(start) :].partition("/")[0] for name in self._names if name.startswith(start)})

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        return len(self._inode(path).data)

    def walk(self, folder: str) -> list[str]:
        """Return all files below a folder, sorted."""
        return sorted(name for name in self._names if name.startswith(f"{folder}/"))

    def read_into(self, path: str, offset: int, out: np.ndarray) -> None:
        """Fill `out` from the bytes at `offset`. Raises StoreError where the file ends too early, or is not there."""
        data = self._names[path].data if path in self._names else b""
        if len(data) < offset + out.nbytes:
            raise DamagedError(f"{self.describe(path)} has {len(data)} bytes, {offset + out.nbytes} needed: {REPAIR}")
        flat = np.frombuffer(data, np.uint8)[offset : offset + out.nbytes]
        out[...] = flat.view(out.dtype).reshape(out.shape)

    def describe(self, path: str) -> str:
        """Return the file's name for messages."""
        return f"memory:{path}"

    def create(self, files: dict[str, bytes], folders: Iterable[str] = ()) -> None:
        """Make the files, all or nothing."""
        if self._names:
            raise FileExistsError(self.root)
        self._names = {path: _Inode(data) for path, data in files.items()}
        for inode in self._names.values():
            inode.on_disk = inode.data
        self._names_on_disk = dict(self._names)

    def write(self, path: str, parts: Iterable[Any], size: int | None = None) -> None:
        """Write a new file."""
        if path in self._names:
            raise FileExistsError(path)
        self._names[path] = _Inode(
            b"".join(bytes(memoryview(part).cast("B")) for part in parts).ljust(size or 0, b"\0")
        )
        self._names[path].on_disk = self._names[path].data

    def put(self, path: str, data: bytes) -> None:
        """Replace the bytes of a file, on the disk too, behind the store's back."""
        self._names[path] = _Inode(data)
        self._names[path].on_disk = data
        self._names[path].on_disk = data

    def sync(self, folder: str) -> None:
        """Let a folder's names survive a power cut."""
        for name in {*self._names, *self._names_on_disk}:
            if name.rpartition("/")[0] == folder:
                _copy_entry(self._names, self._names_on_disk, name)

    def rename(self, source: str, target: str) -> None:
        """Give a file its final name."""
        self._inode(source)
        self._names[target] = self._names.pop(source)

    def rename_new(self, source: str, target: str) -> None:
        """Give a file a final name that nothing has."""
        if target in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        self.rename(source, target)

    def claim(self, path: str, data: bytes) -> bool:
        """Make a file if nobody has it yet; say whether it was us."""
        return path not in self._names and bool(self._names.setdefault(path, _Inode(data)))

    def claim_is_live(self, path: str) -> bool:
        """Say whether the process that made the claim is still there: not after a kill or a power cut."""
        return path in self._names and self._alive

    @contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Hold a file for us alone while a block runs."""
        if path in self._locked:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        self._locked.add(path)
        try:
            yield
        finally:
            self._locked.discard(path)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        self._names.pop(path, None)

    def age(self, path: str) -> float:
        """Return 0: nothing here is old."""
        return 0.0

    def close(self) -> None:
        """Do nothing."""

    def after_kill(self) -> "MemoryFiles":
        """Return what is left when the process is killed: everything that was done."""
        return self._left(self._names, lambda inode: inode.data)

    def after_power_cuts(self, num_random: int = 3) -> "list[MemoryFiles]":
        """Return what may be left by a power cut: of what was not synced, no name, every name, and some."""
        left = [self._left(names, lambda inode: inode.on_disk) for names in (self._names_on_disk, self._names)]
        for seed in range(num_random):
            rng, names = np.random.default_rng(seed), dict(self._names_on_disk)
            for name in sorted({*self._names, *self._names_on_disk}):
                if rng.random() < 0.5:
                    _copy_entry(self._names, names, name)
            left.append(self._left(names, lambda inode: inode.on_disk))
        return left

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _inode(self, path: str) -> _Inode:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._names[path]

    def _left(self, names: dict[str, _Inode], content: Callable[[_Inode], bytes]) -> "MemoryFiles":
        left = MemoryFiles()
        left._alive = False
        left._names = {name: _Inode(content(inode)) for name, inode in names.items()}
        return left


def _copy_entry(source: dict[str, _Inode], target: dict[str, _Inode], name: str) -> None:
    if name in source:
        target[name] = source[name]
    else:
        target.pop(name, None)
