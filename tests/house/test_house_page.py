"""slt_pipeline/README.md is true: its rooms, the files of a run folder, the paths that it sends a reader to."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOUSE = ROOT / "slt_pipeline"
PAGE = (HOUSE / "README.md").read_text(encoding="utf-8")
WRITING_ROOMS = ("stages", "systems", "training")
ELSEWHERE = {"manifest.jsonl", "config.json", "model.safetensors"}  # of a corpus; of an mBART folder, read


def _section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"slt_pipeline/README.md has no section `{title}`"
    return found[1]


def _first_cells(section: str) -> str:
    return "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| "))


def _quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def _file_names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^[\w-]+\.(?:jsonl?|md|pt|safetensors)$", node.value)


def test_the_table_of_rooms_is_whole_and_true():
    named = {name.rstrip("/") for name in _quoted(_first_cells(_section("Rooms")))}
    rooms = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    assert named == rooms | {"files.py", "errors.py"}


def test_every_file_of_a_run_folder_is_in_the_table_and_is_written():
    sources = [path.read_text(encoding="utf-8") for path in HOUSE.rglob("*.py")]
    ours = [p.read_text(encoding="utf-8") for room in WRITING_ROOMS for p in (HOUSE / room).rglob("*.py")]
    section = _section("What lies in a run folder")
    listed = {Path(name).name for name in _quoted(section)}
    written = {name for source in ours for name in _file_names(source)}
    assert written - listed - ELSEWHERE == set()
    files = {Path(name).name for name in _quoted(_first_cells(section)) if "<" not in Path(name).name}
    absent = [name for name in files if not any(f'"{name}"' in source for source in sources)]
    assert sorted(name for name in absent if "." in name) == []


def test_every_path_that_the_page_names_exists():
    paths = [name for name in _quoted(PAGE) if re.fullmatch(r"[\w./-]+\.(?:py|md|yaml)", name) and "/" in name]
    paths = [path for path in paths if "NAME" not in path and not path.startswith(("runs/", "sweep/"))]
    assert len(paths) > 20
    assert [path for path in paths if not (HOUSE / path).exists() and not (ROOT / path).exists()] == []
