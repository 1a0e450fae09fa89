"""What the store's benchmark does in fresh processes: `store_child.py FUNCTION JSON`, prints a line of JSON.

Nothing but the standard library is imported before a function runs, so that its memory and its start are its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from process_status import kibibytes

if TYPE_CHECKING:
    import numpy as np

BATCH = 16
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run the function."""
    function = {run.__name__: run for run in (read_all, read_cold, write_split, read_split)}[sys.argv[1]]
    print(json.dumps(function(**json.loads(sys.argv[2]))))


def read_all(path: str, places: str | None) -> dict[str, Any]:
    """Read every clip once, one after the other. Returns VmRSS then."""
    read, clip_ids = _reader(path, places)
    for clip_id in clip_ids:
        read(clip_id)
    return {"rss_kib": kibibytes("VmRSS")}


def read_cold(
    path: str, places: str | None, files: list[str], clip_ids: list[str], others: list[str]
) -> dict[str, Any]:
    """Drop the files from the page cache, then read some clips once. `others` are read before, to have all code loaded.

    Returns bytes of all pages, of those in the page cache before and after dropping and after reading, and bytes asked
    for and fetched.
    """
    for file in files:
        Path(file).read_bytes()
    read, _ = _reader(path, places)
    for clip_id in others:
        read(clip_id)
    del read  # with its maps, as mapped pages are not dropped
    total, before = sum(-(-Path(file).stat().st_size // _PAGE) * _PAGE for file in files), _cached(files)
    _drop(files)
    dropped = _cached(files)
    read, _ = _reader(path, places)
    start = _fetched()
    asked = sum(read(clip_id).nbytes for clip_id in clip_ids)
    fetched = _fetched() - start
    result = {"total": total, "before": before, "dropped": dropped, "cached": _cached(files)}
    return {**result, "asked": asked, "fetched": fetched}


def write_split(way: str, path: str, npy: str, places: str) -> dict[str, Any]:
    """Write all clips, float32, in the `published` way or to a `store`. Returns seconds, from features in memory."""
    import gzip
    import pickle

    import torch
    from tqdm import tqdm

    clips = _float32_clips(npy, places)
    if way == "store":
        from store_common import write_store

        start = time.perf_counter()
        write_store(Path(path), clips, "zarr", durable=True)
        return {"seconds": time.perf_counter() - start}
    entries = [
        {"name": clip_id, "gloss": "WIND NORD", "text": "der wind", "num_frames": 4 * len(features), "sign": sign}
        for clip_id, features in clips.items()
        for sign in [torch.from_numpy(features)]
    ]
    size = sum(features.nbytes for features in clips.values())
    start = time.perf_counter()
    with (
        gzip.open(path, "wb") as file,
        tqdm(total=size, unit="B", unit_scale=True, desc="gzip pickle", mininterval=1) as bar,
    ):
        pickle.dump(entries, _Counted(file, bar.update))
    return {"seconds": time.perf_counter() - start}


def read_split(way: str, path: str, with_torch: bool) -> dict[str, Any]:
    """Make padded float32 batches of all clips in random order, from what `write_split` has written.

    Returns the time (CLOCK_MONOTONIC, which processes share) of the first batch, seconds of an epoch, and VmHWM.
    """
    if with_torch or way == "published":
        import torch  # noqa: F401 (the time and the memory that it takes are part of what is measured)
    batches, num_clips = _published_batches(path) if way == "published" else _store_batches(path, with_torch)
    import numpy as np

    random = np.random.default_rng(0)
    batches(random.permutation(num_clips)[:BATCH].tolist())
    first = time.monotonic()
    start = time.perf_counter()
    order = random.permutation(num_clips).tolist()
    for position in range(0, num_clips, BATCH):
        batches(order[position : position + BATCH])
    return {"first": first, "epoch": time.perf_counter() - start, "peak_kib": kibibytes("VmHWM")}


class _Counted:
    """A file that tells how many bytes were written."""

    def __init__(self, file: Any, advance: Callable[[int], object]) -> None:
        self._file, self._advance = file, advance

    def write(self, data: Any) -> int:
        self._advance(memoryview(data).nbytes)
        return self._file.write(data)


def _float32_clips(npy: str, places: str) -> "dict[str, np.ndarray]":
    """Return the clips as an encoder gives them, all 23 bits of the mantissa in use; rounded, they are as in the file.

    It is kind to gzip's speed: what is left of float16 in float32 has 13 zero bits, and takes it nine times as long.
    """
    import numpy as np

    rows, random = np.load(npy, mmap_mode="r"), np.random.default_rng(1)
    clips = {}
    for clip_id, (start, stop) in json.loads(Path(places).read_text()).items():
        features = rows[start:stop].astype(np.float32)
        features *= 1 + random.uniform(-(2.0**-13), 2.0**-13, features.shape).astype(np.float32)
        clips[clip_id] = features.view(np.ndarray)
    return clips


def _published_batches(path: str) -> tuple[Callable[[Sequence[int]], object], int]:
    import gzip
    import pickle

    from torch.nn.utils.rnn import pad_sequence

    with gzip.open(path, "rb") as file:
        entries = pickle.load(file)  # noqa: S301 (written by this benchmark a moment ago)
    return lambda clips: pad_sequence([entries[clip]["sign"] for clip in clips], batch_first=True), len(entries)


def _store_batches(path: str, with_torch: bool) -> tuple[Callable[[Sequence[int]], object], int]:
    from cache import FeatureStore

    store = FeatureStore.open(path)
    clip_ids = store.keys()

    def read(clips: Sequence[int]) -> "np.ndarray":
        return store.read_batch([clip_ids[clip] for clip in clips], "s3d")[0]

    if not with_torch:
        return lambda clips: read(clips).astype("float32"), len(clip_ids)
    import torch

    return lambda clips: torch.from_numpy(read(clips)).float(), len(clip_ids)


def _reader(path: str, places: str | None) -> "tuple[Callable[[str], np.ndarray], list[str]]":
    """Return what reads a clip, and all clip ids: of a store, or with `places` of a memory map."""
    if places is None:
        from cache import FeatureStore

        store = FeatureStore.open(path)
        return lambda clip_id: store.read(clip_id, "s3d"), store.keys()
    import numpy as np

    rows, found = np.load(path, mmap_mode="r"), json.loads(Path(places).read_text())
    return lambda clip_id: np.array(rows[slice(*found[clip_id])]), list(found)


def _fetched() -> int:
    """Return the bytes that this process has had the disk fetch."""
    with Path("/proc/self/io").open() as lines:
        return int(next(line.split()[1] for line in lines if line.startswith("read_bytes")))


def _drop(files: list[str]) -> None:
    os.sync()  # pages that are still to be written are not dropped
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _cached(files: list[str]) -> int:
    """Return the bytes of the files that are in the page cache, by mincore."""
    import ctypes
    import mmap

    import numpy as np

    mincore = ctypes.CDLL(None, use_errno=True).mincore
    mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    pages = 0
    for file in filter(os.path.getsize, files):
        with Path(file).open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = np.frombuffer(mapped, np.uint8)
            resident = np.zeros(-(-len(view) // _PAGE), np.uint8)
            if mincore(view.ctypes.data, len(view), resident.ctypes.data):
                raise OSError(ctypes.get_errno(), "mincore", file)
            pages += int((resident & 1).sum())
            del view
    return pages * _PAGE


if __name__ == "__main__":
    main()
