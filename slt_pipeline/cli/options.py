"""Options that commands share, and what `--dry-run` prints."""

import json
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slt_pipeline.config.names import PROTOCOL_ALIASES, PROTOCOL_NAMES
from slt_pipeline.errors import SltError
from slt_pipeline.files import require_new_file, require_place

if TYPE_CHECKING:
    from slt_pipeline.config.recipe import Recipe


class Command(click.Command):
    """A command that takes an option once, unless it may be given several times: click counts the last, silently."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read a command line.

        Raises:
            click.UsageError: an option is given twice; both values are named.
        """
        if not ctx.resilient_parsing:
            self._require_once(ctx, args)
        return super().parse_args(ctx, args)

    def _require_once(self, ctx: click.Context, args: list[str]) -> None:
        parser = self.make_parser(ctx)
        _, _, order = parser.parse_args(args=list(args))
        for option in set(order):
            several = isinstance(option, click.Option) and (option.is_flag or option.multiple)
            if isinstance(option, click.Option) and not several and (times := order.count(option)) > 1:
                ctx.fail(f"{option.opts[-1]} is given {times} times, and takes one value.")


class Resuming(Command):
    """A command that keeps what it has done when it is stopped, and goes on from there when it is run again."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it.

        Raises:
            KeyboardInterrupt: it was stopped; a note says how to go on.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            stopped.add_note("the same command goes on from here")
            raise


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def __init__(self, *args: Any, moved: Mapping[str, str] | None = None, **given: Any) -> None:
        """Take commands.

        Args:
            args: as click has them.
            moved: commands that were here, and what they are called now.
            given: as click has them.
        """
        super().__init__(*args, **given)
        self.moved = moved or {}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for.

        Raises:
            click.UsageError: there is none; one that has moved is named.
        """
        if args[0] in self.moved and not ctx.resilient_parsing:
            ctx.fail(f"`{ctx.command_path} {args[0]}` is now `{self.moved[args[0]]}`.")
        return super().resolve_command(ctx, args)


class Place(click.ParamType):
    """A file or a folder to write: refused before any work where that cannot be done."""

    def __init__(self, name: str, what: str = "", keys: Collection[str] = (), *, stdout: bool = False) -> None:
        """Take paths.

        Args:
            name: `file` or `folder`.
            what: of a file of JSON Lines: what its command writes, and so may replace: "a manifest".
            keys: that each line of it has.
            stdout: whether `-` stands for standard output.
        """
        self.name, self.what, self.keys, self.stdout = name, what, keys, stdout

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path.

        Raises:
            SltError: nothing can be written there, or something else is there.
        """
        if value == "-":
            if not self.stdout:
                raise SltError(f"-: this goes into a {self.name}, not to standard output; name one (./- if it is -)")
            return Path(value)
        require_place(Path(value), folder=self.name == "folder")
        if self.keys:
            require_new_file(Path(value), self.what, self._is_own)
        return Path(value)

    def _is_own(self, path: Path) -> bool:
        """Whether a file is of that kind, by its first line."""
        with path.open("rb") as file:
            row = json.loads(file.readline())
        return isinstance(row, dict) and row.keys() >= set(self.keys)


class Protocol(click.Choice[str]):
    """A scoring protocol, by its name or another one of it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the protocol's own name."""
        return super().convert(PROTOCOL_ALIASES.get(value, value), param, ctx)


def protocol_option(otherwise: str) -> Callable[..., Any]:
    """`--protocol`: by which rules is scored; `otherwise` says what without it."""
    return click.option(
        "--protocol",
        type=Protocol(PROTOCOL_NAMES),
        help=f"Tokens, clean-up and spelling: what the scores can be compared with.  [default: {otherwise}]",
    )


OUT_FILE, OUT_FOLDER = Place("file"), Place("folder")
OUT_MANIFEST = Place("file", "a manifest", ("id", "video", "num_frames", "fps"))
OUT_TRANSLATIONS = Place("file", "a file of translations", ("video", "text", "glosses", "seconds"), stdout=True)


