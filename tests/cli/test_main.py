import errno
import re
import socket

import click
import pytest
from click.testing import CliRunner

import slt_pipeline
from slt_pipeline.cli import main as entry
from slt_pipeline.cli.main import COMMANDS, SHARED, cli
from slt_pipeline.cli.options import Command, Resuming
from slt_pipeline.errors import SltError


def ends(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """Exit status and stderr of `slt` with these arguments, through the function that the console script calls."""
    monkeypatch.setattr("sys.argv", ["slt", *arguments])
    with pytest.raises(SystemExit) as end:
        entry.main()
    return end.value.code or 0, capsys.readouterr().err


@pytest.fixture
def failing(monkeypatch):
    """Let `slt score` raise what the test says."""

    def fail(error: BaseException, cls: type[click.Command] = Command):
        @click.command(cls=cls)
        def command():
            raise error

        monkeypatch.setattr(cli, "get_command", lambda ctx, name: command)
        return ["score"]

    return fail


def test_help_lists_every_command(slt):
    shown = slt("--help").output
    listed = [line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_two_names(slt, flag):
    assert slt("extract", flag).output.startswith("Usage: slt extract")


def test_version(slt):
    assert slt("--version").output == f"slt, version {slt_pipeline.__version__}\n"


def test_an_unknown_command_is_answered_with_the_nearest(monkeypatch, capsys):
    status, stderr = ends(monkeypatch, capsys, "extrakt")
    assert status == 2
    assert "No such command 'extrakt'. Did you mean 'extract'?" in stderr
    assert "Did you mean" not in ends(monkeypatch, capsys, "zzz")[1]


def test_an_unknown_option_is_a_mistake_of_the_user(monkeypatch, capsys):
    status, stderr = ends(monkeypatch, capsys, "extract", "--splitt", "train")
    assert status == 2
    assert "--splitt" in stderr
    assert "Traceback" not in stderr


def test_success_exits_with_status_0(monkeypatch, capsys):
    assert ends(monkeypatch, capsys, "recipe", "list") == (0, "")


@pytest.mark.parametrize("status", [1, 2, 3])
def test_the_status_of_a_command_is_the_status_of_the_process(monkeypatch, capsys, failing, status):
    assert ends(monkeypatch, capsys, *failing(click.exceptions.Exit(status))) == (status, "")


def test_a_mistake_of_the_user_is_one_line_and_status_2(monkeypatch, capsys, failing):
    arguments = failing(SltError("the thing:\n  it is 3, not 4"))
    assert ends(monkeypatch, capsys, *arguments) == (2, "slt: error: the thing: it is 3, not 4\n")


def test_a_mistake_about_a_store_is_one_too(monkeypatch, capsys, failing):
    from cache.errors import StoreError

    assert ends(monkeypatch, capsys, *failing(StoreError("no store"))) == (2, "slt: error: no store\n")


def test_a_mistake_that_a_loader_process_finds_is_one_too(monkeypatch, capsys, failing):
    from torch._utils import ExceptionWrapper

    from cache.errors import StoreError

    def fail() -> None:
        try:
            raise StoreError("no store: make one")
        except StoreError:
            raised = ExceptionWrapper(where="in DataLoader worker process 0")
        raised.reraise()

    with pytest.raises(StoreError, match="Traceback") as caught:
        fail()
    assert ends(monkeypatch, capsys, *failing(caught.value)) == (2, "slt: error: no store: make one\n")


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EFBIG, errno.EROFS])
def test_a_disk_that_takes_nothing_is_one_too(monkeypatch, capsys, failing, number):
    status, stderr = ends(monkeypatch, capsys, *failing(OSError(number, "reason", "runs/x")))
    assert status == 2
    assert stderr.count("\n") == 1
    assert "reason: 'runs/x'" in stderr


def test_debug_shows_the_traceback(monkeypatch, failing):
    arguments = failing(SltError("the thing"))
    monkeypatch.setattr("sys.argv", ["slt", "--debug", *arguments])
    with pytest.raises(SltError, match="the thing"):
        entry.main()


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), FileNotFoundError(errno.ENOENT, "gone", "x")])
def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch, failing, error):
    monkeypatch.setattr("sys.argv", ["slt", *failing(error)])
    with pytest.raises(type(error)):
        entry.main()


