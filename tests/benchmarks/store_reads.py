"""The rows of the store's benchmark about reading: clips, batches, and opening, all of it warm."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import zarr
from store_common import BACKENDS, DIM, STREAM, Row, Setting, ratio, rounds, seconds

from cache import FeatureStore
from cache.reading import CHECK

BATCH = 16
NUM_SLICED = 300  # clips read through zarr's own slicing, which is slow
NUM_OPENED = 21
FEW = 1000  # clips of a small store, beside the size of a large one

_Item = TypeVar("_Item")


def warm(setting: Setting) -> list[Row]:
    """Clips a second in random order, everything in the page cache."""
    rows, places, order = np.load(setting.npy, mmap_mode="r"), setting.places, setting.shuffled(1)
    stores = {backend: FeatureStore.open(path) for backend, path in setting.stores.items()}
    few, ranges = order[:NUM_SLICED], [places[clip_id] for clip_id in order]
    with_h5py, with_zarr = _h5py_reader(setting.stores["hdf5"]), _zarr_reader(setting.stores["zarr"])
    contenders: dict[str, tuple[Callable[[list[Any]], object], list[Any]]] = {
        "memory map": (lambda clip_ids: _read_map(rows, places, clip_ids), order),
        "view": (lambda clip_ids: _read_map(np.asarray(rows), places, clip_ids), order),
        "row numbers": (lambda ranges: _read_ranges(rows, ranges), ranges),
        "h5py": (lambda clip_ids: _each(with_h5py, clip_ids), order),
        "zarr": (lambda clip_ids: _each(with_zarr, clip_ids), few),
        **{
            f"our {name}": (lambda clip_ids, store=store: _read_store(store, clip_ids), order)
            for name, store in stores.items()
        },
    }
    ours = {name: lambda clip_id, store=store: store.read(clip_id, STREAM) for name, store in stores.items()}
    _require_same(
        {"memory map": lambda clip_id: np.array(rows[slice(*places[clip_id])])}
        | {"h5py": with_h5py, "zarr": with_zarr}
        | ours,
        few[:50],
    )
    times = rounds(contenders, setting.repeats)

    def speed(name: str) -> str:
        return f"{len(few if name == 'zarr' else order) / times[name].best:,.0f}/s"

    def row(backend: str, name: str, case: str, aim: str = "") -> Row:
        scale = len(order) / len(few) if name == "zarr" else 1.0
        value, note = ratio(times[f"our {backend}"], times[name], scale)
        return Row(f"warm clip reads, {case}", speed(f"our {backend}"), speed(name), value, aim=aim, note=note)

    return [
        *(row(backend, "memory map", f"{backend} / memory map (np.load) by clip id", ">= 1.0") for backend in BACKENDS),
        *(
            row(backend, "row numbers", f"{backend} / memory map (np.load) by row numbers, no look-up")
            for backend in BACKENDS
        ),
        *(row(backend, "view", f"{backend} / bare array over the memory map by clip id") for backend in BACKENDS),
        row("hdf5", "h5py", "hdf5 / h5py's slicing of it"),
        row("zarr", "zarr", "zarr / zarr's slicing of it", ">= 50"),
    ]


def batches(setting: Setting) -> list[Row]:
    """Padded batches of 16 against copies of the same clips from memory, of 1,000 clips and of all."""
    nums = sorted({min(FEW, len(setting.places)), len(setting.places)})
    return [row for num in nums for row in _batches(setting, [*setting.places][:num])]


def _batches(setting: Setting, clip_ids: list[str]) -> list[Row]:
    clips, wanted = setting.clips_in_memory(clip_ids), setting.batches(clip_ids, BATCH)
    copies: dict[str, Callable[[list[str]], np.ndarray]] = {
        "zeros": lambda clip_ids: _copy_into_zeros([clips[clip_id] for clip_id in clip_ids]),
        "empty": lambda clip_ids: _copy_into_empty([clips[clip_id] for clip_id in clip_ids]),
    }
    stores = {backend: FeatureStore.open(path) for backend, path in setting.stores.items()}
    ours: dict[str, Callable[[list[str]], np.ndarray]] = {
        backend: lambda clip_ids, store=store: store.read_batch(clip_ids, STREAM)[0]
        for backend, store in stores.items()
    }
    _require_same({**copies, **ours}, wanted[:4])
    contenders = {
        name: (lambda items, make=make: _each(make, items), wanted) for name, make in {**copies, **ours}.items()
    }
    times = rounds(contenders, setting.repeats)
    fastest = min(copies, key=lambda name: times[name].best)
    speeds = {name: f"{len(wanted) / found.best:,.0f}/s" for name, found in times.items()}
    shown = []
    for backend in BACKENDS:
        value, note = ratio(times[backend], times[fastest])
        case = f"batches of {BATCH} of {len(clip_ids):,}, padded, {backend} / copies from memory (np.{fastest})"
        shown.append(Row(case, speeds[backend], speeds[fastest], value, aim=">= 0.55", note=note))
    return shown


def checks(setting: Setting) -> list[Row]:
    """Padded batches of 16 that are compared with the clips' checksums, against those that are not."""
    wanted, shown = setting.batches([*setting.places], BATCH), []
    for backend in BACKENDS:
        stores = {check: FeatureStore.open(setting.stores[backend], check=check) for check in CHECK}
        contenders = {
            check: (lambda items, store=store: _each(lambda batch: store.read_batch(batch, STREAM), items), wanted)
            for check, store in stores.items()
        }
        times = rounds(contenders, setting.repeats)
        speeds = {check: f"{len(wanted) / found.best:,.0f}/s" for check, found in times.items()}
        for check, what in (("first", "once it has compared each clip"), ("always", "")):
            value, note = ratio(times[check], times["never"])
            case = f"batches of {BATCH}, {backend}, check={check}{' ' * bool(what)}{what} / never"
            shown.append(Row(case, speeds[check], speeds["never"], value, note=note))
    return shown


