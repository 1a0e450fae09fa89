"""How a store grows: what opening, memory, a commit and a read cost at a thousand clips and at ten million.

    python tests/benchmarks/store_scale.py                              # to a million clips
    python tests/benchmarks/store_scale.py --clips 1000 10000000
    python tests/benchmarks/store_scale.py --clips-a-commit 64          # as `slt extract` commits by default

Clips of 5 steps x 4 float16, whose shards share one file by hard links, with a record each, as many writers would leave
them. Every number is of a fresh process; what the first opening must do that the later ones need not stands apart.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cache import FeatureStore, StreamSpec
from cache.index import record_path

STREAM, STEPS, DIM = "s", 5, 4
NUM_READS, NUM_ROUNDS, NUM_COMMITS = 20_000, 4, 9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--clips-a-commit", type=int, default=800)
    parser.add_argument("--backend", default="zarr")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_measure(Path(options.child), options.clips[0])))
        return
    print("| clips | shards | index | first open | open | memory | of it private | commit | reads/s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for num_clips in options.clips:
        with tempfile.TemporaryDirectory(prefix="store-scale-", dir=options.folder) as folder:
            path = Path(folder, "store")
            num_shards = _make(path, num_clips, options.clips_a_commit, options.backend)
            first = _child(path, num_clips)["open"]  # whatever is derived from the records is made now
            found = _child(path, num_clips)
            index = sum(file.stat().st_size for file in path.rglob("index/*") if file.is_file())
            cells = (
                f"{num_clips:,}",
                f"{num_shards:,}",
                f"{index / 1e6:.1f} MB",
                f"{1000 * first:.1f} ms",
                f"{1000 * found['open']:.1f} ms",
                f"{found['memory'] / 1e6:.1f} MB",
                f"{found['private'] / 1e6:.1f} MB",
                f"{1000 * found['commit']:.1f} ms",
                f"{found['reads']:,.0f}",
            )
            print("| " + " | ".join(cells) + " |", flush=True)


def _make(path: Path, num_clips: int, clips_a_commit: int, backend: str) -> int:
    """Make a store of so many clips; return its number of shards."""
    first = min(clips_a_commit, num_clips)
    store = FeatureStore.create(
        path,
        streams={STREAM: StreamSpec(DIM)},
        fingerprint={},
        backend=backend,
        shard_steps=clips_a_commit * STEPS,
        durable=False,
    )
    with store.writer() as writer:
        for number in range(first):
            writer.write(_name(number), {STREAM: np.full((STEPS, DIM), number % 2048, np.float16)})
    (record,) = store._index.records.values()
    (file,) = record.files
    num_shards = -(-num_clips // clips_a_commit)
    for shard in range(record.shard + 1, record.shard + num_shards):
        target = file.replace(f"{record.shard:08d}", f"{shard:08d}").replace(f"c.{record.shard}.", f"c.{shard}.")
        os.link(path / file, path / target)
        start = (shard - record.shard) * clips_a_commit
        more = replace(
            record,
            shard=shard,
            clips=[_name(start + number) for number in range(first)],
            extents={STREAM: replace(record.extents[STREAM], file=target)},
            files={target: record.files[file]},
        )
        (path / record_path(shard)).write_bytes(more.to_bytes())
    return num_shards


def _name(number: int) -> str:
    return f"train/clip-{number:08d}"


def _child(path: Path, num_clips: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", str(path), "--clips", str(num_clips)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _measure(path: Path, num_clips: int) -> dict[str, float]:
    """Return seconds to open (the first of a process), bytes of memory more, seconds of a commit, reads a second."""
    before = _memory()
    start = time.perf_counter()
    store: Any = FeatureStore.open(path)
    assert len(store) >= num_clips
    opened = time.perf_counter() - start
    after = _memory()
    chosen = [_name(number) for number in random.Random(1).choices(range(num_clips), k=NUM_READS)]
    rounds = []
    for _ in range(NUM_ROUNDS):  # the first opens the files
        start = time.perf_counter()
        for clip_id in chosen:
            store.read(clip_id, STREAM)
        rounds.append(NUM_READS / (time.perf_counter() - start))
    writer = FeatureStore.open(path, mode="a", durable=False).writer()
    times = []
    for number in range(NUM_COMMITS):
        writer.write(f"new-{os.getpid()}-{number}", {STREAM: np.zeros((STEPS, DIM), np.float16)})
        start = time.perf_counter()
        writer.commit()
        times.append(time.perf_counter() - start)
    return {
        "open": opened,
        "memory": after[0] - before[0],
        "private": after[1] - before[1],
        "commit": statistics.median(times),
        "reads": max(rounds),
    }


def _memory() -> tuple[int, int]:
    """Return the bytes that this process has in memory, and those of them that it shares with no file."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "RssAnon"))  # pyright: ignore[reportReturnType]


if __name__ == "__main__":
    main()
