"""Compression: the rows of a shard in pieces of `chunk_steps`, each compressed by itself, as Zarr and HDF5 know it.

D: width of a stream.
"""

import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from cache.errors import REPAIR, DamagedError, StoreError

CODECS = {"zarr": ("blosc", "zstd"), "hdf5": ("gzip",)}
"""The backends, and what compression each can write that every tool for it reads without a plug-in."""
_MANTISSA_BITS = {"float16": 10, "float32": 23}
_MAX_LEVEL = 9
MAX_CHUNK_STEPS = 1 << 20


@dataclass(frozen=True, slots=True)
class Compression:
    """How the rows of a store are compressed.

    codec: `blosc` (bytes shuffled, then zstd) or `zstd` for zarr, `gzip` (bytes shuffled, then deflated) for hdf5.
    level: 1 (fast) to 9 (small).
    keep_bits: bits of the mantissa that are kept, the rest rounded to the nearest and written as zeros, which is what
        makes features shrink: float16 has 10, float32 23. None: all of them, nothing is lost.
    chunk_steps: steps compressed together: what the reading of one clip must unpack at least.
    """

    codec: str
    level: int = 5
    keep_bits: int | None = None
    chunk_steps: int = 64

    def __post_init__(self) -> None:
        known = sorted(codec for codecs in CODECS.values() for codec in codecs)
        if self.codec not in known:
            raise StoreError(f"compression {self.codec!r} is not one of {', '.join(known)}")
        for name, low, high in (("level", 1, _MAX_LEVEL), ("keep_bits", 1, 23), ("chunk_steps", 1, MAX_CHUNK_STEPS)):
            value = getattr(self, name)
            if not (name == "keep_bits" and value is None) and not (type(value) is int and low <= value <= high):
                raise StoreError(f"compression {name} {value!r} is not a whole number from {low} to {high}")

    def to_json(self) -> dict[str, Any]:
        """Return what store.json says of it."""
        return asdict(self)

    def require_fit(self, backend: str, dtypes: dict[str, str], shard_steps: int) -> None:
        """Raise StoreError if a store of this kind cannot have this compression."""
        if self.codec not in CODECS[backend]:
            raise StoreError(f"a {backend} store has compression {' or '.join(CODECS[backend])}, not {self.codec}")
        for stream, dtype in dtypes.items():
            if self.keep_bits and self.keep_bits > _MANTISSA_BITS[dtype]:
                raise StoreError(
                    f"stream {stream!r} is {dtype} with {_MANTISSA_BITS[dtype]} bits of mantissa: keep_bits "
                    f"{self.keep_bits} is more"
                )
        if shard_steps % self.chunk_steps:
            raise StoreError(
                f"shard_steps {shard_steps} is not a multiple of the compression's chunk_steps {self.chunk_steps}: "
                f"take shard_steps={-(-shard_steps // self.chunk_steps) * self.chunk_steps}"
            )

    def round(self, rows: np.ndarray) -> None:
        """Round rows of float16 or float32 to `keep_bits`, in place; NaN and infinity stay what they are."""
        if self.keep_bits and self.keep_bits < _MANTISSA_BITS[rows.dtype.name]:
            from numcodecs.bitround import BitRound

            bits = rows.view(f"<i{rows.itemsize}")
            infinity = np.array(np.inf, rows.dtype).view(bits.dtype)
            # Carried beyond the exponent, a NaN with all bits set, which is what CUDA makes, would become a zero.
            np.copyto(bits, np.asarray(BitRound(self.keep_bits).encode(rows)), where=(bits & infinity) != infinity)

    def unpacker(self, size: int, itemsize: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return what turns a piece as stored (bytes) into `size` bytes, the rows one after the other, both uint8.

        A piece that would unpack to another size is refused before its memory is taken.
        """
        unpack = _unpack(self.codec)

        def checked(piece: np.ndarray) -> np.ndarray:
            try:
                data = np.frombuffer(unpack(piece, size), np.uint8)
                if data.nbytes != size:
                    raise _another_size(data.nbytes, size)
                return _unshuffle(data, itemsize) if self.codec == "gzip" else data
            except DamagedError:
                raise
            except (ValueError, RuntimeError, SystemError, MemoryError, zlib.error) as error:
                raise DamagedError(f"does not unpack ({error or 'out of memory'}): {REPAIR}") from error

        return checked

    def zarr_codec(self, itemsize: int) -> dict[str, Any]:
        """Return the codec as zarr.json spells it."""
        if self.codec == "zstd":
            return {"name": "zstd", "configuration": {"level": self.level, "checksum": False}}
        return {
            "name": "blosc",
            "configuration": {
                "typesize": itemsize,
                "cname": "zstd",
                "clevel": self.level,
                "shuffle": "shuffle",
                "blocksize": 0,
            },
        }


@cache
def _unpack(codec: str) -> Callable[[np.ndarray, int], Any]:
    """Return what unpacks a piece (bytes) if it says that it has `size` bytes, and takes no more memory than that."""
    if codec == "gzip":
        return _inflate
    from numcodecs.registry import get_codec

    decode, said = get_codec({"id": codec}).decode, {"blosc": _blosc_size, "zstd": _zstd_size}[codec]

    def unpack(piece: np.ndarray, size: int) -> Any:
        if (found := said(piece.tobytes())) != size:
            raise _another_size(found, size)
        return decode(piece)

    return unpack


def _inflate(piece: np.ndarray, size: int) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(piece.data, size + 1)  # one byte more tells that there is more
    if len(data) <= size and not stream.eof:
        raise ValueError("its end is missing")
    return data


def _blosc_size(piece: bytes) -> int:
    """Return the bytes that blosc's header says there are (README_CHUNK_FORMAT.rst of github.com/Blosc/c-blosc)."""
    if len(piece) < 16 or int.from_bytes(piece[12:16], "little") != len(
        piece
    ):  # blosc reads as many bytes as its header says there are
        raise ValueError("blosc's header tells another size")
    return int.from_bytes(piece[4:8], "little")


def _zstd_size(piece: bytes) -> int:
    """Return the bytes that the header of a zstd frame says there are (RFC 8878, 3.1.1.1)."""
    piece = piece[:18].ljust(18, b"\0")
    if piece[:4] != b"\x28\xb5\x2f\xfd":
        raise ValueError("it is no zstd frame")
    kind, single = piece[4] >> 6, piece[4] >> 5 & 1
    width = (single, 2, 4, 8)[kind]
    if not width:
        raise ValueError("zstd's header tells no size")
    start = 6 - single + (0, 1, 2, 4)[piece[4] & 3]  # after a window, unless it is single, and a dictionary's number
    return int.from_bytes(piece[start : start + width], "little") + (256 if kind == 1 else 0)


def _another_size(found: int, size: int) -> DamagedError:
    more = " or more" if found == size + 1 else ""
    return DamagedError(f"unpacks to {found}{more} bytes, {size} needed: {REPAIR}")


def _unshuffle(data: np.ndarray, itemsize: int) -> np.ndarray:
    """Undo HDF5's shuffle filter: it puts the first byte of every number first, then every second one, and so on."""
    return np.ascontiguousarray(data.reshape(itemsize, -1).T).reshape(-1)
