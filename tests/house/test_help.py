import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import command_lines
import pytest

from slt_pipeline.cli.main import cli
from slt_pipeline.cli.options import Command

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch",
    "torchvision",
    "transformers",
    "zarr",
    "h5py",
    "matplotlib",
    "av",
    "sacrebleu",
    "jiwer",
    "PIL",
    "optuna",
}


def _leaves(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, f"{name} is listed and does not exist"
            yield from _leaves(child, (*words, name))
    else:
        yield " ".join(words), command


def _groups(group: click.Group, words: tuple[str, ...] = ("slt",)) -> Iterator[tuple[str, click.Group]]:
    yield " ".join(words), group
    context = click.Context(group)
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        if isinstance(child, click.Group):
            yield from _groups(child, (*words, name))


COMMANDS = dict(_leaves(cli))
GROUPS = dict(_groups(cli))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["translate-train", "--help"], ["recipe", "list"]], ids=" ".join
)
def test_asking_for_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom slt_pipeline.cli.main import cli\n"
        f"cli.main({arguments!r}, prog_name='slt', standalone_mode=False)\n"
        f"sys.exit(' '.join({HEAVY!r} & set(sys.modules)) or None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip() != ""


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_drops_an_option_that_is_given_twice(name):
    assert isinstance(COMMANDS[name], Command)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_answers_without_torch(shell):
    code = (
        "import sys\nfrom slt_pipeline.cli.main import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "_SLT_COMPLETE": f"{shell}_complete"}
    environment |= {
        "COMP_WORDS": "slt tra" if shell != "fish" else "slt",
        "COMP_CWORD": "1" if shell != "fish" else "tra",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "translate-train" in run.stdout


@pytest.mark.parametrize("width", [80, 110])
@pytest.mark.parametrize("name", GROUPS)
def test_every_summary_of_a_list_of_commands_fits_its_line(name, width):
    context = click.Context(GROUPS[name], info_name="slt", terminal_width=width, max_content_width=110)
    listed = GROUPS[name].get_help(context).partition("Commands:\n")[2].splitlines()
    assert len(listed) == len(GROUPS[name].list_commands(context))  # a line each, wrapped by none
    assert [line for line in listed if line.endswith("...") or len(line) > width] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(name, monkeypatch):
    text = COMMANDS[name].help or ""
    examples = [line.strip()[2:] for line in text.splitlines() if line.strip().startswith("$ ")]
    own = [arguments for arguments in command_lines.slt_commands(examples) if " ".join(arguments).startswith(name)]
    assert own, f"`slt {name} --help` shows no `$ slt {name} ...`"
    for arguments in command_lines.slt_commands(examples):
        command_lines.parse(cli, arguments, monkeypatch)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name):
    options = [param for param in COMMANDS[name].params if isinstance(param, click.Option) and not param.hidden]
    silent = [param.name for param in options if not param.help and not isinstance(param.type, click.Choice)]
    assert silent == []


def test_an_unknown_option_of_an_example_is_found(monkeypatch):
    with pytest.raises(click.UsageError, match="--splitt"):
        command_lines.parse(cli, ["extract", "--splitt", "train"], monkeypatch)
    with pytest.raises(click.UsageError, match="extrakt"):
        command_lines.parse(cli, ["extrakt"], monkeypatch)
