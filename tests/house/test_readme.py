import re
from pathlib import Path

import command_lines
import pytest

from slt_pipeline.cli.main import cli
from slt_pipeline.config.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("README.md"))]
DOCUMENTS += [
    path.relative_to(ROOT).as_posix()
    for room in ("cache", "recipes", "slt_pipeline", "tests")
    for path in sorted((ROOT / room).rglob("*.md"))
]


def _read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def test_the_readmes_that_the_house_needs_are_there():
    assert {"README.md", "recipes/README.md", "cache/README.md", "slt_pipeline/README.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_of_a_document_is_understood(document, monkeypatch):
    for arguments in command_lines.slt_commands(command_lines.shell_lines(_read(document))):
        given = command_lines.parse(cli, arguments, monkeypatch)
        recipe = given.get("recipe_name")
        if recipe and not recipe.endswith((".yaml", ".yml")):
            load_recipe(recipe, given.get("overrides", ()))
        elif given.get("overrides") and not recipe:
            load_recipe("demo/mmtlb", given["overrides"])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_of_a_document_exists(document):
    targets = set(re.findall(r"^([\w-]+):(?!=)", _read("Makefile"), re.MULTILINE))
    used = [
        word
        for line in command_lines.shell_lines(_read(document))
        for command in command_lines.commands(line)
        if command[0] == "make"
        for word in command[1:]
        if "=" not in word and not word.startswith("-")
    ]
    used += re.findall(r"`make ([\w-]+)", _read(document))
    assert [target for target in used if target not in targets] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_somewhere(document):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", _read(document))
    here = (ROOT / document).parent
    assert [target for target in targets if "://" not in target and not (here / target).exists()] == []


def test_the_readme_starts_with_the_two_commands():
    first = [line for line in command_lines.shell_lines(_read("README.md")) if line.startswith(("make", "slt"))][:2]
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]


def test_the_file_map_of_the_readme_is_true_and_whole():
    paths = _file_map(_read("README.md"))
    assert [path for path in paths if not (ROOT / path).exists()] == []
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "slt_pipeline").glob("*/__init__.py")}
    assert (rooms | {"cache", "recipes", "tests", "slt_pipeline"}) - {path.rstrip("/") for path in paths} == set()


FILE_MAP = """
# x

## File map

```
cache/        the store
  store.py    the seam
slt_pipeline/
  cli/        commands
    main.py
tests/
```
"""


def test_a_file_map_is_read_by_its_indentation():
    below = ["slt_pipeline/", "slt_pipeline/cli/", "slt_pipeline/cli/main.py"]
    assert _file_map(FILE_MAP) == ["cache/", "cache/store.py", *below, "tests/"]


BLOCKS = r"""
```console
$ A=1 slt extract --split train | tee log  # first
slt wrote 3 clips
```
```bash
# slt no
slt translate a.mp4 \
  --out b.jsonl && ls
```
```python
slt x
```
"""


def test_output_and_comments_of_a_block_are_no_commands():
    assert command_lines.slt_commands(command_lines.shell_lines(BLOCKS)) == [
        ["extract", "--split", "train"],
        ["translate", "a.mp4", "--out", "b.jsonl"],
    ]


def _file_map(text: str) -> list[str]:
    """Paths of the first fenced block below the heading `File map`: one a line, content of a folder indented."""
    section = re.search(r"^#+ .*\bmap\b.*?^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert section, "README.md has no section `File map` with a fenced block"
    paths: list[str] = []
    above: list[tuple[int, str]] = []
    for line in section[1].splitlines():
        if not line.strip():
            continue
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        while above and above[-1][0] >= indent:
            above.pop()
        path = (above[-1][1] if above else "") + name
        paths.append(path)
        if name.endswith("/"):
            above.append((indent, path))
    return paths
