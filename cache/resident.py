"""A stream held whole, in memory or on an accelerator.

B: clips of a batch. T: steps of a clip. D: width of a stream. S: steps of the store.
"""

import os
from collections.abc import Iterator, Sequence
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
        StoreError: if it does not fit, naming both sizes, or torch cannot use the device; before anything is read.
    """
    if resident == "no":
        return rows
    spec, first, num_steps = header.streams[stream], {}, 0
    for record in index.records.values():
        first[record.shard], num_steps = num_steps, num_steps + record.steps
    if resident == "device":
        return DeviceRows(_on_device(files, header, stream, index, first, num_steps, device), first, index)
    needed, free = num_steps * spec.row_bytes, _free_memory()
    if resident == "auto" and needed > AUTO_SHARE * free:
        return rows
    _require_room(stream, index, needed, free, "memory")
    flat = np.empty((num_steps, spec.dim), spec.numpy_dtype)
    for record in filter(lambda record: record.clips, index.records.values()):
        start = first[record.shard]
        read_rows(files, header, record, stream, 0, flat[start : start + record.steps])
    return ResidentRows(flat, first, index)


def require_device(device: Any) -> None:
    """Raise StoreError if torch has no such device, or cannot use it."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # all of which torch says of devices that are not there
        why = str(error).partition("\n")[0]
        raise StoreError(
            f"cannot hold features on device {str(device)!r} ({why}): "
            "open the store with another device, or with resident='no'"
        ) from error


class ResidentRows:
    """A stream in memory. flat: (S, D), the shards one after the other. first: shard -> its first row in `flat`."""

    def __init__(self, flat: np.ndarray, first: dict[int, int], index: Index) -> None:
        self._flat, self._first, self._index = flat, first, index

    def read(self, clip_id: str, start: int | None, stop: int | None) -> np.ndarray:
        """As in `Rows`."""
        first, length = _place(self._index, self._first, clip_id)
        return self._flat[first : first + length][start:stop].copy()

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As in `Rows`."""
        places = [_place(self._index, self._first, clip_id) for clip_id in clip_ids]
        lengths = np.array([length for _, length in places], np.int64)
        out = np.empty((len(places), int(lengths.max(initial=0)), self._flat.shape[1]), self._flat.dtype)
        for features, (first, length) in zip(out, places, strict=True):
            features[:length] = self._flat[first : first + length]
            features[length:] = 0
        return out, lengths


class DeviceRows:
    """A stream on a torch device; what it returns are tensors there, and so are the lengths of a batch.

    held: (S + 1, D), as `ResidentRows.flat` and a last row of zeros: that is what padding is gathered from.
    """

    def __init__(self, held: Any, first: dict[int, int], index: Index) -> None:
        self._held, self._first, self._index = held, first, index

    def read(self, clip_id: str, start: int | None, stop: int | None) -> Any:
        """As in `Rows`, a tensor."""
        first, length = _place(self._index, self._first, clip_id)
        return self._held[first : first + length][start:stop].clone()

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[Any, Any]:
        """As in `Rows`, tensors: all clips gathered at once, on the device."""
        import torch

        places = np.array([_place(self._index, self._first, clip_id) for clip_id in clip_ids], np.int64).reshape(-1, 2)
        firsts, lengths = torch.from_numpy(places).to(self._held.device).unbind(1)
        steps = torch.arange(int(places[:, 1].max(initial=0)), device=self._held.device)
        numbers = torch.where(steps < lengths[:, None], firsts[:, None] + steps, len(self._held) - 1)
        return self._held[numbers], lengths


def _place(index: Index, first: dict[int, int], clip_id: str) -> tuple[int, int]:
    """Return (first row in the stream that is held, length) of a clip."""
    shard, row, length = find(index, clip_id)
    return first[shard] + row, length


def _on_device(
    files: LocalFiles, header: Header, stream: str, index: Index, first: dict[int, int], num_steps: int, device: Any
) -> Any:
    """Return the stream (S + 1, D) on a device. Memory needs room for one shard, not for the stream."""
    import torch

    spec, where = header.streams[stream], torch.device(device)
    if where.type in ("cpu", "cuda"):
        free = _free_on_gpu(where) if where.type == "cuda" else _free_memory()
        needed = (num_steps + 1) * spec.row_bytes
        _require_room(stream, index, needed, free, "memory" if where.type == "cpu" else str(where))
    held = torch.zeros((num_steps + 1, spec.dim), dtype=getattr(torch, spec.dtype), device=where)
    for record in filter(lambda record: record.clips, index.records.values()):
        rows = np.empty((record.steps, spec.dim), spec.numpy_dtype)
        read_rows(files, header, record, stream, 0, rows)
        held[first[record.shard] : first[record.shard] + record.steps].copy_(torch.from_numpy(rows))
    return held


def _require_room(stream: str, index: Index, needed: int, free: int, where: str) -> None:
    if needed > free:
        raise StoreError(
            f"stream {stream!r} of {index.root} takes {needed >> 20} MiB, {free >> 20} MiB are free in {where}: "
            "open the store with resident='no'"
        )


def _free_on_gpu(device: Any) -> int:
    """Return the bytes that the driver has, and those that torch holds and does not use."""
    import torch

    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def _free_memory(system: Path = Path("/")) -> int:
    """Return the bytes that the system, or a control group that we are in, still has."""
    memory = _numbers(system / "proc/meminfo")
    if "MemAvailable:" in memory:
        found = memory["MemAvailable:"] * 1024
    else:  # no Linux
        pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
        found = os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    return min([found, *_free_in_groups(system)])


def _free_in_groups(system: Path) -> Iterator[int]:
    """Yield the bytes that each control group we are in still has, of either version of Linux' interface."""
    for line in _lines(system / "proc/self/cgroup"):
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = system / "sys/fs/cgroup" / controllers
        limit, used = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        )
        inner = root / name.lstrip("/")
        for group in [folder for folder in (inner, *inner.parents) if folder.is_relative_to(root)]:
            most, now, parts = _lines(group / limit), _lines(group / used), _numbers(group / "memory.stat")
            if most and now and most[0].isdigit():
                # Files that were read count as used, and make room when it is needed.
                cached = sum(
                    parts.get(f"total_{kind}_file", parts.get(f"{kind}_file", 0)) for kind in ("active", "inactive")
                )
                yield max(0, int(most[0]) - int(now[0]) + cached)


def _numbers(path: Path) -> dict[str, int]:
    """Return the second word of every line by its first."""
    words = [line.split() for line in _lines(path)]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
