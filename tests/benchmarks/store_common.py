"""What the parts of the store's benchmark share: its data, rows of its table, fresh processes, facts of the machine.

D = 832: width of the features. Clips are rows [start, stop) of one raw .npy file, which the baselines read and write.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import cache
from cache import FeatureStore, StreamSpec

DIM, STREAM, BACKENDS = 832, "s3d", ("zarr", "hdf5")
SPECS = {STREAM: StreamSpec(DIM, "float16")}
ROW_BYTES = SPECS[STREAM].row_bytes
NUM_SLICES = 32
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs", "hugetlbfs")


@dataclass(frozen=True)
class Row:
    """A line of the table. value: ours over the baseline, or the other way round where less is better, or ours alone.

    aim: what the value should be, as in `>= 0.9`; none where the row is there to compare.
    """

    case: str
    ours: str
    baseline: str
    value: float
    unit: str = "x"
    aim: str = ""
    note: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the aim is reached; None where there is none."""
        if not self.aim:
            return None
        relation, limit = self.aim.split()
        return self.value >= float(limit) if relation == ">=" else self.value <= float(limit)

    def __str__(self) -> str:
        value = f"{self.value:.4g}{'' if self.unit == 'x' else ' '}{self.unit}" + (
            f" ({self.note})" if self.note else ""
        )
        aim = f"{self.aim}{'' if self.unit == 'x' else ' '}{self.unit}" if self.aim else ""
        verdict = {None: "", True: "yes", False: "**no**"}[self.ok]
        return f"| {self.case} | {self.ours} | {self.baseline} | {value} | {aim} | {verdict} |"


