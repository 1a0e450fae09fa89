"""JSON that knows whether it has changed: a checksum as its last key. CRC-32 as zlib's, by ISA-L where there is one."""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from cache.errors import REPAIR, DamagedError

try:
    from isal.isal_zlib import crc32  # the same numbers, ten times as fast
except ImportError:
    crc32 = zlib.crc32

_SEAL = b'"crc32":"'
_Kind = TypeVar("_Kind")


def hex_crc32(data: Any) -> str:
    """Return the CRC-32 of bytes as the index spells it, 8 hex digits."""
    return f"{crc32(data):08x}"


def seal(document: dict[str, Any], indent: int | None = None) -> bytes:
    """Return the JSON text plus a last key `crc32`: CRC-32 of all the bytes that precede that key's opening quote."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(document, ensure_ascii=False, separators=separators, indent=indent, allow_nan=False)
    body = (text[:-1].rstrip("\n") + ",").encode()
    return body + _tail(body)


def is_sealed(data: bytes) -> bool:
    """Say whether this is a text of `seal`, and not a single bit of it has changed."""
    body = data[: data.rfind(_SEAL)]
    return body + _tail(body) == data


def unseal(data: bytes, where: str) -> dict[str, Any]:
    """Return the document of `seal`, without `crc32`. Raises DamagedError if a single bit of it has changed."""
    if not is_sealed(data):
        raise DamagedError(f"{where} is damaged, its checksum does not match: {REPAIR}")
    with complaints(where):
        document = json.loads(data)
        del document["crc32"]
    return document


def known(kind: type[_Kind], document: dict[str, Any]) -> _Kind:
    """Return a dataclass made of those keys of a JSON object that it knows; the others are of a later version."""
    return kind(**{key.name: document[key.name] for key in fields(kind) if key.name in document})  # pyright: ignore[reportArgumentType]


@contextmanager
def complaints(where: str) -> Iterator[None]:
    """Turn what goes wrong with a document of sound checksum, which some other program wrote, into a StoreError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedError(f"{where} is not as cache/FORMAT.md says: {reason}") from error


def _tail(body: bytes) -> bytes:
    return _SEAL + f'{crc32(body):08x}"}}\n'.encode()
