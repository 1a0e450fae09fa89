"""Zip archives of a million pictures: an index of folders alone, and one folder's members at a time.

The standard library keeps an object for every member, in every process: 2 GB for the frames of CSL-Daily. Here a
process keeps where the archive's directory lists each folder. What is opened is the archive as if it held nothing else.
"""

import contextlib
import io
import os
import struct
import zipfile
from array import array
from collections.abc import Iterable, KeysView
from pathlib import Path
from typing import BinaryIO

from slt_pipeline.errors import SltError

_MAX_BYTES = 256 * 2**20
"""A member that unpacks to more is refused before it is unpacked: no picture does."""

_DEFLATE64 = 9
_ENTRY, _END = struct.Struct("<4s4xH18x3H12x"), struct.Struct("<4s4H2LH")
_END64, _LOCATOR = struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")


class Archive:
    """A zip archive and its folders. Reads are positional: forked processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb", buffering=2**20) as file:
                self._start, size, self._stated = _directory(file)
                self._runs = _folders(file, self._start, size)
        except (zipfile.BadZipFile, OSError, UnicodeDecodeError) as error:
            raise SltError(f"{path}: not a readable zip archive: {one_line(error)}") from None

    @property
    def folders(self) -> KeysView[str]:
        """Names of its folders that hold something."""
        return self._runs.keys()

    def folder(self, name: str) -> "Folder":
        """Open a folder; one that is not there is empty.

        Raises:
            SltError: the archive is damaged.
        """
        runs = self._runs.get(name, array("Q"))
        try:
            view = _View(self.path, self._start, zip(runs[::2], runs[1::2], strict=True), self._stated)
            return Folder(f"{self.path}!{name}/" if name else f"{self.path}!", zipfile.ZipFile(view))
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise SltError(f"{self.path}: not a readable zip archive: {one_line(error)}") from None


class Folder:
    """The files of one folder of an archive."""

    def __init__(self, where: str, file: zipfile.ZipFile) -> None:
        self._where = where
        self._file = file
        found = ((info.filename.replace("\\", "/").rpartition("/")[2], info) for info in file.infolist())
        self._members = {name: info for name, info in found if name}

    @property
    def names(self) -> list[str]:
        """Names of its files."""
        return list(self._members)

    def facts(self, name: str) -> tuple[int, int]:
        """Return checksum and size of a file, as the archive's directory says."""
        return self._members[name].CRC, self._members[name].file_size

    def read(self, name: str) -> bytes:
        """Return a file's unpacked bytes.

        Raises:
            SltError: it cannot be unpacked.
        """
        info = self._members[name]
        if info.flag_bits & 1:
            raise SltError(f"{self._where}{name}: is encrypted; unpack the archive")
        if info.file_size > _MAX_BYTES:
            raise SltError(f"{self._where}{name}: unpacks to {info.file_size} bytes, more than a picture would")
        try:
            return self._file.read(info)
        except MemoryError:
            raise
        except NotImplementedError:
            method = "deflate64" if info.compress_type == _DEFLATE64 else f"method {info.compress_type}"
            raise SltError(
                f"{self._where}{name}: is packed by {method}, which is not read; unpack the archive"
            ) from None
        except Exception as error:  # zlib.error and its kin in other compressors share no base class
            raise SltError(f"{self._where}{name}: cannot be unpacked: {one_line(error)}") from None


