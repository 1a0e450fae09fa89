"""The rows of the store's benchmark that need fresh processes: cold files, and the memory that reading takes."""

from pathlib import Path

from store_common import BACKENDS, ROW_BYTES, Row, Setting, bare_interpreter_kib, fresh

NUM_COLD = 1000


def cold(setting: Setting) -> list[Row]:
    """Bytes fetched from the disk over bytes asked for, by clips all over files that are not in the page cache."""
    order = setting.shuffled(2)
    num = min(NUM_COLD, -(-len(order) // 7))
    ways = {
        "memory map": (setting.npy, str(setting.folder / "places.json"), [setting.npy]),
        **{backend: (path, None, _data_files(path)) for backend, path in setting.stores.items()},
    }
    found = {
        name: fresh(
            "read_cold",
            path=str(path),
            places=places,
            files=list(map(str, files)),
            clip_ids=order[:num],
            others=order[num : num + 20],
        )
        for name, (path, places, files) in ways.items()
    }
    shown = []
    for name in (*BACKENDS, "memory map"):
        result = found[name]
        before, dropped = (100 * result[when] / result["total"] for when in ("before", "dropped"))
        fetched, witness = result["fetched"], "by /proc/self/io"
        if not fetched:  # some disks do not account for what they read
            fetched, witness = result["cached"], "by mincore: /proc/self/io shows 0 on this disk"
        note = f"{witness}; by mincore {result['cached'] / result['asked']:.3g}x"
        asked, aim = f"{result['asked'] / 1e6:.1f} MB asked", "" if name == "memory map" else "<= 1.3"
        case = f"cold clip reads, {name}: {num} clips"
        shown += [
            Row(case, f"{fetched / 1e6:.1f} MB fetched", asked, fetched / result["asked"], aim=aim, note=note),
            Row(
                f"page cache dropped before, {name}",
                f"{dropped:.2f} % resident",
                f"{before:.2f} % before",
                dropped,
                unit="%",
                aim="<= 0.1",
                note="by mincore",
            ),
        ]
    return shown


def memory(setting: Setting) -> list[Row]:
    """Resident memory of a fresh process that has read every clip once, over that of a bare interpreter."""
    bare = bare_interpreter_kib() * 1024
    ways = {
        **{backend: (path, None) for backend, path in setting.stores.items()},
        "memory map": (setting.npy, str(setting.folder / "places.json")),
    }
    shown = []
    for name, (path, places) in ways.items():
        resident = fresh("read_all", path=str(path), places=places)["rss_kib"] * 1024
        case, aim = f"resident memory after reading all, {name}", "" if places else "<= 40"
        cells = (f"{resident / 1e6:.1f} MB", f"{bare / 1e6:.1f} MB bare interpreter")
        shown.append(Row(case, *cells, (resident - bare) / 1e6, unit="MB", aim=aim, note="difference"))
    return shown


def _data_files(path: Path) -> list[Path]:
    """Return the files of a store that hold more than metadata."""
    return [file for file in sorted(path.glob("data/**/*")) if file.is_file() and file.stat().st_size > ROW_BYTES]
