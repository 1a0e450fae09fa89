"""Check that a wheel holds the three packages, their data and nothing else: `python .ci/check_wheel.py WHEEL`."""

import sys
import zipfile
from pathlib import Path

PACKAGES = ("slt_pipeline", "cache", "recipes")
DATA = (".yaml", ".md", ".typed")  # what a package carries besides code: recipes, pages of rooms, the mark of types


def main(wheel: str) -> None:
    """Exit with one line per fault."""
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    root = Path(__file__).resolve().parents[1]
    wanted = {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.suffix in (".py", *DATA)
    } | {f"{package}/README.md" for package in PACKAGES}
    wanted |= {f"{package}/py.typed" for package in PACKAGES if package != "recipes"}
    metadata = {name for name in packed if name.split("/")[0].endswith(".dist-info")}
    faults = [f"missing from the wheel: {name}" for name in sorted(wanted - packed)]
    faults += [f"does not belong in the wheel: {name}" for name in sorted(packed - wanted - metadata)]
    faults += [f"no {part} in the wheel" for part in ("LICENSE", "METADATA") if not _ends(metadata, f"/{part}")]
    if faults:
        sys.exit("\n".join(faults))
    recipes = sum(name.endswith(".yaml") for name in packed)
    sys.stdout.write(f"{Path(wheel).name}: {len(packed)} files, {recipes} recipes\n")


def _ends(names: set[str], suffix: str) -> bool:
    return any(name.endswith(suffix) for name in names)


if __name__ == "__main__":
    main(sys.argv[1])
