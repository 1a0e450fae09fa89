"""The rows of the store's benchmark about writing, and about the published way to keep features."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from store_common import BACKENDS, Row, Setting, Times, fill, fresh, make_store, ratio, seconds

from cache import FeatureStore
from cache.header import DEFAULT_SHARD_STEPS

NUM_SHARDS, MAX_GROUPS = 4, 6  # shards that are written at once, and how many times


def writing(setting: Setting) -> list[Row]:
    """MB/s with checksums against plain sequential writes of the same bytes, without and with waiting for the disk."""
    groups = _groups(setting)
    num_bytes = sum(features.nbytes for group in groups for features in group.values())
    shown, times = [], {}
    for durable in (False, True):
        found = times[durable] = _alternate(setting.folder, groups, durable, setting.repeats)
        speeds = {name: f"{num_bytes / 1e6 / each.best:,.0f} MB/s" for name, each in found.items()}
        how = "waiting for the disk (fsync)" if durable else "not waiting for the disk"
        for backend in BACKENDS:
            value, note = ratio(found[backend], found["plain"])
            case = f"write, {how}, {backend} / plain file"
            shown.append(Row(case, speeds[backend], speeds["plain"], value, aim=">= 0.6", note=note))
    for backend in BACKENDS:
        num_commits = NUM_SHARDS * len(groups)
        slow, fast = times[True][backend].best, times[False][backend].best
        cells = (f"{slow:.2f} s durable", f"{fast:.2f} s not")
        case = f"cost of durability, {backend}, {num_commits} commits"
        shown.append(Row(case, *cells, (slow - fast) / num_commits, unit="s a commit", note="difference"))
    return shown


def _groups(setting: Setting) -> list[dict[str, np.ndarray]]:
    """Return clips that fill some shards each: short enough a work to be done between what else the machine does."""
    groups, steps = [{}], 0
    for clip_id, features in setting.clips_in_memory().items():
        if steps + len(features) > NUM_SHARDS * (DEFAULT_SHARD_STEPS - 50):
            if len(groups) == MAX_GROUPS:
                break
            groups.append({})
            steps = 0
        groups[-1][clip_id] = features
        steps += len(features)
    return groups


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


def _alternate(folder: Path, groups: list[dict[str, np.ndarray]], durable: bool, repeats: int) -> dict[str, Times]:
    """Return way -> how long the groups take, each written to a new file or an empty store."""
    found = {name: Times() for name in ("plain", *BACKENDS)}
    names = list(found)
    for number in range(repeats):
        for times in found.values():
            times.rounds.append([])
        for part, clips in enumerate(groups):
            turn = (number + part) % len(names)
            for name in names[turn:] + names[:turn]:
                path = folder / "written"
                store = None if name == "plain" else make_store(path, name, durable=durable)
                if durable:
                    os.sync()  # a disk that is at rest
                run = _plain(path, clips, durable) if store is None else _filling(store, clips)
                found[name].rounds[-1].append(seconds(run))
                path.unlink() if path.is_file() else shutil.rmtree(path)
    return found


def _filling(store: FeatureStore, clips: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: fill(store, clips)


def _plain(path: Path, clips: dict[str, np.ndarray], durable: bool) -> Callable[[], object]:
    def write() -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        for features in clips.values():
            os.write(descriptor, features.data)
        if durable:
            os.fsync(descriptor)
        os.close(descriptor)

    return write
