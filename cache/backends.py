"""The backends, by name."""

from types import ModuleType
from typing import Protocol

import numpy as np

from cache.files import LocalFiles
from cache.header import Header
from cache.index import Index
from cache.record import Extent, WrittenFile


class Backend(Protocol):
    """How the rows of a shard become files that a common tool opens."""

    def write_shard(
        self, files: LocalFiles, header: Header, shard: int, arrays: dict[str, np.ndarray], temporary: str
    ) -> tuple[dict[str, Extent], list[WrittenFile]]:
        """Write the rows (steps, D) of each stream to files whose names start with `temporary`; the caller renames."""
        ...

    def publish(self, files: LocalFiles, header: Header, index: Index, temporary: str) -> None:
        """Let tools that do not know the index see every shard that is claimed or committed."""
        ...

    def metadata(self, header: Header, num_shards: int) -> dict[str, bytes]:
        """Return the files that describe a store of so many shards to other tools."""
        ...

    def check_metadata(self, files: LocalFiles, header: Header, num_shards: int) -> list[tuple[str, str]]:
        """Return (file, what is wrong with it) of the files that describe the store to other tools."""
        ...


def backend_of(header: Header) -> Backend:
    """Return the backend that a store was made with."""
    from cache import hdf5_store, zarr_store

    backends: dict[str, ModuleType] = {"zarr": zarr_store, "hdf5": hdf5_store}
    return backends[header.backend]  # pyright: ignore[reportReturnType]
