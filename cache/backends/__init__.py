"""The backends: a module of this folder each, by its name. Their names stand in `compression.CODECS`."""

from importlib import import_module
from typing import Protocol

import numpy as np

from cache.header import Header
from cache.index import Index
from cache.places.base import Files
from cache.record import Extent, WrittenFile


class Backend(Protocol):
    """How the rows of a shard become files that a common tool opens."""

    def write_shard(
        self, files: Files, header: Header, shard: int, arrays: dict[str, np.ndarray], temporary: str
    ) -> tuple[dict[str, Extent], list[WrittenFile]]:
        """Write the rows (steps, D) of each stream to files whose names start with `temporary`; the caller renames."""
        ...

    def publish(self, files: Files, header: Header, index: Index, temporary: str) -> None:
        """Let tools that do not know the index see every shard that is claimed or committed."""
        ...

    def metadata(self, header: Header, num_shards: int) -> dict[str, bytes]:
        """Return the files that describe a store of so many shards to other tools."""
        ...

    def check_metadata(self, files: Files, header: Header, num_shards: int) -> list[tuple[str, str]]:
        """Return (file, what is wrong with it) of the files that describe the store to other tools."""
        ...


def backend_of(header: Header) -> Backend:
    """Return the backend that a store was made with."""
    return import_module(f"cache.backends.{header.backend}")  # pyright: ignore[reportReturnType]
