"""A stream held whole, in memory or on an accelerator.

B: clips of a batch. T: steps of a clip. D: width of a stream. S: steps of the store.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from cache.errors import StoreError
from cache.files import LocalFiles
from cache.header import Header
from cache.index import Index
from cache.reading import Rows, not_there, read_rows
from cache.record import Record

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
    spec, places = header.streams[stream], list(index.places.items())
    first: dict[int, int] = {}
    num_steps, records = 0, [record for _, record in sorted({r.shard: r for _, (r, _, _) in places}.items())]
    for record in records:
        first[record.shard], num_steps = num_steps, num_steps + record.steps
    table = _Table(index, {clip: (first[record.shard] + row, length) for clip, (record, row, length) in places})
    needed = num_steps * spec.row_bytes
    if resident == "device":
        return DeviceRows(_on_device(files, header, stream, records, needed, device), table)
    free = _free_memory()
    if resident == "auto" and needed > AUTO_SHARE * free:
        return rows
    _require_room(stream, files, needed, free, "memory")
    flat = np.empty((num_steps, spec.dim), spec.numpy_dtype)
    for record in records:
        start = first[record.shard]
        read_rows(files, header, record, stream, 0, flat[start : start + record.steps])
    return ResidentRows(flat, table)


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


class _Table(dict[str, tuple[int, int]]):
    """Clip id -> (first row in the stream that is held, length), as it was when the stream was read."""

    def __init__(self, index: Index, places: dict[str, tuple[int, int]]) -> None:
        super().__init__(places)
        self._root = index.root

    def __missing__(self, clip_id: str) -> NoReturn:
        raise not_there(clip_id, self._root, len(self))


class ResidentRows:
    """A stream in memory. flat: (S, D), the shards one after the other."""

    def __init__(self, flat: np.ndarray, table: _Table) -> None:
        self._flat, self._table = flat, table

    def read(self, clip_id: str, start: int | None, stop: int | None) -> np.ndarray:
        """As in `Rows`."""
        first, length = self._table[clip_id]
        return self._flat[first : first + length][start:stop].copy()

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As in `Rows`."""
        places = [self._table[clip_id] for clip_id in clip_ids]
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

    def __init__(self, held: Any, table: _Table) -> None:
        self._held, self._table = held, table

    def read(self, clip_id: str, start: int | None, stop: int | None) -> Any:
        """As in `Rows`, a tensor."""
        first, length = self._table[clip_id]
        return self._held[first : first + length][start:stop].clone()

    def read_batch(self, clip_ids: Sequence[str]) -> tuple[Any, Any]:
        """As in `Rows`, tensors: all clips gathered at once, on the device."""
        import torch

        places = np.array([self._table[clip_id] for clip_id in clip_ids], np.int64).reshape(-1, 2)
        firsts, lengths = torch.from_numpy(places).to(self._held.device).unbind(1)
        steps = torch.arange(int(places[:, 1].max(initial=0)), device=self._held.device)
        numbers = torch.where(steps < lengths[:, None], firsts[:, None] + steps, len(self._held) - 1)
        return self._held[numbers], lengths


def _on_device(files: LocalFiles, header: Header, stream: str, records: list[Record], needed: int, device: Any) -> Any:
    """Return the stream (S + 1, D) on a device. Memory needs room for one shard, not for the stream."""
    import torch

    spec, where = header.streams[stream], torch.device(device)
    if where.type in ("cpu", "cuda"):
        free = _free_on_gpu(where) if where.type == "cuda" else _free_memory()
        _require_room(stream, files, needed, free, "memory" if where.type == "cpu" else str(where))
    shape = (needed // spec.row_bytes + 1, spec.dim)
    held = torch.zeros(shape, dtype=getattr(torch, spec.dtype), device=where)
    end = 0
    for record in records:
        rows = np.empty((record.steps, spec.dim), spec.numpy_dtype)
        read_rows(files, header, record, stream, 0, rows)
        held[end : end + record.steps].copy_(torch.from_numpy(rows))
        end += record.steps
    return held


def _require_room(stream: str, files: LocalFiles, needed: int, free: int, where: str) -> None:
    if needed > free:
        raise StoreError(
            f"stream {stream!r} of {files.root} takes {needed >> 20} MiB, {free >> 20} MiB are free in {where}: "
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
