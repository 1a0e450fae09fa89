"""The HDF5 backend: a plain HDF5 file a shard, `data/00000007.h5`, with one dataset (steps, D) a stream.

The dataset is contiguous, or in chunks if it is compressed.

One file a shard, because HDF5 has one writer a file and no way to make half of a file atomic.
The file is described in memory and written like any other, so the same rename makes it appear whole.
"""

import io
import tempfile

import numpy as np

from cache.compression import Compression
from cache.header import Header
from cache.index import Index
from cache.places.base import Files
from cache.record import Extent, NewFile
from cache.seal import hex_crc32

ALIGNMENT = 4096  # datasets start on a page, so that a clip touches as few pages of the disk as it can


def metadata(header: Header, num_shards: int) -> dict[str, bytes]:
    """Return nothing: each HDF5 file describes itself."""
    return {}


def check_metadata(files: Files, header: Header, num_shards: int) -> list[tuple[str, str]]:
    """Return nothing: the checksum of an HDF5 file's own description is in the index."""
    return []


def files_of(header: Header, shard: int, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Extent], list[NewFile]]:
    """Return one HDF5 file with the rows (steps, D) of all streams."""
    path = f"data/{shard:08d}.h5"
    if header.compression:
        image, pieces = _compress(arrays, header.compression)
        return {name: Extent(path, pieces=spans) for name, spans in pieces.items()}, [
            NewFile(path, [image], hex_crc32(image))
        ]
    offsets, around = _describe(arrays)
    # The description lies around the rows, which are written from where they are, without a copy.
    parts = [around[0]]
    for name, after in zip(offsets, around[1:], strict=True):
        parts += [arrays[name], after]
    extents = {name: Extent(path, offset) for name, offset in offsets.items()}
    return extents, [NewFile(path, parts, hex_crc32(b"".join(around)))]


def _describe(arrays: dict[str, np.ndarray]) -> tuple[dict[str, int], list[bytes]]:
    """Return where the datasets begin, in the order of the file, and the bytes before, between and after them.

    HDF5 describes them in a file with holes in the place of the rows, which takes next to no room.
    """
    import h5py

    with tempfile.TemporaryFile() as stream:
        offsets: dict[str, int] = {}
        with h5py.File(stream, "w", alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT) as file:
            for name, rows in arrays.items():
                settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
                settings.set_obj_track_times(False)
                kind, space = h5py.h5t.py_create(rows.dtype), h5py.h5s.create_simple(rows.shape)
                offsets[name] = h5py.h5d.create(file.id, name.encode(), kind, space, settings).get_offset()
        offsets = dict(sorted(offsets.items(), key=lambda item: item[1]))
        ends = [0, *(offset + arrays[name].nbytes for name, offset in offsets.items())]
        around = []
        for end, start in zip(ends, [*offsets.values(), None], strict=True):
            stream.seek(end)
            # HDF5 writes no byte of a gap that it leaves before the last dataset, so the file may end within it.
            around.append(stream.read() if start is None else stream.read(start - end).ljust(start - end, b"\0"))
    return offsets, around


def _compress(arrays: dict[str, np.ndarray], compression: Compression) -> tuple[memoryview, dict[str, list[list[int]]]]:
    """Return an HDF5 file with chunked, deflated datasets, and where in it their chunks are."""
    import h5py

    stream, pieces = io.BytesIO(), {}
    with h5py.File(stream, "w") as file:
        for name, rows in arrays.items():
            dataset = file.create_dataset(
                name,
                shape=rows.shape,
                maxshape=(None, rows.shape[1]),  # or a chunk could not be longer than the rows
                dtype=rows.dtype,
                chunks=(compression.chunk_steps, rows.shape[1]),
                compression="gzip",
                compression_opts=compression.level,
                shuffle=True,
                track_times=False,
            )
            dataset[...] = rows
            file.flush()
            chunks = (dataset.id.get_chunk_info(number) for number in range(dataset.id.get_num_chunks()))
            found = {c.chunk_offset[0]: [c.byte_offset, c.byte_offset + c.size] for c in chunks}
            pieces[name] = [found[row] for row in range(0, len(rows), compression.chunk_steps)]
    return stream.getbuffer(), pieces


def publish(files: Files, header: Header, index: Index, temporary: str, shard: int | None = None) -> None:
    """Do nothing: an HDF5 file tells its own shape."""
