"""store.json: what a store is."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cache.compression import CODECS, MAX_CHUNK_STEPS, Compression
from cache.errors import StoreError
from cache.places.base import Files
from cache.provenance import canonical
from cache.seal import complaints, known, seal, unseal

FORMAT = "feature-store"
PLAIN, COMPRESSED, CHUNKED = 1, 2, 3  # versions of the format; a store says the lowest that can read it
HEADER_PATH = "store.json"
DTYPES = ("float16", "float32")
DEFAULT_SHARD_STEPS = 4096
MAX_DIM, MAX_SHARD_BYTES = 1 << 24, 1 << 40  # beyond them nothing is meant, and what is computed from them overflows
CHUNK_STEPS = 64  # rows of Zarr's inner chunks, where the rows are not compressed


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream of a store: rows of `dim` numbers of `dtype` (float16 or float32, little-endian on disk)."""

    dim: int
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise StoreError(f"stream dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if type(self.dim) is not int or not 1 <= self.dim <= MAX_DIM:
            raise StoreError(f"stream dim {self.dim!r:.60} is not a whole number from 1 to {MAX_DIM}")

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype on disk."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def row_bytes(self) -> int:
        """Bytes of one step."""
        return self.dim * self.numpy_dtype.itemsize


@dataclass(frozen=True, slots=True)
class Header:
    """The contents of store.json; they never change after the store is made.

    chunk_steps: the rows of an inner chunk of a Zarr store that is not compressed; None in those of format 1, whose
        chunks always have all `shard_steps` rows.
    id: random, so that a store that was made anew at the same path is not taken for the old one. Empty in stores of the
        first edition.
    """

    backend: str
    streams: dict[str, StreamSpec]
    shard_steps: int
    fingerprint: dict[str, Any] = field(default_factory=dict)
    compression: Compression | None = None
    recorded: dict[str, Any] = field(default_factory=dict)
    chunk_steps: int | None = None
    id: str = ""

    def __post_init__(self) -> None:
        if self.backend not in CODECS:
            raise StoreError(f"backend {self.backend!r} is not one of {', '.join(CODECS)}")
        if not self.streams:
            raise StoreError('a store needs at least one stream: pass streams={"name": StreamSpec(dim=...)}')
        for name, spec in self.streams.items():
            if not isinstance(name, str) or not re.fullmatch("[A-Za-z0-9_]{1,100}", name):
                raise StoreError(f"stream name {name!r:.120} is not made of 1 to 100 ASCII letters, digits and _")
            if not isinstance(spec, StreamSpec):
                raise StoreError(f"stream {name!r} is {spec!r:.60}, not a StreamSpec(dim, dtype)")
        if type(self.shard_steps) is not int or self.shard_steps < 1:
            raise StoreError(f"shard_steps {self.shard_steps!r:.60} is not a whole number of at least 1")
        widest = max(spec.row_bytes for spec in self.streams.values())
        if self.shard_steps * widest > MAX_SHARD_BYTES:
            raise StoreError(
                f"a shard of {self.shard_steps} steps would take {self.shard_steps * widest:,} bytes, more than "
                f"{MAX_SHARD_BYTES:,}, and is held in memory while it fills: make shard_steps smaller"
            )
        for name in ("fingerprint", "recorded"):
            if not isinstance(getattr(self, name), dict):
                raise StoreError(f"{name} {getattr(self, name)!r:.60} is not an object of JSON, a dict")
        if self.compression is not None and not isinstance(self.compression, Compression):
            raise StoreError(f"compression {self.compression!r:.60} is not a Compression(codec, ...)")
        if self.compression:
            dtypes = {name: spec.dtype for name, spec in self.streams.items()}
            self.compression.require_fit(self.backend, dtypes, self.shard_steps)
        chunk_steps = self.chunk_steps
        if chunk_steps is not None and not (type(chunk_steps) is int and 1 <= chunk_steps <= MAX_CHUNK_STEPS):
            raise StoreError(f"chunk_steps {chunk_steps!r} is not a whole number from 1 to {MAX_CHUNK_STEPS}")

    @property
    def piece_steps(self) -> int | None:
        """The rows of a piece, in Zarr's and HDF5's sense: compressed by itself, or plain; None if there are none."""
        if self.compression:
            return self.compression.chunk_steps
        return self.chunk_steps and min(self.chunk_steps, self.shard_steps)

    def require_streams_apart(self) -> None:
        """Raise StoreError for two streams that would share a folder where names are compared without their case."""
        found: dict[str, str] = {}
        for name in self.streams:
            if found.setdefault(name.lower(), name) != name:
                raise StoreError(
                    f"streams {found[name.lower()]!r} and {name!r} differ in case alone, and some file systems do not "
                    "tell them apart: give one of them another name"
                )

    def to_bytes(self) -> bytes:
        """Return the bytes of store.json."""
        document = {
            "format": FORMAT,
            "format_version": COMPRESSED if self.compression else CHUNKED if self.chunk_steps else PLAIN,
            **({"id": self.id} if self.id else {}),
            "backend": self.backend,
            "shard_steps": self.shard_steps,
            **({"compression": self.compression.to_json()} if self.compression else {}),
            **({"chunk_steps": self.chunk_steps} if self.chunk_steps else {}),
            "streams": {name: {"dim": spec.dim, "dtype": spec.dtype} for name, spec in self.streams.items()},
            "fingerprint": json.loads(canonical(self.fingerprint)),
            **({"recorded": json.loads(canonical(self.recorded))} if self.recorded else {}),
        }
        return seal(document, indent=1)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Header":
        """Read store.json. Raises StoreError where it is damaged or of a newer format."""
        document = unseal(data, where)
        if document.get("format") != FORMAT:
            raise StoreError(f"{where} is not a feature store's header: its format is {document.get('format')!r}")
        with complaints(where):
            if document["format_version"] > CHUNKED:
                raise StoreError(
                    f"{where} has format version {document['format_version']}, this program reads up to {CHUNKED}: "
                    "update slt-pipeline"
                )
            streams = {name: known(StreamSpec, item) for name, item in document["streams"].items()}
            packed = document.get("compression")
            compression = known(Compression, packed) if packed else None
            return known(cls, {**document, "streams": streams, "compression": compression})


def read_header(files: Files) -> Header:
    """Return what the store.json of a place says. Raises DamagedError if it is damaged, OSError if it is not there."""
    return Header.from_bytes(files.read(HEADER_PATH), files.describe(HEADER_PATH))
