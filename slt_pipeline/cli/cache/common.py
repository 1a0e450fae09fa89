"""What the commands of `slt cache` share."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from slt_pipeline.errors import SltError

if TYPE_CHECKING:
    from cache import FeatureStore

STORE = click.Path()
"""A folder or a URL, as text: whether there is a store is for the store to say, in one line."""
ID_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
"""A file of clip ids."""


def local(store: str) -> Path:
    """The folder of a store that is to be changed.

    Raises:
        SltError: it is a URL.
    """
    if "://" in store:
        raise SltError(f"{store} is an object store, which is read only: change a local copy and upload that")
    return Path(store)


def new_store(target: str, *sources: str) -> Path:
    """The folder of a store that is to be made.

    Raises:
        SltError: it is a URL, or that of one of the sources.
    """
    path = local(target)
    for source in sources:
        if "://" not in source and path.exists() and Path(source).exists() and path.samefile(source):
            raise SltError(f"{target} is to be copied to itself: choose another folder for the copy")
    return path


def goes_with(option: str, *others: str) -> None:
    """Refuse options that mean something only with another one, which was not given."""
    context = click.get_current_context()
    flags = {param.name: max(param.opts, key=len) for param in context.command.params}
    for name in others:
        if not context.params[option] and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{flags[name]} goes with {flags[option]}")


def null_option(command):
    """The option that goes with a file of clip ids: what `find -print0` and `xargs -0` understand."""
    help_text = "The clip ids of --clips end with a NUL instead of a line break, and are taken as they are."
    return click.option("-0", "--null", "ends_with_null", is_flag=True, help=help_text)(command)


def read_ids(path: Path, *, ends_with_null: bool = False) -> list[str]:
    """Clip ids, one a line; `-` is standard input. A line in double quotes is a JSON string, which can say any id.

    Raises:
        SltError: there is none, or the file is not UTF-8.
    """
    name = "standard input" if str(path) == "-" else path
    try:
        with click.open_file(str(path), "rb") as file:
            text = file.read().decode("utf-8" if ends_with_null else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise SltError(f"{name} is no UTF-8 text of clip ids, one a line: {error}") from None
    if ends_with_null:
        ids = [part for part in text.split("\0") if part]
    else:
        ids = [_unquoted(line.removesuffix("\r")) for line in text.split("\n") if line.strip()]
    if not ids:
        raise SltError(f"{name} names no clip: it should have one clip id a line")
    return ids


def _unquoted(line: str) -> str:
    """The clip id that a line names."""
    if len(line) > 1 and line[0] == line[-1] == '"':
        with suppress(ValueError, RecursionError):
            return json.loads(line)
    return line


@contextmanager
def byte_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over bytes, silent where nobody watches; what it yields is told of (bytes done, all bytes)."""
    from tqdm import tqdm

    with tqdm(desc=what, unit="B", unit_scale=True, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        yield progress


def size(num_bytes: int) -> str:
    """Bytes for people: `1.2 MB`."""
    number, units = float(num_bytes), ["B", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        del units[0]
    return f"{number:.3g} {units[0]}"


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many there are more."""
    return ", ".join(map(shown, names[:most])) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def table(rows: Mapping[str, str]) -> list[str]:
    """Indented lines `name  value`, the values below each other."""
    width = max(map(len, rows), default=0)
    return [f"  {name:<{width}}  {value}" for name, value in rows.items()]


def shown(text: str) -> str:
    """Text on one line: as it is, or as a JSON string where it would be read as another, or not be seen."""
    plain_text = text.isprintable() and text.strip() == text != "" and _unquoted(text) == text
    return text if plain_text else json.dumps(text)


def plain(value: Any) -> str:
    """A value of JSON for people: text without its quotes, unless it would then read as another value (`"1"`)."""
    quoted = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return quoted
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return shown(value)
    return quoted


def describe(store: "FeatureStore") -> str:
    """One line about a store that was made."""
    from cache.care.info import info

    facts = info(store)
    contents = f"{facts['clips']:,} clips, {facts['steps']:,} steps of {', '.join(facts['streams'])}"
    packed = f", {facts['compression']['codec']}" if facts["compression"] else ""
    return f"{store.path}: {contents}; {facts['backend']}{packed}, {size(facts['bytes_on_disk'])} on disk"
