"""Both backends keep the same contract, on a disk and in memory."""

from pathlib import Path

from cache import Compression
from cache.places.local import LocalFiles
from cache.testing.contract import StoreContract
from cache.testing.memory import MemoryFiles


class TestZarr(StoreContract):
    backend = "zarr"


class TestHdf5(StoreContract):
    backend = "hdf5"


class TestZarrBlosc(StoreContract):
    backend = "zarr"
    compression = Compression("blosc", chunk_steps=8)


class TestZarrZstd(StoreContract):
    backend = "zarr"
    compression = Compression("zstd", chunk_steps=4)


class TestHdf5Gzip(StoreContract):
    backend = "hdf5"
    compression = Compression("gzip", chunk_steps=16)


class InMemory(StoreContract):
    def files(self, folder: Path) -> LocalFiles:
        return MemoryFiles()


class TestZarrInMemory(InMemory):
    backend = "zarr"


class TestHdf5InMemory(InMemory):
    backend = "hdf5"
