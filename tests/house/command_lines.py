"""Commands as documents show them, and whether the command line understands them; nothing is run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELLS = ("console", "bash", "sh", "shell")
_OPERATOR = re.compile(r"[|&;<>()]+")


def shell_lines(markdown: str) -> list[str]:
    """Command lines of a document's shell blocks, joined over `\\` at a line's end.

    In a block with prompts the lines without one are output.
    """
    lines = []
    for language, block in _FENCE.findall(markdown):
        if language in _SHELLS:
            found = block.replace("\\\n", " ").splitlines()
            prompted = [line.lstrip()[2:] for line in found if line.lstrip().startswith("$ ")]
            lines += prompted or found
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of one shell line as argument lists: `A=1 slt x | tee y` gives `slt x` and `tee y`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for token in [*lexer, ";"]:
        if not _OPERATOR.fullmatch(token):
            command.append(token)
            continue
        while command and re.match(r"[A-Za-z_]\w*=", command[0]):
            command.pop(0)
        # What follows < or > is a file; it comes out as a command of one word that no test looks for.
        if command:
            yield command
        command = []


def slt_commands(lines: list[str]) -> list[list[str]]:
    """Arguments of every `slt ...` among the lines."""
    return [command[1:] for line in lines for command in commands(line) if Path(command[0]).name == "slt"]


def parse(cli: click.Group, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Parameters of the innermost command, parsed and not run.

    A document's files need not exist. **Raises:** click.UsageError for an unknown command or option.
    """
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)
    monkeypatch.setattr(click.File, "convert", lambda self, value, param, ctx: value)
    command: click.Command = cli
    context: click.Context | None = None
    rest = list(arguments)
    try:
        while True:
            context = command.make_context(command.name or "slt", rest, parent=context)
            if not isinstance(command, click.Group):
                return context.params
            rest = [*context._protected_args, *context.args]
            _, found, rest = command.resolve_command(context, rest)
            assert found is not None
            command = found
    except click.exceptions.Exit:  # --help or --version: complete as it stands
        return {}
