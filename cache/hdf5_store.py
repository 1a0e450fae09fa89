"""The HDF5 backend: a plain HDF5 file a shard, `data/00000007.h5`, with one contiguous dataset (steps, D) a stream.

One file a shard, because HDF5 has one writer a file and no way to make half of a file atomic.
The file is built in memory and written like any other, so the same rename makes it appear whole.
"""

import io
import zlib

import numpy as np

from cache.files import LocalFiles
from cache.header import Header
from cache.index import Extent, Index, WrittenFile

ALIGNMENT = 4096  # datasets start on a page, so that a clip touches as few pages of the disk as it can


def metadata(header: Header, num_shards: int) -> dict[str, bytes]:
    """Return nothing: each HDF5 file describes itself."""
    del header, num_shards
    return {}


def check_metadata(files: LocalFiles, header: Header, num_shards: int) -> list[tuple[str, str]]:
    """Return nothing: the checksum of an HDF5 file's own description is in the index."""
    del files, header, num_shards
    return []


def write_shard(
    files: LocalFiles, header: Header, shard: int, arrays: dict[str, np.ndarray], temporary: str
) -> tuple[dict[str, Extent], list[WrittenFile]]:
    """Write the rows (steps, D) of all streams as one HDF5 file under a temporary name."""
    del header
    import h5py

    final, stream, extents, spans = f"data/{shard:08d}.h5", io.BytesIO(), {}, []
    with h5py.File(stream, "w", alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT) as file:
        for name, rows in arrays.items():
            dataset = file.create_dataset(name, data=rows, track_times=False)
            offset = dataset.id.get_offset()
            extents[name] = Extent(final, offset)
            spans.append((offset, offset + rows.nbytes))
    image = stream.getbuffer()
    files.write(f"{temporary}/shard.h5", [image])
    return extents, [WrittenFile(f"{temporary}/shard.h5", final, image.nbytes, rest_checksum(image, spans))]


def rest_checksum(image: memoryview, spans: list[tuple[int, int]]) -> str:
    """Return the CRC-32 of the bytes outside of the spans, in order."""
    checksum, end = 0, 0
    for start, stop in [*sorted(spans), (len(image), len(image))]:
        checksum = zlib.crc32(image[end:start], checksum)
        end = stop
    return f"{checksum:08x}"


def publish(files: LocalFiles, header: Header, index: Index, temporary: str) -> None:
    """Do nothing: an HDF5 file tells its own shape."""
    del files, header, index, temporary
