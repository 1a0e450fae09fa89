"""store.json: what a store is."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cache.compression import CODECS, Compression
from cache.errors import StoreError
from cache.places.base import Files
from cache.provenance import canonical
from cache.seal import complaints, known, seal, unseal

FORMAT = "feature-store"
PLAIN, COMPRESSED = 1, 2  # versions of the format; a store says the lowest that can read it
HEADER_PATH = "store.json"
DTYPES = ("float16", "float32")
DEFAULT_SHARD_STEPS = 4096


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream of a store: rows of `dim` numbers of `dtype` (float16 or float32, little-endian on disk)."""

    dim: int
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise StoreError(f"stream dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if type(self.dim) is not int or self.dim < 1:
            raise StoreError(f"stream dim {self.dim!r} is not a whole number of at least 1")

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

    id: random, so that a store that was made anew at the same path is not taken for the old one. Empty in stores of the
        first edition.
    """

    backend: str
    streams: dict[str, StreamSpec]
    shard_steps: int
    fingerprint: dict[str, Any] = field(default_factory=dict)
    compression: Compression | None = None
    recorded: dict[str, Any] = field(default_factory=dict)
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
            raise StoreError(f"shard_steps {self.shard_steps!r} is not a whole number of at least 1")
        if self.compression is not None and not isinstance(self.compression, Compression):
            raise StoreError(f"compression {self.compression!r:.60} is not a Compression(codec, ...)")
        if self.compression:
            dtypes = {name: spec.dtype for name, spec in self.streams.items()}
            self.compression.require_fit(self.backend, dtypes, self.shard_steps)

    def to_bytes(self) -> bytes:
        """Return the bytes of store.json."""
        document = {
            "format": FORMAT,
            "format_version": COMPRESSED if self.compression else PLAIN,
            **({"id": self.id} if self.id else {}),
            "backend": self.backend,
            "shard_steps": self.shard_steps,
            **({"compression": self.compression.to_json()} if self.compression else {}),
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
            if document["format_version"] > COMPRESSED:
                raise StoreError(
                    f"{where} has format version {document['format_version']}, this program reads up to {COMPRESSED}: "
                    "update slt-pipeline"
                )
            streams = {name: known(StreamSpec, item) for name, item in document["streams"].items()}
            packed = document.get("compression")
            compression = known(Compression, packed) if packed else None
            return known(cls, {**document, "streams": streams, "compression": compression})


def read_header(files: Files) -> Header:
    """Return what the store.json of a place says. Raises DamagedError if it is damaged, OSError if it is not there."""
    return Header.from_bytes(files.read(HEADER_PATH), files.describe(HEADER_PATH))