def open_archive(path: Path) -> Archive:
    """Return an archive; its index is made once per process, and again when the file has changed.

    Raises:
        SltError: it is missing, or no zip archive that can be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SltError(f"{path}: no such zip archive ({error.strerror})") from None
    key = (str(path), status.st_ino, status.st_mtime_ns, status.st_size)
    if key not in _OPEN:
        while len(_OPEN) >= _MAX_OPEN:
            _OPEN.pop(next(iter(_OPEN)))
        _OPEN[key] = Archive(path)
    return _OPEN[key]


_OPEN: dict[tuple[str, int, int, int], Archive] = {}
_MAX_OPEN = 8


_WRITTEN_IN = ("utf-8", "gb18030", "cp932", "big5", "euc_kr", "cp1252", "cp850", "cp866", "cp1251", "cp1250")
"""What systems wrote names in before archives could say that they are UTF-8: those of China, Japan, Taiwan, ..."""


def spellings(name: str) -> list[str]:
    """Return how an archive may spell a name: as it is, or in other bytes, which `zipfile` takes for cp437."""
    spelled = [name]
    for encoding in _WRITTEN_IN:
        with contextlib.suppress(UnicodeEncodeError):
            spelled.append(name.encode(encoding).decode("cp437").replace("\\", "/"))
    return list(dict.fromkeys(spelled))


def legible(name: str) -> str:
    """Return a name of an archive for messages: UTF-8 that the archive does not call so is put right."""
    with contextlib.suppress(UnicodeError):
        return name.encode("cp437").decode("utf-8")
    return name


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


class _View(io.RawIOBase):
    """An archive's file up to its directory, and a part of the directory behind it."""

    def __init__(self, path: Path, start: int, runs: Iterable[tuple[int, int]], stated: int) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        self._start, self._at = start, 0
        entries = b"".join(os.pread(self._fd, end - at, at) for at, end in runs)
        self._tail = entries + _end(len(entries), stated)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._start + len(self._tail)}[whence]
        if base + offset < 0:
            raise OSError("a position before the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer) -> int:
        """Read on from the position: from the file, or from what stands in the place of its directory."""
        if self._at < self._start:
            data = os.pread(self._fd, min(len(buffer), self._start - self._at), self._at)
        else:
            at = self._at - self._start
            data = self._tail[at : at + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _directory(file: BinaryIO) -> tuple[int, int, int]:
    """Where the archive's directory starts, its size, and where it says that it starts: bytes may stand before both."""
    size = file.seek(0, os.SEEK_END)
    tail_at = file.seek(max(0, size - _END.size - 2**16 - _LOCATOR.size - _END64.size))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise zipfile.BadZipFile("it has no directory at its end")
    length, stated = _END.unpack_from(tail, at)[5:7]
    before = at - _LOCATOR.size - _END64.size
    if before >= 0 and tail.startswith(b"PK\6\7", at - _LOCATOR.size) and tail.startswith(b"PK\6\6", before):
        length, stated = _END64.unpack_from(tail, before)[8:]
        at = before
    start = tail_at + at - length
    if start < 0:
        raise zipfile.BadZipFile("its directory is cut short")
    return start, length, stated


def _folders(file: BinaryIO, start: int, size: int) -> dict[str, array]:
    """Where the directory lists each folder: start and end of every run of its entries, in bytes of the file."""
    runs: dict[tuple[bytes, int], array] = {}
    at, end = file.seek(start), start + size
    while at < end:
        head = file.read(_ENTRY.size)
        if len(head) < _ENTRY.size or not head.startswith(b"PK\1\2"):
            raise zipfile.BadZipFile("its directory is damaged")
        _, flags, *lengths = _ENTRY.unpack(head)
        name = file.read(lengths[0])
        file.read(lengths[1] + lengths[2])
        folder = runs.setdefault((name[: max(name.rfind(b"/"), name.rfind(b"\\"), 0)], flags & 0x800), array("Q"))
        after = at + _ENTRY.size + sum(lengths)
        if folder and folder[-1] == at:
            folder[-1] = after
        else:
            folder.extend((at, after))
        at = after
    named: dict[str, array] = {}
    for (name, unicode), places in runs.items():
        text = name.decode("utf-8" if unicode else "cp437").replace("\\", "/")
        named[text] = named.get(text, array("Q")) + places
    return named


def _end(size: int, stated: int) -> bytes:
    """What closes a directory of a size, in the form without limits (zip64); its members are counted by nobody."""
    end64 = _END64.pack(b"PK\6\6", _END64.size - 12, 45, 45, 0, 0, 0, 0, size, stated)
    locator = _LOCATOR.pack(b"PK\6\7", 0, stated + size, 1)
    return end64 + locator + _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