def splits_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--split`, several times: of which clips, those of train unless it is said."""
    return click.option(
        "--split", "splits", multiple=True, default=["train"], show_default=True, callback=_once, help=what
    )


def _once(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """What is named twice is meant once."""
    return tuple(dict.fromkeys(values))


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-r/--recipe` and `-o key=value`: which experiment."""
    command = click.option(
        "-o",
        "--override",
        "overrides",
        multiple=True,
        metavar="KEY.PATH=VALUE",
        help="Change one value of the recipe; may be given several times.",
    )(command)
    return click.option(
        "-r",
        "--recipe",
        "recipe_name",
        metavar="NAME|FILE",
        shell_complete=_complete_recipe,
        help="Recipe by name or YAML file.  [default: $SLT_RECIPE, else demo/mmtlb]",
    )(command)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`recipe_options`, `--device` and `--dry-run`: for commands that compute."""
    command = click.option(
        "--dry-run", is_flag=True, help="Print the resolved recipe and what would be read and written."
    )(command)
    command = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")(command)
    return recipe_options(command)


def processes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--processes`: the short form of a launcher, on one machine."""

    @wraps(command)
    def one_or_several(*args: Any, processes: int, **given: Any) -> Any:
        from slt_pipeline.training import distributed

        if processes == 1 or distributed.started() > 1 or given.get("dry_run"):
            return command(*args, **given)
        from slt_pipeline.cli.launch import launch

        return click.get_current_context().exit(launch(processes))

    return click.option(
        "--processes",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Share the work out over N processes of this machine, on GPUs one each.",
    )(one_or_several)


def extend_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--extend`: go on with a run for more epochs."""
    return click.option(
        "--extend", is_flag=True, help="Go on for more epochs, where training.epochs was raised and nothing else."
    )(command)


def overwrite_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--overwrite`: start anew where a run folder holds an earlier run."""
    return click.option(
        "--overwrite", is_flag=True, help="Start anew; an earlier run is given up once the new one has a checkpoint."
    )(command)


def strict_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--strict`: a clip that cannot be read is an error."""
    return click.option("--strict", is_flag=True, help="Stop at a clip that cannot be read; else it is left out.")(
        command
    )


def run_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--run`: a trained run in place of a recipe."""
    return _run_folder("The translator in this run folder, such as a sweep's winner")(command)


def encoder_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--run`: a run with a visual encoder in place of a recipe."""
    return _run_folder("The encoder in this run folder of visual-train or joint-train")(command)


def _run_folder(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--run",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="FOLDER",
        help=f"{what}, with the recipe that is saved there.",
    )


def load_encoder(recipe_name: str | None, overrides: tuple[str, ...], run: Path | None) -> "Recipe":
    """The recipe that the options name, by name or file; or by the folder of a run, whose encoder it uses.

    Raises:
        click.UsageError: both a recipe and a run are named.
    """
    from slt_pipeline.config.recipe import recipe_of_encoder

    if run is None or recipe_name:
        return load(recipe_name, overrides, run)
    return recipe_of_encoder(run, overrides)


def load(recipe_name: str | None, overrides: tuple[str, ...], run: Path | None = None) -> "Recipe":
    """The recipe that the options name: by name, file or run folder.

    Raises:
        click.UsageError: both a recipe and a run are named.
    """
    from slt_pipeline.config.recipe import default_recipe, load_recipe, recipe_of_run

    if run is None:
        return load_recipe(recipe_name or default_recipe(), overrides)
    if recipe_name:
        raise click.UsageError("--run brings its own recipe: leave out --recipe")
    return recipe_of_run(run, overrides)


def show_plan(recipe: "Recipe", reads: Mapping[str, Path | str | None], writes: Mapping[str, Path | str]) -> None:
    """Print the resolved recipe, then what a command would read and write."""
    from slt_pipeline.config.recipe import dump_recipe

    click.echo(dump_recipe(recipe), nl=False)
    for title, paths in (("reads", reads), ("writes", writes)):
        for name, path in paths.items():
            if path is not None:
                there = title == "writes" or "://" in str(path) or Path(path).exists()
                missing = "" if there else "   (missing)"
                click.echo(f"# {title} {name}: {path}{missing}")


def _complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from slt_pipeline.config.recipe import list_recipes

    return [name for name in list_recipes() if name.startswith(incomplete)]


def progress_bar():
    """A progress bar around clips, silent where nobody watches."""
    from functools import partial

    from tqdm import tqdm

    return partial(tqdm, unit="clip", disable=None)
