"""Reading pickles that others wrote: plain data only, nothing is imported and nothing is called.

A pickle is a program. It is read twice: first its instructions are walked, without carrying them out, and it is refused
if plain data has no need of one of them. Then it is loaded; every name that it asks for is refused but those by which
bytes and torch tensors are described, and behind those are inert stand-ins: torch is not imported. Both times it is
unpacked bit by bit, so that what is held in memory is what is in it, once.
"""

import gzip
import io
import math
import pickle
import pickletools
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from slt_pipeline.errors import SltError
from slt_pipeline.files import replacing

MAX_BYTES = 2**30
"""Largest pickle, unpacked: an archive that claims more is not unpacked. (The largest annotation file has 13 MB.)"""


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """Stand-in for a torch tensor: the bytes of its storage as torch saved them, and where in it its numbers are."""

    shape: tuple[int, ...]
    storage: bytes
    offset: int
    stride: tuple[int, ...]

    def numbers(self) -> np.ndarray:
        """The tensor as a read-only array, float16 or float32, that shares the memory of `storage`.

        Raises:
            SltError: the storage is anything but such numbers, or has not as many as the tensor asks for.
        """
        stored = _stored_numbers(self.storage)
        num = math.prod(self.shape)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        if num > stored.size or (num and last >= stored.size):
            raise SltError(
                f"a tensor of shape {self.shape}, stride {self.stride} and offset {self.offset} reaches beyond "
                f"its storage of {stored.size} numbers"
            )
        try:
            if num == 0:
                return stored[:0].reshape(self.shape)
            strides = [step * stored.itemsize if n > 1 else 0 for n, step in zip(self.shape, self.stride, strict=True)]
            return as_strided(stored[self.offset :], self.shape, strides, writeable=False)
        except (ValueError, OverflowError) as error:
            raise SltError(f"a tensor of shape {self.shape} cannot be: {error}") from None


class PickleTooLarge(SltError):
    """A pickle unpacks to more than it may."""


def read_pickle(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Content of a pickle file, gzip-compressed or plain: lists, dicts, tuples, strings, numbers, None, PickledTensor.

    Raises:
        SltError: the pickle asks for any other name or instruction, or is damaged.
        PickleTooLarge: it unpacks to over max_bytes.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            with _unpacked(file, path, max_bytes) as stream:
                _inspect(stream, _STAND_INS, _INSTRUCTIONS)
                while stream.read(2**20):  # gzip's checksum comes last
                    pass
            with _unpacked(file, path, max_bytes) as stream:
                return _PlainUnpickler(stream).load()
    except _Refused as refused:
        raise SltError(f"{path}: refused: {refused}; only plain data is read from a pickle") from None
    except FileNotFoundError:
        raise SltError(f"{path}: no such file") from None
    except OSError as error:
        raise SltError(f"{path}: cannot be read: {error}") from None
    except _DAMAGE as error:
        raise SltError(f"{path}: not a readable pickle: {' '.join(str(error).split())}") from None
    except (MemoryError, OverflowError, RecursionError):
        raise SltError(f"{path}: refused: its content does not fit into memory") from None


def write_pickle(path: Path, content: Any) -> None:
    """Write a gzip pickle that Python 3.4 and later read, atomically: there is the old file or the whole new one.

    What an object's `__reduce_ex__` makes is written and forgotten, not held until the end.
    """
    # Numbers of networks hardly shrink: higher levels take many times as long for one percent.
    with (
        replacing(path) as scratch,
        scratch.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0) as packed,
    ):
        pickler = pickle.Pickler(packed, protocol=3)
        pickler.fast = True
        pickler.dump(content)


class _Refused(Exception):
    pass


@contextmanager
def _unpacked(file: IO[bytes], path: Path, max_bytes: int) -> Iterator[io.BufferedReader]:
    """The content of an open file, from its start."""
    file.seek(0)
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    with gzip.GzipFile(fileobj=file) if packed else nullcontext(file) as content:
        yield io.BufferedReader(_Limited(content, path, max_bytes), 2**17)


class _Limited(io.RawIOBase):
    """A stream that ends in an SltError where it is damaged or longer than it may be."""

    def __init__(self, stream: Any, path: Path, max_bytes: int) -> None:
        self._stream, self._path, self._max_bytes, self._num_read = stream, path, max_bytes, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._num_read

    def readinto(self, buffer: Any) -> int:
        try:
            num = self._stream.readinto(buffer)
        except (OSError, EOFError, zlib.error) as error:
            raise SltError(f"{self._path}: cannot be read: {error}") from None
        self._num_read += num
        if self._num_read > self._max_bytes:
            raise PickleTooLarge(f"{self._path}: refused: unpacks to more than {self._max_bytes} bytes")
        return num


