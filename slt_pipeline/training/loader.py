"""Loading ahead: processes for a GPU, threads beside a CPU that computes; batches for training, items for the rest."""

import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from slt_pipeline.training import distributed
from slt_pipeline.training.stop import outlive_signals
from slt_pipeline.training.threads import num_cores

_ROOMY = 2**30
"""Bytes of shared memory from which on loader processes hand over batches in it. Docker gives 64 MB, and a process that
finds no room there dies or waits for ever."""


def num_loaders(asked: int | None, device: torch.device, *, heavy: bool = True) -> int:
    """Return how many processes, or threads, load for this process.

    Args:
        asked: what the recipe says; None: as many as keep a GPU busy; one beside a CPU, which has its cores to compute.
        device: where the batches go.
        heavy: whether loading is work, such as decoding video.
    """
    if asked is not None or not heavy:
        return asked or 0
    own = max(1, num_cores() // distributed.world())
    return min(8, own - 1) if device.type == "cuda" else int(own > 1)


def batch_loader(
    dataset: Dataset,
    batches: Sampler[list[Any]],
    collate: Callable[[Any], Any],
    num_workers: int,
    *,
    pin: bool,
) -> DataLoader:
    """Return a loader of batches for training, which `arrived` has to unpack.

    Args:
        dataset: items by key.
        batches: keys by batch.
        collate: items to a batch.
        num_workers: processes that load; 0: this one does.
        pin: whether batches are put where a GPU copies from fastest.
    """
    # By hand: a ready-made loader of several processes cannot start in the middle of an epoch without reading up to it.
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=_ByPipe(collate) if num_workers and _shared_memory() < _ROOMY else collate,
        num_workers=num_workers,
        multiprocessing_context="spawn" if num_workers else None,
        worker_init_fn=outlive_signals,
        pin_memory=pin,
        generator=torch.Generator(),  # its own: starting to iterate draws a number, and a resumed run starts once more
    )


def arrived(batch: Any) -> Any:
    """Return a batch as it was put together, whatever way it came."""
    return batch.unpacked() if isinstance(batch, _Packed) else batch


def loaded_ahead(dataset: Dataset, num_workers: int, device: torch.device) -> Generator[Any, None, None]:
    """Yield the items of a data set that is indexed from 0, in order, and load the next ones meanwhile.

    For a GPU processes load, for a CPU threads of this process: decoding lets other threads run, and there is nothing
    to start and nothing to copy.
    """
    if num_workers == 0:
        yield from (dataset[index] for index in range(len(dataset)))  # type: ignore[arg-type]
    elif device.type == "cuda":
        yield from map(arrived, _by_processes(dataset, num_workers))
    else:
        yield from _by_threads(dataset, num_workers)


def _by_processes(dataset: Dataset, num_workers: int) -> DataLoader:
    as_it_is = _itself if _shared_memory() >= _ROOMY else _ByPipe(_itself)
    return DataLoader(
        dataset,
        batch_size=None,
        collate_fn=as_it_is,
        num_workers=num_workers,
        multiprocessing_context="spawn",
        worker_init_fn=outlive_signals,
        pin_memory=True,
        generator=torch.Generator(),
    )


def _by_threads(dataset: Dataset, num_threads: int) -> Iterator[Any]:
    waiting: deque[Future] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="loader")
    try:
        for index in range(len(dataset)):  # type: ignore[arg-type]
            waiting.append(pool.submit(dataset.__getitem__, index))
            if len(waiting) > num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _itself(item: Any) -> Any:
    return item


def _shared_memory() -> int:
    """Bytes that are free where loader processes hand over tensors."""
    return shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else _ROOMY


class _ByPipe:
    """A collate function whose batches go through a pipe."""

    def __init__(self, collate: Callable[[Any], Any]):
        self.collate = collate

    def __call__(self, items: Any) -> "_Packed":
        return _Packed(self.collate(items))


class _Packed:
    """A batch that is pickled with its numbers, where a tensor would name a place in shared memory."""

    def __init__(self, batch: Any):
        self.batch = batch

    def unpacked(self) -> Any:
        return self.batch

    def __getstate__(self) -> Any:
        return _mapped(self.batch, lambda tensor: _Numbers(tensor.numpy()), torch.Tensor)

    def __setstate__(self, state: Any) -> None:
        self.batch = _mapped(state, lambda numbers: torch.from_numpy(numbers.array), _Numbers)


class _Numbers:
    """Marks an array that was a tensor."""

    def __init__(self, array: Any):
        self.array = array


def _mapped(value: Any, call: Callable[[Any], Any], kind: type) -> Any:
    """Call on everything of a kind within lists, tuples and mappings."""
    if isinstance(value, kind):
        return call(value)
    if isinstance(value, dict):
        return {name: _mapped(inner, call, kind) for name, inner in value.items()}
    if isinstance(value, list):
        return [_mapped(inner, call, kind) for inner in value]
    if isinstance(value, tuple):
        inner = [_mapped(inner, call, kind) for inner in value]
        return type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    return value
