"""The Zarr backend: a plain Zarr v3 group in `data/`, an array a stream, a chunk a shard.

The metadata is a few lines of JSON and an uncompressed chunk is its rows, so neither writing nor reading needs the zarr
library. Zarr v3 core specification: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
"""

import json
import re
import zlib
from typing import Any

import numpy as np

from cache.files import LocalFiles
from cache.header import Header, StreamSpec
from cache.index import Extent, Index, WrittenFile


def metadata(header: Header, num_shards: int) -> dict[str, bytes]:
    """Return the metadata files of a store of so many shards."""
    files = {"data/zarr.json": _json({"zarr_format": 3, "node_type": "group", "attributes": {}})}
    for name, spec in header.streams.items():
        files[_metadata_path(name)] = array_metadata(spec, header.shard_steps, num_shards)
    return files


def check_metadata(files: LocalFiles, header: Header, num_shards: int) -> list[tuple[str, str]]:
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
            if described < num_shards or data != metadata(header, described)[path]:
                found.append((path, f"it does not describe {num_shards} shards as it should"))
    return found


def array_metadata(spec: StreamSpec, shard_steps: int, num_shards: int) -> bytes:
    """Return zarr.json of a stream: shape (num_shards * shard_steps, dim), rows of no clip read as zero."""
    return _json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [num_shards * shard_steps, spec.dim],
            "data_type": spec.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard_steps, spec.dim]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0.0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "attributes": {},
            "dimension_names": ["step", "feature"],
            "storage_transformers": [],
        }
    )


def write_shard(
    files: LocalFiles, header: Header, shard: int, arrays: dict[str, np.ndarray], temporary: str
) -> tuple[dict[str, Extent], list[WrittenFile]]:
    """Write each stream's rows (steps, D) under a temporary name, as a whole chunk."""
    extents, written = {}, []
    for name, rows in arrays.items():
        final, size = f"data/{name}/c.{shard}.0", header.shard_steps * header.streams[name].row_bytes
        files.write(f"{temporary}/{name}", [rows], size)
        extents[name] = Extent(final, 0)
        rest = f"{zlib.crc32(bytes(size - rows.nbytes)):08x}"
        written.append(WrittenFile(f"{temporary}/{name}", final, size, rest))
    return extents, written


def publish(files: LocalFiles, header: Header, index: Index, temporary: str) -> None:
    """Let the arrays' shape cover every shard that is claimed or committed.

    Needs no lock among writers: whoever writes the shape looks again afterwards, so the last one to write has seen all
    claims made before it. Our own reader never asks the shape.
    """
    for name, spec in header.streams.items():
        path = _metadata_path(name)
        while True:
            num_shards = index.next_shard()
            if files.exists(path) and _num_shards(files.read(path), header) >= num_shards:
                break
            files.write(f"{temporary}/{name}.json", [array_metadata(spec, header.shard_steps, num_shards)])
            files.sync(f"{temporary}/{name}.json")
            files.rename(f"{temporary}/{name}.json", path)


def _metadata_path(stream: str) -> str:
    return f"data/{stream}/zarr.json"


def _num_shards(data: bytes, header: Header) -> int:
    """Return how many shards zarr.json says there are; 0 if it is not readable."""
    shape = re.search(rb'"shape": \[\s*([0-9]+),', data)
    return int(shape[1]) // header.shard_steps if shape else 0


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()