def _inspect(stream: IO[bytes], names: Mapping[tuple[str, str], Any], instructions: set[str]) -> None:
    """Walk the instructions without carrying them out; raise _Refused for the first that there is no need of."""
    num_remembered = 0
    for instruction, argument, _ in pickletools.genops(stream):
        name = instruction.name
        if name == "STACK_GLOBAL":
            continue  # its names are on the stack: find_class decides when it is loaded
        if name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            _allowed(names, module, attribute)
        elif name not in instructions:
            raise _Refused(f"it contains the instruction {name}")
        elif name in _MEMO_WRITES:
            if int(argument or 0) > num_remembered + 1:  # picklers count, from 0 or from 1
                raise _Refused(f"{name} {argument} would reserve memory for nothing")
            num_remembered += 1


def _stored_numbers(saved: bytes) -> np.ndarray:
    """All numbers of a storage (n,), read-only: what `torch.save` writes in the format that has no zip archive.

    That is the one in which a storage is pickled by every version of torch: five small pickles (what it is, version,
    machine, storage, storages that follow), the count as int64, and the numbers.
    """
    stream = io.BytesIO(saved)
    try:
        parts = []
        for _ in range(5):
            start = stream.tell()
            _inspect(stream, _DTYPES, _INSTRUCTIONS | {"BINPERSID"})
            stream.seek(start)
            parts.append(_StorageUnpickler(stream).load())
        magic, version, machine, (dtype, key, num), keys = parts
        start = stream.tell() + 8
        fits = (magic, version, keys) == (_TORCH_MAGIC, 1001, [key]) and machine["little_endian"] is True
        if not fits or int.from_bytes(saved[start - 8 : start], "little") != num:
            raise ValueError("its header is not torch's")
        if len(saved) - start != num * dtype.itemsize:
            raise ValueError(
                f"{num} numbers of {dtype.itemsize} bytes are announced, {len(saved) - start} bytes follow"
            )
        return np.frombuffer(saved, dtype, num, offset=start)
    except _Refused as refused:
        raise SltError(f"its tensor is refused: {refused}; float32 and float16 on a CPU are read") from None
    except (*_DAMAGE, MemoryError, OverflowError, RecursionError) as error:
        raise SltError(f"its tensor is damaged: {' '.join(str(error).split())}") from None


def _allowed(names: Mapping[tuple[str, str], Any], module: str, name: str) -> Any:
    try:
        return names[module, name]
    except KeyError:
        raise _Refused(f"it asks for {module}.{name}") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _allowed(_STAND_INS, module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it refers to an object outside of the file")


class _StorageUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _allowed(_DTYPES, module, name)

    def persistent_load(self, pid: Any) -> tuple[np.dtype, str, int]:
        """dtype, key and count of a storage; the place where it was and the view (None) are of no use."""
        kind, dtype, key, _, num, view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or not _are_counts(num) or view is not None:
            raise _Refused("a storage in it is malformed")
        return dtype, key, num


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> PickledTensor:
    is_shaped = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 64
    if not isinstance(storage, bytes) or not is_shaped or not _are_counts(offset, *size, *stride):
        raise _Refused("a tensor in it is malformed")
    return PickledTensor(size, storage, offset, stride)


def _are_counts(*numbers: Any) -> bool:
    return all(isinstance(number, int) and 0 <= number < 2**62 for number in numbers)


def _storage(content: Any) -> bytes:
    if not isinstance(content, bytes):
        raise _Refused("a tensor storage in it is malformed")
    return content


def _latin1(text: Any, encoding: Any) -> bytes:
    """How protocols below 3 spell bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("bytes in it are malformed")
    return text.encode("latin1")


def _ordered_dict(*items: Any) -> dict:
    return OrderedDict(*items)


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("_codecs", "encode"): _latin1,
}

_DTYPES = {("torch", "FloatStorage"): np.dtype("<f4"), ("torch", "HalfStorage"): np.dtype("<f2")}
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C

_DAMAGE = (pickle.UnpicklingError, ValueError, EOFError, TypeError, KeyError, IndexError, AttributeError)
_MEMO_WRITES = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "GET", "BINGET", "LONG_BINGET", *_MEMO_WRITES),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT"),
    *("SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE"),
}
