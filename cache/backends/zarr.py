"""The Zarr backend: a plain Zarr v3 group in `data/`, an array a stream, a chunk a shard.

A chunk is in Zarr's sharding format: inner chunks of a few rows each, and at its end a table of where they are. Not
compressed, they are the rows as they are, in order from the first byte on, as many as there are: so a shard takes what
it holds, our reader needs neither the table nor the zarr library, and that library reads a few rows for any clip. With
compression it is the library that writes the chunk. In a store of format 1 a chunk is `shard_steps` rows and no table.
Zarr v3 core specification: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
Its sharding codec: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cache.header import Header, StreamSpec
from cache.index import Index
from cache.places.base import Files
from cache.record import Extent, NewFile
from cache.seal import hex_crc32

FAR = 1 << 20
"""Shards beyond the last one that no dead writers explain: a number that far off is nobody's."""


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
            if not num_shards <= described <= num_shards + FAR:
                found.append((path, f"it describes {described} shards, there are {num_shards}"))
            elif data != metadata(header, described)[path]:
                found.append((path, "it is not byte for byte as it was written"))
    return found


def array_metadata(header: Header, spec: StreamSpec, num_shards: int) -> bytes:
    """Return zarr.json of a stream: shape (num_shards * rows of a chunk, dim), rows of no clip read as zero."""
    codecs: list[dict[str, Any]] = [_LITTLE_ENDIAN]
    if header.piece_steps:
        packed = [header.compression.zarr_codec(spec.numpy_dtype.itemsize)] if header.compression else []
        sharding = {
            "chunk_shape": [header.piece_steps, spec.dim],
            "codecs": [_LITTLE_ENDIAN, *packed],
            "index_codecs": [_LITTLE_ENDIAN, {"name": "crc32c"}],
            "index_location": "end",
        }
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    return _json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [num_shards * _chunk_rows(header), spec.dim],
            "data_type": spec.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [_chunk_rows(header), spec.dim]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0.0,
            "codecs": codecs,
            "attributes": {"num_shards": num_shards},  # the shape said again, so that a flipped bit in it is found
            "dimension_names": ["step", "feature"],
            "storage_transformers": [],
        }
    )


def files_of(header: Header, shard: int, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Extent], list[NewFile]]:
    """Return a whole chunk for each stream's rows (steps, D)."""
    extents, found = {}, []
    for name, rows in arrays.items():
        path, spec = f"data/{name}/c.{shard}.0", header.streams[name]
        if header.compression:
            # Ctrl-C waits for the thread: zarr, torn out of its event loop, complains of every task when Python ends.
            with ThreadPoolExecutor(1) as thread:
                rest, pieces = thread.submit(_compress, header, spec, rows).result()
            parts = [rest]
        else:
            rest, pieces = _padding_and_table(header, spec, len(rows)), None
            parts = [rows, rest]
        extents[name] = Extent(path, pieces=pieces)
        found.append(NewFile(path, parts, hex_crc32(rest)))
    return extents, found


def _padding_and_table(header: Header, spec: StreamSpec, num_rows: int) -> bytes:
    """Return what follows the rows of a chunk: zeros up to the end of its last piece, and the table of its pieces."""
    if header.piece_steps is None:
        return bytes((header.shard_steps - num_rows) * spec.row_bytes)
    from google_crc32c import value as crc32c

    used, piece_bytes = -(-num_rows // header.piece_steps), header.piece_steps * spec.row_bytes
    table = np.full((_chunk_rows(header) // header.piece_steps, 2), _NOTHING, "<u8")  # (offset, bytes) of each piece
    table[:used, 0] = np.arange(used) * piece_bytes
    table[:used, 1] = piece_bytes
    data = table.tobytes()
    return bytes(used * piece_bytes - num_rows * spec.row_bytes) + data + crc32c(data).to_bytes(4, "little")


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
    num_pieces = _chunk_rows(header) // header.compression.chunk_steps
    index = np.frombuffer(chunk[-16 * num_pieces - 4 : -4], "<u8").reshape(num_pieces, 2)
    used = -(-len(rows) // header.compression.chunk_steps)
    return chunk, [[int(offset), int(offset + size)] for offset, size in index[:used]]


def publish(files: Files, header: Header, index: Index, temporary: str, shard: int | None = None) -> None:
    """Let the arrays' shape cover this shard; None: every shard that is claimed or committed.

    It grows in steps, so that few commits write it. Needs no lock among writers: whoever writes the shape looks again
    afterwards, so the last one to write has seen all claims made before it. (Killed just before it looks again, it may
    leave a shape that is too small, which the next commit corrects.) Our own reader never asks the shape.
    """
    covered = _covered(files, header)
    if shard is not None and shard < covered:
        return
    while covered < (num_shards := index.next_shard()):
        step = max(8, 1 << num_shards.bit_length() >> 3)  # of an eighth to a fourth of what there is
        for name, spec in header.streams.items():
            data = array_metadata(header, spec, -(-num_shards // step) * step)
            files.write_whole(_metadata_path(name), data, f"{temporary}.{name}.json")
        covered = _covered(files, header)


def _covered(files: Files, header: Header) -> int:
    """Return how many shards the shapes of all streams cover."""
    covered = []
    for path in map(_metadata_path, header.streams):
        try:
            covered.append(_num_shards(files.read(path), header))
        except FileNotFoundError:
            return -1
    return min(covered)


_NOTHING = (1 << 64) - 1  # in the table, of a piece that is not there
_LITTLE_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}


def _chunk_rows(header: Header) -> int:
    """Return the rows of a chunk: `shard_steps`, in whole pieces."""
    piece = header.piece_steps or 1
    return -(-header.shard_steps // piece) * piece


def _metadata_path(stream: str) -> str:
    return f"data/{stream}/zarr.json"


def _num_shards(data: bytes, header: Header) -> int:
    """Return how many shards zarr.json says there are; 0 if it is not readable."""
    shape = re.search(rb'"shape": \[\s*([0-9]{1,30}),', data)
    return int(shape[1]) // _chunk_rows(header) if shape else 0


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()