@pytest.mark.parametrize(
    ("kind", "says"), [(Resuming, "interrupted; the same command goes on from here"), (Command, "interrupted")]
)
def test_ctrl_c_says_whether_one_can_go_on(monkeypatch, capsys, failing, kind, says):
    status, stderr = ends(monkeypatch, capsys, *failing(KeyboardInterrupt(), kind))
    assert status == 130
    assert stderr.strip() == f"slt: {says}"


def test_commands_that_keep_their_work_say_so():
    asked = {name: entry.cli.get_command(click.Context(entry.cli), name) for name in COMMANDS}
    resuming = {name for name, command in asked.items() if isinstance(command, Resuming)}
    assert resuming == {*SHARED, "demo", "sweep"}


def test_a_process_ends_with_one_line_and_status_2(slt_process, tmp_path):
    text = tmp_path / "odd.yaml"
    text.write_text("sead: 3\n")
    run = slt_process("recipe", "show", "-r", text)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("slt: error: ")
    assert "did you mean seed?" in run.stderr
    debugged = slt_process("--debug", "recipe", "show", "-r", text)
    assert debugged.returncode == 1
    assert "Traceback" in debugged.stderr


def test_a_reader_that_closes_early_is_no_traceback(slt_process, tmp_path):
    import subprocess
    import sys

    program = "from slt_pipeline.cli.main import main\nmain()"
    command = [sys.executable, "-c", program, "recipe", "schema"]
    run = subprocess.run(
        ["bash", "-c", '"$@" | head -1', "bash", *command],
        cwd=entry.__file__.rsplit("/slt_pipeline/")[0],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout == "{\n"
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_of_a_shell_is_printed(shell):
    run = CliRunner(env={"_SLT_COMPLETE": f"{shell}_source"}).invoke(cli, [], prog_name="slt", complete_var=None)
    assert run.exit_code == 0
    assert "_SLT_COMPLETE" in run.output
    assert f"{shell}_complete" in run.output


def test_recipes_are_completed_by_name():
    env = {"_SLT_COMPLETE": "bash_complete", "COMP_WORDS": "slt extract -r demo/", "COMP_CWORD": "3"}
    assert "plain,demo/mmtlb" in CliRunner(env=env).invoke(cli, [], prog_name="slt").output


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "8"}, "WORLD_SIZE is 8 in the environment, .* RANK, MASTER_ADDR, MASTER_PORT not; .*unset"),
        ({"WORLD_SIZE": "8", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}, "and MASTER_PORT not;"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many' in the environment, no number of processes; unset it"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "taken"},
            "process 0 of 2 does not meet the others at 127.0.0.1:.*address already in use; start all of them",
        ),
    ],
)
def test_processes_that_no_launcher_has_started_are_told_in_one_line(monkeypatch, capsys, environment, words):
    """Schedulers and other tools leave such variables behind."""
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        for name, value in environment.items():
            monkeypatch.setenv(name, str(taken.getsockname()[1]) if value == "taken" else value)
        status, stderr = ends(monkeypatch, capsys, "visual-train", "--dry-run")
    assert status == 2
    assert re.match(f"slt: error: .*{words}", stderr)
    assert stderr.count("\n") == 1


def test_an_empty_world_size_is_none(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "")
    assert ends(monkeypatch, capsys, "visual-train", "--dry-run")[0] == 0


def test_an_option_that_takes_one_value_and_is_given_two_is_refused(slt):
    ended = slt("extract", "--split", "train", "--split", "dev")
    assert (ended.exit_code, "--split is given 2 times, and takes one value" in ended.output) == (2, True)


@pytest.mark.parametrize("name", ["clip.mp4", "link", "manifest.jsonl"])
def test_translations_take_the_place_of_no_other_file(slt, tmp_path, write_video, name):
    write_video(tmp_path / "clip.mp4")
    (tmp_path / "link").symlink_to("clip.mp4")
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "video": "clip.mp4", "text": "am tag"}\n')
    before = (tmp_path / name).read_bytes()
    with pytest.raises(SltError, match=f"{name} is there and is not a file of translations"):
        slt("translate", tmp_path / "clip.mp4", "--out", tmp_path / name)
    assert (tmp_path / name).read_bytes() == before


def test_a_file_is_no_standard_output(slt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.jsonl").write_text("")
    with pytest.raises(
        SltError, match=r"-: this goes into a file, not to standard output; name one \(\./- if it is -\)"
    ):
        slt("vocab", "build", "--manifest", "m.jsonl", "--to", "-")
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]
