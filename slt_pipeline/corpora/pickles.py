"""Reading pickles of strangers: plain data only, nothing is imported and nothing is called.

A pickle is a program. It is read twice: first its instructions are walked, without carrying them out, and it is refused
if plain data has no need of one of them. Then it is loaded; every name that it asks for is refused but those by which
bytes and torch tensors are described, and behind those are inert stand-ins: torch is not imported.
"""

import gzip
import io
import pickle
import pickletools
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.errors import SltError

MAX_BYTES = 2**30
"""Largest pickle, unpacked: an archive that claims more is not unpacked. (The largest annotation file has 13 MB.)"""


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """Stand-in for a torch tensor: its shape, and the bytes of its storage as torch saved them."""

    shape: tuple[int, ...]
    storage: bytes


def read_pickle(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Content of a pickle file, gzip-compressed or plain: lists, dicts, tuples, strings, numbers, None, PickledTensor.

    Raises SltError for a pickle that asks for any other name or instruction, is damaged, or unpacks to over max_bytes.
    """
    data = _unpacked(Path(path), max_bytes)
    try:
        _inspect(data)
        return _PlainUnpickler(io.BytesIO(data)).load()
    except _Refused as refused:
        raise SltError(f"{path}: refused: {refused}; only plain data is read from a pickle") from None
    except (pickle.UnpicklingError, ValueError, EOFError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise SltError(f"{path}: not a readable pickle: {' '.join(str(error).split())}") from None
    except (MemoryError, OverflowError, RecursionError):
        raise SltError(f"{path}: refused: its content does not fit into memory") from None


class _Refused(Exception):
    pass


def _unpacked(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if packed else file as stream:
                data = stream.read(max_bytes + 1)
    except FileNotFoundError:
        raise SltError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SltError(f"{path}: cannot be read: {error}") from None
    if len(data) > max_bytes:
        raise SltError(f"{path}: refused: unpacks to more than {max_bytes} bytes")
    return data


def _inspect(data: bytes) -> None:
    """Walk the instructions without carrying them out; raise _Refused for the first that plain data has no need of."""
    for instruction, argument, _ in pickletools.genops(data):
        name = instruction.name
        if name == "STACK_GLOBAL":
            continue  # its names are on the stack: find_class decides when it is loaded
        if name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            _allowed(module, attribute)
        elif name not in _INSTRUCTIONS:
            raise _Refused(f"it contains the instruction {name}")
        elif name in _MEMO_WRITES and int(argument or 0) > len(data):
            raise _Refused(f"{name} {argument} would reserve memory for nothing")


def _allowed(module: str, name: str) -> Callable[..., Any]:
    try:
        return _STAND_INS[module, name]
    except KeyError:
        raise _Refused(f"it asks for {module}.{name}") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _allowed(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it refers to an object outside of the file")


def _rebuild_tensor(storage: Any, offset: Any, size: Any, *_: Any) -> PickledTensor:
    if not isinstance(storage, bytes) or not isinstance(size, tuple):
        raise _Refused("a tensor in it is malformed")
    return PickledTensor(size, storage)


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

_MEMO_WRITES = {"PUT", "BINPUT", "LONG_BINPUT"}
_INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", *_MEMO_WRITES),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT"),
    *("SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE"),
}
