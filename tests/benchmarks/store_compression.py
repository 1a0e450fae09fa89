"""What compression saves and costs: size, writing and reading of the clips of a store, for every codec.

    python tests/benchmarks/store_compression.py runs/demo/mmtlb/features --stream s3d

Give it a store of real features: random numbers do not compress. Measured in one run, files in the page cache.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from cache import Compression, FeatureStore
from cache.care.info import info

WAYS: list[tuple[str, Compression | None]] = [
    ("zarr", None),
    ("hdf5", None),
    *(("zarr", Compression("blosc", keep_bits=bits)) for bits in (None, 8, 6, 4)),
    ("zarr", Compression("blosc", level=9, keep_bits=6)),
    ("zarr", Compression("blosc", keep_bits=6, chunk_steps=32)),
    ("zarr", Compression("blosc", keep_bits=6, chunk_steps=256)),
    ("zarr", Compression("zstd")),
    ("zarr", Compression("zstd", keep_bits=6)),
    ("hdf5", Compression("gzip")),
    ("hdf5", Compression("gzip", keep_bits=6)),
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--stream", default="s3d")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    source = FeatureStore.open(options.store)
    spec = source.streams[options.stream]
    clips = {clip_id: source.read(clip_id, options.stream) for clip_id in source}
    steps = sum(map(len, clips.values()))
    print(f"{len(clips)} clips, {steps} steps x {spec.dim} {spec.dtype} of stream {options.stream}\n")
    print("| backend | compression | level | bits kept | steps a piece | size | write MB/s | read clips/s | error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(dir=options.store.parent) as folder:
        for backend, compression in WAYS:
            size, write, read, error = _measure(
                Path(folder), source, options.stream, clips, backend, compression, options.repeats
            )
            c = compression
            shown = (c.codec, c.level, c.keep_bits or "all", c.chunk_steps) if c else ("none", "", "all", "")
            cells = [backend, *shown, f"{size:.0%}", f"{write / 1e6:.0f}", f"{read:.0f}", f"{error:.1e}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _measure(
    folder: Path,
    source: FeatureStore,
    stream: str,
    clips: dict[str, np.ndarray],
    backend: str,
    compression: Compression | None,
    repeats: int,
) -> tuple[float, float, float, float]:
    """Return the size as a share of the plain numbers, bytes written and clips read a second, the largest error.

    The error is relative to the number, for those large enough to be told from 0 in float16.
    """
    writes, reads, path = [], [], folder / "store"
    num_bytes = sum(clip.nbytes for clip in clips.values())
    for _ in range(repeats):
        shutil.rmtree(path, ignore_errors=True)
        with _timed(writes):
            store = FeatureStore.create(
                path,
                backend=backend,
                streams={stream: source.streams[stream]},
                fingerprint={},
                compression=compression,
                durable=False,
            )
            with store.writer() as writer:
                for clip_id, features in clips.items():
                    writer.write(clip_id, {stream: features})
    store, order = FeatureStore.open(path), np.random.default_rng(0).permutation(list(clips)).tolist()
    for _ in range(repeats):
        with _timed(reads):
            for clip_id in order:
                store.read(clip_id, stream)
    error = max(_largest_error(store.read(clip_id, stream), clip) for clip_id, clip in clips.items())
    size = info(store)["bytes_on_disk"] / num_bytes
    return size, num_bytes / min(writes), len(clips) / min(reads), error


def _largest_error(found: np.ndarray, exact: np.ndarray) -> float:
    found, exact = found.astype(np.float64), exact.astype(np.float64)
    scale = np.maximum(np.abs(exact), float(np.finfo(np.float16).tiny))
    return float((np.abs(found - exact) / scale).max())


class _timed:
    """Appends the seconds that its block took."""

    def __init__(self, into: list[float]) -> None:
        self._into = into

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._into.append(time.perf_counter() - self._start)


if __name__ == "__main__":
    main()
