"""A stream held whole, in memory or on an accelerator.

B: clips of a batch. T: steps of a clip. D: width of a stream. S: steps of the store.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from cache.errors import StoreError
from cache.files import LocalFiles
from cache.header import Header
from cache.index import Index
from cache.reading import Rows, find, read_rows

Resident = Literal["no", "auto", "yes", "device"]
RESIDENT = get_args(Resident)
AUTO_SHARE = 0.5
"""Part of the free memory that `auto` takes: the rest is for what is computed with the features."""


def resident_rows(
    rows: Rows, stream: str, header: Header, index: Index, files: LocalFiles, resident: Resident, device: Any
) -> Rows:
    """Return the stream held as `resident` says; `rows`, which read the files, if that is `no`, or `auto` has no room.

    Raises:
        StoreError: if it does not fit, naming both sizes.
    """
    if resident == "no":
        return rows
    spec = header.streams[stream]
    needed, free = sum(record.steps for record in index.records.values()) * spec.row_bytes, _free_memory()
    if resident == "auto" and needed > AUTO_SHARE * free:
        return rows
    _require_room(stream, index, needed, free, "memory")
    first: dict[int, int] = {}
    flat = np.empty((needed // spec.row_bytes, spec.dim), spec.numpy_dtype)
    end = 0
    for record in index.records.values():
        first[record.shard], end = end, end + record.steps
        read_rows(files, header, record, stream, 0, flat[first[record.shard] : end])
    if resident == "device":
        return DeviceRows(flat, first, stream, index, device)
    return ResidentRows(flat, first, index)


class ResidentRows:
    """A stream in memory. flat: (S, D), the shards one after the other. first: shard -> its first row in `flat`."""

    def __init__(self, flat: np.ndarray, first: dict[int, int], index: Index) -> None:
        self._flat, self._first, self._index = flat, first, index

    def read(self, clip_id: str, start: int | None, stop: int | None) -> np.ndarray:
        """As in `Rows`."""
        first, length = self._place(clip_id)
        return self._flat[first : first + length][start:stop].copy()

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As in `Rows`."""
        places = [self._place(clip_id) for clip_id in clip_ids]
        lengths = np.array([length for _, length in places], np.int64)
        out = np.empty((len(places), int(lengths.max(initial=0)), self._flat.shape[1]), self._flat.dtype)
        for features, (first, length) in zip(out, places, strict=True):
            features[:length] = self._flat[first : first + length]
            features[length:] = 0
        return out, lengths

    def _place(self, clip_id: str) -> tuple[int, int]:
        shard, row, length = find(self._index, clip_id)
        return self._first[shard] + row, length


class DeviceRows(ResidentRows):
    """A stream on a torch device; what it returns are tensors there, and so are the lengths of a batch."""

    def __init__(self, flat: np.ndarray, first: dict[int, int], stream: str, index: Index, device: Any) -> None:
        import torch

        super().__init__(flat, first, index)
        self._device = torch.device(device)
        if self._device.type == "cuda":
            _require_room(stream, index, flat.nbytes, torch.cuda.mem_get_info(self._device)[0], str(self._device))
        # One row more, of zeros: that is what padding is gathered from.
        self._tensor = torch.zeros((len(flat) + 1, flat.shape[1]), dtype=_torch_dtype(flat), device=self._device)
        self._tensor[:-1].copy_(torch.from_numpy(flat))
        self._flat = flat[:0]

    def read(self, clip_id: str, start: int | None, stop: int | None) -> Any:
        """As in `Rows`, a tensor."""
        first, length = self._place(clip_id)
        return self._tensor[first : first + length][start:stop].clone()

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[Any, Any]:
        """As in `Rows`, tensors: all clips gathered at once, on the device."""
        import torch

        places = np.array([self._place(clip_id) for clip_id in clip_ids], np.int64).reshape(-1, 2)
        firsts, lengths = torch.from_numpy(places).to(self._device).unbind(1)
        steps = torch.arange(int(places[:, 1].max(initial=0)), device=self._device)
        numbers = torch.where(steps < lengths[:, None], firsts[:, None] + steps, len(self._tensor) - 1)
        return self._tensor[numbers], lengths


def _torch_dtype(flat: np.ndarray) -> Any:
    import torch

    return torch.float16 if flat.itemsize == 2 else torch.float32


def _require_room(stream: str, index: Index, needed: int, free: int, where: str) -> None:
    if needed > free:
        raise StoreError(
            f"stream {stream!r} of {index.root} takes {needed >> 20} MiB, {free >> 20} MiB are free in {where}: "
            "open the store with resident='no'"
        )


def _free_memory() -> int:
    """Return the bytes that the system, or the control group we run in, still has."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    if limit and used and limit[0].isdigit():
        free = min(free, max(0, int(limit[0]) - int(used[0])))
    return free


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().split("\n")
    except OSError:
        return []
