"""The rows of the store's benchmark about writing, and about the published way to keep features."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from store_common import BACKENDS, Row, Setting, fresh, ratio, seconds, write_store


def writing(setting: Setting) -> list[Row]:
    """MB/s with checksums against plain sequential writes of the same bytes, without and with waiting for the disk."""
    clips = setting.clips_in_memory()
    shown, times = [], {}
    for durable in (False, True):
        ways: dict[str, Callable[[Path], object]] = {
            "plain": lambda path, durable=durable: _write_plain(path, clips, durable),
            **{
                backend: lambda path, backend=backend, durable=durable: write_store(
                    path, clips, backend, durable=durable
                )
                for backend in BACKENDS
            },
        }
        found = times[durable] = _alternate(setting.folder, ways, setting.repeats)
        speeds = {name: f"{setting.num_bytes / 1e6 / min(each):,.0f} MB/s" for name, each in found.items()}
        how = "waiting for the disk (fsync)" if durable else "not waiting for the disk"
        for backend in BACKENDS:
            value, note = ratio(found[backend], found["plain"])
            case = f"write, {how}, {backend} / plain file"
            shown.append(Row(case, speeds[backend], speeds["plain"], value, aim=">= 0.5", note=note))
    for backend in BACKENDS:
        num_commits = len(list((setting.stores[backend] / "index").glob("*.json")))
        slow, fast = min(times[True][backend]), min(times[False][backend])
        cells = (f"{slow:.2f} s durable", f"{fast:.2f} s not")
        case = f"cost of durability, {backend}, {num_commits} commits"
        shown.append(Row(case, *cells, (slow - fast) / num_commits, unit="s a commit", note="difference"))
    return shown


def published(setting: Setting) -> list[Row]:
    """A gzip pickle of a list of dicts, whole in memory, against a Zarr store; fresh processes, float32 batches."""
    pickled, store = setting.folder / "train.pkl", setting.folder / "published"
    inputs = {"npy": str(setting.npy), "places": str(setting.folder / "places.json")}
    wrote = {
        "published": fresh("write_split", way="published", path=str(pickled), **inputs)["seconds"],
        "store": fresh("write_split", way="store", path=str(store), **inputs)["seconds"],
    }
    theirs = _read_split("published", pickled, True)
    with_torch, without = _read_split("store", store, True), _read_split("store", store, False)
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    shutil.rmtree(store)
    cells = (f"{size / 1e6:,.0f} MB", f"{pickled.stat().st_size / 1e6:,.0f} MB")
    shown = [
        _times("gzip pickle, write", wrote["store"], wrote["published"], "s"),
        Row("gzip pickle, size (theirs float32, ours float16)", *cells, pickled.stat().st_size / size),
    ]
    for ours, how in ((with_torch, "both with torch"), (without, "ours without torch")):
        shown += [
            _times(f"gzip pickle, start to first batch, {how}", ours["first"], theirs["first"], "s"),
            _times(f"gzip pickle, epoch of batches, {how}", ours["epoch"], theirs["epoch"], "s"),
            _times(f"gzip pickle, peak memory, {how}", ours["peak"], theirs["peak"], "MB"),
        ]
    return shown


def _times(case: str, ours: float, baseline: float, unit: str) -> Row:
    mine, theirs = (f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}" for amount in (ours, baseline))
    return Row(case, mine, theirs, baseline / ours, note="theirs over ours")


def _read_split(way: str, path: Path, with_torch: bool) -> dict[str, float]:
    """Return seconds to the first batch and of an epoch, and peak memory in MB."""
    start = time.monotonic()
    found = fresh("read_split", way=way, path=str(path), with_torch=with_torch)
    return {"first": found["first"] - start, "epoch": found["epoch"], "peak": found["peak_kib"] * 1024 / 1e6}


def _alternate(folder: Path, ways: dict[str, Callable[[Path], object]], repeats: int) -> dict[str, list[float]]:
    """Return way -> seconds, each time with a new path, a disk that is at rest, and the old files gone."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats):
        for name, write in ways.items():
            path = folder / f"write-{name}-{number}"
            os.sync()
            found[name].append(seconds(lambda write=write, path=path: write(path)))
            path.unlink() if path.is_file() else shutil.rmtree(path)
    return found


def _write_plain(path: Path, clips: dict[str, np.ndarray], durable: bool) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    for features in clips.values():
        os.write(descriptor, features.data)
    if durable:
        os.fsync(descriptor)
    os.close(descriptor)
