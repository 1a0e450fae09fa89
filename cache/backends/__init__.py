"""The backends: a module of this folder each, by its name. Their names stand in `compression.CODECS`."""

from importlib import import_module
from typing import Protocol

import numpy as np

from cache.header import Header
from cache.index import Index
from cache.places.base import Files
from cache.record import Extent, NewFile


class Backend(Protocol):
    """How the rows of a shard become files that a common tool opens."""

    def files_of(
        self, header: Header, shard: int, arrays: dict[str, np.ndarray]
    ) -> tuple[dict[str, Extent], list[NewFile]]:
        """Return where the rows (steps, D) of each stream of a shard will be, and the files to write for it."""
        ...

    def publish(self, files: Files, header: Header, index: Index, temporary: str, shard: int | None = None) -> None:
        """Let tools that do not know the index see a shard; None: every one that is claimed or committed."""
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
