"""What the feature store promises, measured: one table, all of it in one run.

    python tests/benchmarks/store.py                               # 7,096 clips, minutes
    python tests/benchmarks/store.py --clips 200 --skip-pickle     # seconds: does it run?
    python tests/benchmarks/store.py --only warm batches

Random clips x 832 float16 of the lengths of PHOENIX-2014T's training split, as a raw .npy file and as a store of either
backend, 2 GB in all. Baseline and ours take turns, slice by slice; a ratio is of the best round of each slice, and the
median of the rounds' ratios stands beside it. Files are in the page cache, but for the cold rows. It reports: whatever
it finds, its exit status is 0.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from store_common import DIM, IN_MEMORY, Row, Setting, machine, make_setting, mount
from store_fresh import cold, memory
from store_reads import BATCH, batches, checks, opening, warm
from store_resident import resident
from store_writes import published, writing

PARTS: dict[str, Callable[[Setting], list[Row]]] = {
    "warm": warm,
    "cold": cold,
    "batches": batches,
    "check": checks,
    "resident": resident,
    "open": opening,
    "memory": memory,
    "write": writing,
    "published": published,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=7096)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work, on a real disk"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--skip-pickle", action="store_true", help="leave out the published way, which takes minutes")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    if options.clips < BATCH or options.repeats < 1:
        parser.error(f"--clips {options.clips} has to be {BATCH} or more, --repeats {options.repeats} 1 or more")
    for folder in (options.folder, *([options.json.parent] if options.json else [])):
        if not os.access(folder, os.W_OK | os.X_OK):
            parser.error(f"{folder} is no folder that can be written to: make it, or name another one")
    if (kind := mount(options.folder)[1]) in IN_MEMORY:
        parser.error(f"{options.folder} is {kind}, in memory: pass a --folder on a disk")
    parts = [name for name in options.only if not (options.skip_pickle and name == "published")]
    with tempfile.TemporaryDirectory(prefix="store-benchmark-", dir=options.folder) as folder:
        facts = machine(Path(folder))
        setting = make_setting(Path(folder), options.clips, options.repeats)
        facts["data"] = _describe(setting)
        rows: list[Row] = []
        for name in parts:
            rows += (found := PARTS[name](setting))
            print(*found, sep="\n", file=sys.stderr, flush=True)
    print(*(f"- {name}: {fact}" for name, fact in facts.items()), sep="\n")
    print("\n| case | ours | baseline | ratio or value | aim | ok |\n| --- | --- | --- | --- | --- | --- |")
    print(*rows, sep="\n")
    if options.json:
        document = {"machine": facts, "rows": [{**asdict(row), "ok": row.ok} for row in rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


def _describe(setting: Setting) -> str:
    lengths = sorted(stop - start for start, stop in setting.places.values())
    return (
        f"{len(lengths):,} clips of {lengths[0]} to {lengths[-1]} steps (median {lengths[len(lengths) // 2]}), "
        f"{sum(lengths):,} steps x {DIM} float16, {setting.num_bytes / 1e6:,.0f} MB; {setting.repeats} rounds"
    )


if __name__ == "__main__":
    main()