@dataclass(frozen=True)
class Setting:
    """The data and the options that every part of the benchmark is given.

    folder: where everything lies. npy: the raw file (steps, D) float16. places: clip id -> (start, stop) in it.
    stores: backend -> a store of the same clips.
    """

    folder: Path
    npy: Path
    places: dict[str, tuple[int, int]]
    repeats: int
    stores: dict[str, Path] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Bytes of all features."""
        return sum(stop - start for start, stop in self.places.values()) * ROW_BYTES

    def clips_in_memory(self, clip_ids: list[str] | None = None) -> dict[str, np.ndarray]:
        """Return clip id -> (T, D) float16, an array of its own for each; of all clips if none are named."""
        rows = np.load(self.npy, mmap_mode="r")
        return {clip_id: np.array(rows[slice(*self.places[clip_id])]) for clip_id in clip_ids or self.places}

    def batches(self, clip_ids: list[str], size: int) -> list[list[str]]:
        """Return the clips in a random order, in whole batches."""
        order = np.random.default_rng(3).permutation(clip_ids).tolist()
        return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]

    def shuffled(self, seed: int) -> list[str]:
        """Return the clip ids in a random order."""
        return np.random.default_rng(seed).permutation(list(self.places)).tolist()


def make_setting(folder: Path, num_clips: int, repeats: int, seed: int = 0) -> Setting:
    """Write random clips of PHOENIX-like lengths (log-normal, median 28, 4 to 100) to a .npy file and to stores."""
    random = np.random.default_rng(seed)
    lengths = np.clip(np.rint(random.lognormal(np.log(28), 0.45, num_clips)), 4, 100).astype(int)
    stops = np.cumsum(lengths).tolist()
    starts = [0, *stops[:-1]]
    places = {f"train/clip-{i:05d}": (starts[i], stops[i]) for i in range(num_clips)}
    setting = Setting(folder, folder / "rows.npy", places, repeats)
    rows = np.lib.format.open_memmap(setting.npy, "w+", np.float16, (stops[-1], DIM))
    for start in range(0, len(rows), 1 << 14):
        part = rows[start : start + (1 << 14)]
        part[...] = random.standard_normal(part.shape, np.float32)
    rows.flush()
    del rows
    (folder / "places.json").write_text(json.dumps(places))
    clips = setting.clips_in_memory()
    for backend in BACKENDS:
        setting.stores[backend] = write_store(folder / backend, clips, backend, durable=True)
    return setting


def write_store(path: Path, clips: dict[str, np.ndarray], backend: str, *, durable: bool) -> Path:
    """Write clips (T, D) to a new store."""
    fill(make_store(path, backend, durable=durable), clips)
    return path


def make_store(path: Path, backend: str, *, durable: bool) -> FeatureStore:
    """Make an empty store."""
    return FeatureStore.create(path, streams=SPECS, fingerprint={}, backend=backend, durable=durable)


def fill(store: FeatureStore, clips: dict[str, np.ndarray]) -> None:
    """Write clips (T, D) to a store."""
    with store.writer() as writer:
        for clip_id, features in clips.items():
            writer.write(clip_id, {STREAM: features})


def seconds(run: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class Times:
    """Seconds of each slice of a work, in each of several rounds: (rounds, slices)."""

    def __init__(self) -> None:
        self.rounds: list[list[float]] = []

    @property
    def best(self) -> float:
        """All slices, each in its best round: what the work takes when nobody else has the processor."""
        return sum(map(min, zip(*self.rounds, strict=True)))

    @property
    def totals(self) -> list[float]:
        """The whole work, in each round."""
        return [sum(slices) for slices in self.rounds]


def rounds(contenders: Mapping[str, tuple[Callable[[list[Any]], object], list[Any]]], repeats: int) -> dict[str, Times]:
    """Return name -> how long each of (what it does to a list of items, its items) takes.

    The items are split into slices of milliseconds, which the contenders do in turns, another one first every time: so
    what else runs on the machine hits all of them alike, and seldom the same slice in every round.
    """
    names, found = list(contenders), {name: Times() for name in contenders}
    for run, items in contenders.values():
        run(items)
    for number in range(repeats):
        for times in found.values():
            times.rounds.append([])
        for part in range(NUM_SLICES):
            turn = (number + part) % len(names)
            for name in names[turn:] + names[:turn]:
                run, items = contenders[name]
                chosen = items[len(items) * part // NUM_SLICES : len(items) * (part + 1) // NUM_SLICES]
                found[name].rounds[-1].append(seconds(lambda run=run, chosen=chosen: run(chosen)))
    return found


def ratio(ours: Times, baseline: Times, scale: float = 1.0) -> tuple[float, str]:
    """Return how many times as fast we are as the baseline, best of each, and a note with the median of the rounds.

    scale: our work over the baseline's, where it does only a part of it.
    """
    middle = statistics.median(theirs / mine for mine, theirs in zip(ours.totals, baseline.totals, strict=True))
    return baseline.best / ours.best * scale, f"median {middle * scale:.4g}x"


def fresh(function: str, **arguments: Any) -> dict[str, Any]:
    """Run a function of store_child.py in a process of its own and return what it found."""
    command = [sys.executable, str(Path(__file__).with_name("store_child.py")), function, json.dumps(arguments)]
    return json.loads(_output(command).splitlines()[-1])


def bare_interpreter_kib() -> int:
    """Return VmRSS of a Python that has done nothing but look at itself."""
    code = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))"
    return int(_output([sys.executable, "-c", code]))


def machine(folder: Path) -> dict[str, str]:
    """Return what the numbers depend on."""
    device, kind, _ = mount(folder)
    cpu = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "zarr", "h5py", "torch"))
    return {
        "CPU": f"{cpu[0] if cpu else platform.processor()}, {os.cpu_count()} cores, {memory:.0f} GiB memory",
        "file system": f"{kind}, read-ahead {_read_ahead(device)}, Linux {platform.release()}",
        "software": f"Python {platform.python_version()}, {packages}",
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
        "commit": _commit(),
    }


def mount(folder: Path) -> tuple[str, str, str]:
    """Return (major:minor of the device, file system, mount point) of a folder."""
    found = ("", "unknown", "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        first, _, last = line.partition(" - ")
        device, point = first.split()[2], first.split()[4]
        if folder.resolve().is_relative_to(point) and len(point) >= len(found[2]):
            found = (device, last.split()[0], point)
    return found


def _read_ahead(device: str) -> str:
    path = Path("/sys/dev/block", device, "queue/read_ahead_kb")
    return f"{path.read_text().strip()} KiB" if path.exists() else "unknown"


def _commit() -> str:
    root = Path(cache.__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else "not a git checkout"


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
