"""Every `slt ...` that a message, a docstring or a document writes in backticks is a command that exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import command_lines
import pytest

from slt_pipeline.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
MODULES = [path for package in ("slt_pipeline", "cache") for path in sorted((ROOT / package).rglob("*.py"))]
DOCUMENTS = [path for path in sorted(ROOT.rglob("*.md")) if not path.relative_to(ROOT).parts[0].startswith(".")]
DUMMY = "x"
"""Stands for what an f-string puts in: a name, a path, a number."""


def _strings(source: str) -> Iterator[str]:
    """Every string of a module, docstrings too; an f-string with a dummy word for each value."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else DUMMY for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def _mentioned(text: str) -> list[str]:
    """The commands in backticks; fenced blocks are not looked at, they have a test of their own."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(found.split()) for found in re.findall(r"`(slt\s[^`]+)`", text)]


def _fault(mention: str, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """What is wrong with a mentioned command: a word or option that does not exist; what is left out is no fault.

    `slt cache convert | subset | merge` names three commands, and `slt COMMAND --help` any.
    """
    first, *others = [part.strip() for part in mention.partition("#")[0].split("|")]
    words = first.split()
    alternatives = [first, *(" ".join([*words[:-1], other]) for other in others)]
    for alternative in alternatives:
        if len(words) < 2 or words[1].isupper() or words[1] in ("...", DUMMY):
            continue
        for arguments in command_lines.slt_commands([alternative.replace("...", DUMMY)]):
            try:
                command_lines.parse(cli, arguments, monkeypatch)
            except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
                pass
            except click.UsageError as error:
                if isinstance(error, click.BadParameter) and DUMMY in arguments:
                    continue  # a value that is not known here
                return f"`{alternative}`: {error.format_message()}"
    return None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_that_a_module_mentions_exists(path, monkeypatch):
    mentioned = [mention for text in _strings(path.read_text(encoding="utf-8")) for mention in _mentioned(text)]
    assert [fault for mention in mentioned if (fault := _fault(mention, monkeypatch))] == []


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.is_relative_to(ROOT / "cache")], ids=lambda path: path.name
)
def test_the_store_speaks_of_no_command_and_no_signing(path):
    """It is anybody's: what of it a command offers, the command says."""
    foreign = re.compile(r"\bslt \w|\bgloss|\bsign(?:er|ing|s)\b|\btranslat", re.IGNORECASE)
    assert [text for text in _strings(path.read_text(encoding="utf-8")) if foreign.search(text)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_that_a_document_mentions_exists(path, monkeypatch):
    mentioned = _mentioned(path.read_text(encoding="utf-8"))
    assert [fault for mention in mentioned if (fault := _fault(mention, monkeypatch))] == []


@pytest.mark.parametrize(
    "mention",
    ["slt vocab built", "slt data import|sinth", "slt extract --splitt all", "slt cache rm x -r x --unsued"],
)
def test_a_mention_of_what_does_not_exist_is_found(mention, monkeypatch):
    assert _fault(mention, monkeypatch) is not None


@pytest.mark.parametrize(
    "mention",
    [
        "slt extract",
        "slt extract --split x",
        "slt data import|synth|validate|stats",
        "slt cache",
        "slt COMMAND --help",
        "slt ...",
    ],
)
def test_a_mention_that_leaves_something_out_is_none(mention, monkeypatch):
    assert _fault(mention, monkeypatch) is None


def test_mentions_are_read_from_strings_of_every_kind():
    source = (
        'def f(a):\n    """See `slt\n    sweep`."""\n    raise E(f"with `slt extract -r {a.b} " "--split all`, {a}")'
    )
    found = [mention for text in _strings(source) for mention in _mentioned(text)]
    assert found == ["slt sweep", "slt extract -r x --split all"]