def opening(setting: Setting) -> list[Row]:
    """Opening a store and counting its clips, in a process that has opened one before."""
    shown = []
    for backend, path in setting.stores.items():
        times = [1000 * seconds(lambda path=path: len(FeatureStore.open(path))) for _ in range(NUM_OPENED)]
        ours, note = f"{min(times):.2f} to {max(times):.2f} ms", f"median of {NUM_OPENED}"
        shown.append(Row(f"open, {backend}", ours, "", statistics.median(times), unit="ms", aim="<= 50", note=note))
    return shown


# The loops of what is compared most closely call nothing of ours but the store.


def _read_store(store: FeatureStore, clip_ids: list[str]) -> None:
    read = store.read
    for clip_id in clip_ids:
        read(clip_id, STREAM)


def _read_map(rows: np.ndarray, places: dict[str, tuple[int, int]], clip_ids: list[str]) -> None:
    for clip_id in clip_ids:
        start, stop = places[clip_id]
        np.array(rows[start:stop])


def _read_ranges(rows: np.ndarray, ranges: list[tuple[int, int]]) -> None:
    for start, stop in ranges:
        np.array(rows[start:stop])


def _each(run: Callable[[_Item], object], items: Sequence[_Item]) -> None:
    for item in items:
        run(item)


def _h5py_reader(path: Path) -> Callable[[str], np.ndarray]:
    places = _documented_places(path)
    shards = sorted({shard for shard, _, _ in places.values()})
    datasets = {shard: h5py.File(path / f"data/{shard:08d}.h5")[STREAM] for shard in shards}

    def read(clip_id: str) -> np.ndarray:
        shard, row, steps = places[clip_id]
        return datasets[shard][row : row + steps]  # pyright: ignore[reportIndexIssue, reportReturnType]

    return read


def _zarr_reader(path: Path) -> Callable[[str], np.ndarray]:
    places, array = _documented_places(path), zarr.open_group(path / "data", mode="r")[STREAM]
    assert isinstance(array, zarr.Array)
    chunk_rows = (array.shards or array.chunks)[0]

    def read(clip_id: str) -> np.ndarray:
        shard, row, steps = places[clip_id]
        start = shard * chunk_rows + row
        return array[start : start + steps]  # pyright: ignore[reportReturnType]

    return read


def _documented_places(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return clip id -> (shard, row, steps), from the index as cache/FORMAT.md describes it."""
    records = [json.loads(file.read_bytes()) for file in sorted(path.glob("index/*.json"))]
    return {
        clip_id: (record["shard"], row, steps)
        for record in records
        for clip_id, row, steps in zip(record["clips"], record["rows"], record["lengths"], strict=True)
    }


def _copy_into_zeros(clips: list[np.ndarray]) -> np.ndarray:
    out = np.zeros((len(clips), max(map(len, clips)), DIM), np.float16)
    for features, clip in zip(out, clips, strict=True):
        features[: len(clip)] = clip
    return out


def _copy_into_empty(clips: list[np.ndarray]) -> np.ndarray:
    out = np.empty((len(clips), max(map(len, clips)), DIM), np.float16)
    for features, clip in zip(out, clips, strict=True):
        features[: len(clip)] = clip
        features[len(clip) :] = 0
    return out


def _require_same(ways: dict[str, Callable[[_Item], np.ndarray]], items: Sequence[_Item]) -> None:
    """Stop the benchmark where two ways do not give the same numbers."""
    for item in items:
        arrays = {name: read(item) for name, read in ways.items()}
        first = next(iter(arrays.values()))
        for name, array in arrays.items():
            if array.dtype != first.dtype or not np.array_equal(array, first):
                raise SystemExit(f"{name} and {next(iter(arrays))} disagree about {item}")
