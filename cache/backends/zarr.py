"""The Zarr backend: a plain Zarr v3 group in `data/`, an array a stream, a chunk a shard.

The metadata is a few lines of JSON and an uncompressed chunk is its rows, so neither writing nor reading needs the zarr
library; with compression a chunk is in Zarr's sharding format, and the library writes it.
Zarr v3 core specification: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cache.header import Header, StreamSpec
from cache.index import Index
from cache.places.base import Files
from cache.record import Extent, WrittenFile
from cache.seal import crc32


def metadata(header: Header, num_shards: int) -> dict[str, bytes]:
    """Return the metadata files of a store of so many shards."""
    files = {"data/zarr.json": _json({"zarr_format": 3, "node_type": "group", "attributes": {}})}
    for name, spec in header.streams.items():
        files[_metadata_path(name)] = array_metadata(header, spec, num_shards)
    return files


def check_metadata(files: Files, header: Header, num_shards: int) -> list[tuple[str, str]]:
    """Return (file, what is wrong with it) of the metadata files."""
    found = []
    for path, expected in metadata(header, num_shards).items():
        try:
            data = files.read(path)
        except OSError as error:
            found.append((path, error.strerror or "missing"))
            continue
        if data != expected:  # the shape may be larger: shards that were claimed and never committed count as well
            described = _num_shards(data, header)
            if described < num_shards:
                found.append((path, f"it describes {described} shards, there are {num_shards}"))
            elif data != metadata(header, described)[path]:
                found.append((path, "it is not byte for byte as it was written"))
    return found


def array_metadata(header: Header, spec: StreamSpec, num_shards: int) -> bytes:
    """Return zarr.json of a stream: shape (num_shards * shard_steps, dim), rows of no clip read as zero."""
    codecs: list[dict[str, Any]] = [_LITTLE_ENDIAN]
    if header.compression:
        sharding = {
            "chunk_shape": [header.compression.chunk_steps, spec.dim],
            "codecs": [_LITTLE_ENDIAN, header.compression.zarr_codec(spec.numpy_dtype.itemsize)],
            "index_codecs": [_LITTLE_ENDIAN, {"name": "crc32c"}],
            "index_location": "end",
        }
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    return _json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [num_shards * header.shard_steps, spec.dim],
            "data_type": spec.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [header.shard_steps, spec.dim]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0.0,
            "codecs": codecs,
            "attributes": {"num_shards": num_shards},  # the shape said again, so that a flipped bit in it is found
            "dimension_names": ["step", "feature"],
            "storage_transformers": [],
        }
    )


def write_shard(
    files: Files, header: Header, shard: int, arrays: dict[str, np.ndarray], temporary: str
) -> tuple[dict[str, Extent], list[WrittenFile]]:
    """Write each stream's rows (steps, D) as a whole chunk; its temporary name starts with `temporary`."""
    extents, written = {}, []
    for name, rows in arrays.items():
        final, spec = f"data/{name}/c.{shard}.0", header.streams[name]
        if header.compression:
            # Ctrl-C waits for the thread: zarr, torn out of its event loop, complains of every task when Python ends.
            with ThreadPoolExecutor(1) as thread:
                chunk, pieces = thread.submit(_compress, header, spec, rows).result()
            files.write(f"{temporary}.{name}", [chunk])
            extents[name] = Extent(final, pieces=pieces)
            size, rest = len(chunk), crc32(chunk)
        else:
            size = header.shard_steps * spec.row_bytes
            files.write(f"{temporary}.{name}", [rows], size)
            extents[name] = Extent(final)
            rest = crc32(bytes(size - rows.nbytes))
        written.append(WrittenFile(f"{temporary}.{name}", final, size, f"{rest:08x}"))
    return extents, written


def _compress(header: Header, spec: StreamSpec, rows: np.ndarray) -> tuple[bytes, list[list[int]]]:
    """Return the chunk in Zarr's sharding format, and where in it the pieces with rows are."""
    import zarr
    from zarr.buffer.cpu import Buffer
    from zarr.storage import MemoryStore

    assert header.compression
    stored: dict[str, Any] = {"zarr.json": Buffer.from_bytes(array_metadata(header, spec, 1))}
    # Pieces that are all zero as well: the config of `open_array` is not heeded for an array that exists.
    array = zarr.open_array(MemoryStore(stored), mode="r+").with_config({"write_empty_chunks": True})
    array[: len(rows)] = rows
    chunk = stored["c.0.0"].to_bytes()
    num_pieces = header.shard_steps // header.compression.chunk_steps
    index = np.frombuffer(chunk[-16 * num_pieces - 4 : -4], "<u8").reshape(num_pieces, 2)
    used = -(-len(rows) // header.compression.chunk_steps)
    return chunk, [[int(offset), int(offset + size)] for offset, size in index[:used]]


def publish(files: Files, header: Header, index: Index, temporary: str) -> None:
    """Let the arrays' shape cover every shard that is claimed or committed.

    Needs no lock among writers: whoever writes the shape looks again afterwards, so the last one to write has seen all
    claims made before it. (Killed just before it looks again, it may leave a shape that is too small, which the next
    commit corrects.) Our own reader never asks the shape.
    """
    covered = -1
    while covered < (num_shards := index.next_shard()):
        for name, spec in header.streams.items():
            path = _metadata_path(name)
            if not files.exists(path) or _num_shards(files.read(path), header) < num_shards:
                files.write_whole(path, array_metadata(header, spec, num_shards), f"{temporary}.{name}.json")
        covered = min(_num_shards(files.read(_metadata_path(name)), header) for name in header.streams)


_LITTLE_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}


def _metadata_path(stream: str) -> str:
    return f"data/{stream}/zarr.json"


def _num_shards(data: bytes, header: Header) -> int:
    """Return how many shards zarr.json says there are; 0 if it is not readable."""
    shape = re.search(rb'"shape": \[\s*([0-9]{1,18}),', data)
    return int(shape[1]) // header.shard_steps if shape else 0


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()
