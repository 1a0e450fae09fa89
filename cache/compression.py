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
        for name, low, high in (("level", 1, _MAX_LEVEL), ("keep_bits", 1, 23), ("chunk_steps", 1, 1 << 20)):
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
        """Return what turns a piece as stored (bytes) into `size` bytes, the rows one after the other, both uint8."""
        unpack = _unpack(self.codec)

        def checked(piece: np.ndarray) -> np.ndarray:
            try:
                data = np.frombuffer(unpack(piece, size, itemsize), np.uint8)
            except (ValueError, RuntimeError, SystemError, MemoryError, zlib.error) as error:
                raise DamagedError(f"does not unpack ({error or 'out of memory'}): {REPAIR}") from error
            if data.nbytes != size:
                raise DamagedError(f"unpacks to {data.nbytes} bytes, {size} needed: {REPAIR}")
            return data

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
def _unpack(codec: str) -> Callable[[np.ndarray, int, int], Any]:
    """Return what unpacks (piece, size, itemsize), and takes no memory for more than `size` bytes, whatever it says."""
    if codec == "gzip":
        return lambda piece, size, itemsize: _unshuffle(_inflate(piece, size), itemsize)
    from numcodecs.registry import get_codec

    decode, told = get_codec({"id": codec}).decode, {"zstd": _zstd_size, "blosc": _blosc_size}[codec]

    def unpack(piece: np.ndarray, size: int, itemsize: int) -> Any:
        del itemsize
        if (tells := told(piece[:18].tobytes(), len(piece))) != size:
            raise ValueError(f"its header tells {tells} bytes, {size} needed")
        return decode(piece)

    return unpack


def _inflate(piece: np.ndarray, size: int) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(piece.data, size + 1)
    if not stream.eof and len(data) <= size:
        raise ValueError("it ends too early")
    return data


def _blosc_size(header: bytes, length: int) -> int:
    """Return the bytes that Blosc's header tells (README_CHUNK_FORMAT.rst of github.com/Blosc/c-blosc)."""
    if int.from_bytes(header[12:16], "little") != length:  # Blosc reads as many bytes as its header says there are
        raise ValueError("blosc's header tells another size")
    return int.from_bytes(header[4:8], "little")


def _zstd_size(header: bytes, length: int) -> int:
    """Return the bytes that the header of a frame tells (RFC 8878, section 3.1.1.1)."""
    if header[:4] != b"\x28\xb5\x2f\xfd" or length < 6:
        raise ValueError("it is no frame of zstd")
    descriptor = header[4]
    alone = descriptor >> 5 & 1
    start, width = 6 - alone + (0, 1, 2, 4)[descriptor & 3], (alone, 2, 4, 8)[descriptor >> 6]
    return int.from_bytes(header[start : start + width], "little") + (256 if width == 2 else 0)


def _unshuffle(data: bytes, itemsize: int) -> np.ndarray:
    """Undo HDF5's shuffle filter: it puts the first byte of every number first, then every second one, and so on."""
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(itemsize, -1).T).reshape(-1)
