"""`slt`: the command line. Commands are thin; whatever needs torch is imported when a command runs."""

import difflib
import errno
import io
import logging
import os
import re
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

import click

from slt_pipeline import __version__
from slt_pipeline.errors import SltError
from slt_pipeline.training import distributed

COMMANDS = {
    "demo": "demo:demo",
    "data": "data:data",
    "visual-pretrain": "train:visual_pretrain",
    "visual-train": "train:visual_train",
    "extract": "extract:extract",
    "gloss2text-train": "train:gloss2text_train",
    "translate-train": "train:translate_train",
    "joint-train": "train:joint_train",
    "sweep": "sweep:sweep",
    "evaluate": "evaluate:evaluate",
    "score": "score:score",
    "compare": "compare:compare",
    "confidence": "confidence:confidence",
    "translate": "translate:translate",
    "report": "report:report",
    "recipe": "recipe:recipe",
    "cache": "cache.care:cache",
    "weights": "weights:weights",
    "lm": "lm:lm",
    "vocab": "vocab:vocab",
}

SHARED = frozenset({"visual-pretrain", "visual-train", "extract", "gloss2text-train", "translate-train", "joint-train"})
"""Commands that several processes share out."""


class _Lazy(click.Group):
    """Looks a command up in its module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        return getattr(import_module(f"slt_pipeline.cli.{module}"), attribute)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_at_home(argument) for argument in args])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)


def _at_home(argument: str) -> str:
    """A path as the shell would have given it: it leaves ~ as it is behind = and in quotes, and others know no shell.

    What lies there under exactly this name is meant as it is; values of -o are for the recipe to expand.
    """
    option, sign, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if not re.match(r"(~[\w.-]*|\$HOME|\$\{HOME\})(/|$)", value) or os.path.lexists(value):
        return argument
    try:
        path = Path(re.sub(r"^\$(HOME|\{HOME\})", "~", value)).expanduser()
        return f"{option}{sign}{path}"
    except RuntimeError:  # nobody's home
        return argument


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="slt")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors on stderr.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, quiet: bool) -> None:
    """Sign language translation in two phases: video to a feature store once, translators on the store many times.

    \b
    Start here:
      $ slt demo                      everything, on a synthetic signer, on a CPU, in minutes
      $ slt data validate M.jsonl     your own clips: what is wrong with them
      $ slt recipe list               the experiments that ship

    \b
    Shell completion (bash; zsh and fish alike):
      $ eval "$(_SLT_COMPLETE=bash_source slt)"
    """
    os.environ["SLT_DEBUG"] = "1" if debug or os.environ.get("SLT_DEBUG") == "1" else "0"
    _set_up_logging(logging.WARNING if quiet else logging.INFO)
    if distributed.started() > 1:
        _be_one_of_several(ctx.invoked_subcommand)


def _be_one_of_several(command: str | None) -> None:
    """Meet the processes that the launcher has started beside this one; the first alone talks of progress."""
    if command not in SHARED:
        raise SltError(
            f"slt {command} is work for one process, and the launcher has started {distributed.started()}; start it "
            f"without launcher (several share out: {', '.join(sorted(SHARED))})"
        )
    threading.Thread(target=_stop_with, args=(os.getppid(),), daemon=True).start()
    distributed.join()
    if not distributed.is_main():
        logging.getLogger("slt_pipeline").setLevel(logging.ERROR)
        sys.stdout = io.StringIO()


def _stop_with(launcher: int) -> None:
    """A launcher that is killed passes nothing on, and its processes would go on with nobody to stop them."""
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the command line: the user's mistake is one line on stderr and exit status 2."""
    _speak_utf8()
    # OpenMP threads spin for about a tenth of a millisecond before they sleep: not at all costs a quarter of a training
    # step, and the default, for ever, makes it many times longer where the cores are shared.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        with distributed.one_for_all():
            # A command that raises Exit makes `main` return its status; the commands themselves return nothing.
            status = cli.main(standalone_mode=False, prog_name="slt")
            distributed.leave()
        sys.exit(status)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort) as error:
        if distributed.speaks(error):
            notes = getattr(error.__cause__ or error, "__notes__", ())  # click has made an Abort of Ctrl-C
            click.echo("; ".join(["slt: interrupted", *notes]), err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if os.environ.get("SLT_DEBUG") == "1" or not _is_for_the_user(error):
            raise
        if distributed.speaks(error):
            click.echo(f"slt: error: {_line(error)}", err=True)
        sys.exit(2)


def _speak_utf8() -> None:
    """Take names of files, and write text, in UTF-8, whatever the locale of a container says.

    What of a name is no text is written escaped, as in JSON.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _line(error: Exception) -> str:
    """The message on one line; of an error in a loader process torch gives the whole traceback, which ends with it."""
    from cache.errors import DamagedError, NotFoundError

    text = str(error)
    if text.startswith(f"Caught {type(error).__name__} in DataLoader worker process"):
        text = text.rpartition(f"{type(error).__name__}: ")[2]
    if isinstance(error, DamagedError):
        text += " (`slt cache verify` lists what is damaged, `slt cache repair` drops it, `slt extract` makes it again)"
    elif isinstance(error, NotFoundError):
        text += " (`slt extract` makes it)"
    return " ".join(text.split())


def _is_for_the_user(error: Exception) -> bool:
    from cache.errors import StoreError

    if isinstance(error, OSError):  # of a file that is there, or of a disk
        named = error.filename is not None and error.errno != errno.ENOENT
        return named or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return isinstance(error, SltError | StoreError)


class _AboveProgressBars(logging.Handler):
    """Writes log lines to stderr without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
        else:
            click.echo(text, err=True)


def _set_up_logging(level: int) -> None:
    logger = logging.getLogger("slt_pipeline")
    logger.handlers[:] = [_AboveProgressBars()]
    logger.setLevel(level)
    logger.propagate = False


if __name__ == "__main__":
    main()
