"""Paths in a recipe: they may begin at home (`~`), name variables of the environment, and follow `runs_dir`."""

import os
import re
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo

_VARIABLE = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([^{}]*)\})")


def at_home(path: str) -> str:
    """Put the home folder for a leading `~`, and the environment's value for `$NAME` and `${NAME}`; `$$` is a plain $.

    Raises:
        ValueError: the environment has no such variable, or there is no such home.
    """
    return _at_home(path, braces=False)


def expand(path: str, runs_dir: str) -> str:
    """Do what `at_home` does, and put the recipe's `runs_dir` for `{runs_dir}`; `{{` and `}}` are plain braces.

    Raises:
        ValueError: another placeholder or a single brace, or as `at_home`.
    """
    path = _at_home(path, braces=True)
    try:
        pieces = list(Formatter().parse(path))
    except ValueError:
        raise ValueError("a single brace; write {{ and }} for braces in a path") from None
    for _, name, form, conversion in pieces:
        if name is not None and (name != "runs_dir" or form or conversion):
            raise ValueError(
                f"no placeholder is called {{{name}}}; there is {{runs_dir}}, and {{{{ and }}}} are plain braces"
            )
    return "".join(text + ("" if name is None else runs_dir) for text, name, _, _ in pieces)


def escape(path: str) -> str:
    """Write a path so that `expand` gives it back."""
    return escape_home(path).replace("{", "{{").replace("}", "}}")


def escape_home(path: str) -> str:
    """Write a path so that `at_home` gives it back, as a path."""
    return ("./" if path.startswith("~") else "") + path.replace("$", "$$")


def _at_home(path: str, *, braces: bool) -> str:
    def given(value: str) -> str:
        return value.replace("{", "{{").replace("}", "}}") if braces else value

    def variable(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name = found[1] or found[2] or ""
        if not os.environ.get(name):
            raise ValueError(f"the environment has no {name or 'variable without a name'}; set it, or write $$ for a $")
        return given(os.environ[name])

    user, slash, rest = path.partition("/")
    if not user.startswith("~"):
        return _VARIABLE.sub(variable, path)
    try:
        home = Path(user).expanduser()
    except RuntimeError:
        raise ValueError(f"nobody's home is {user}; write ./{user} for a folder of that name") from None
    return given(str(home)) + slash + _VARIABLE.sub(variable, rest)


def _expand(value: Any, info: ValidationInfo) -> Any:
    # Only a recipe has a `runs_dir`; a section that is made by itself takes its paths as they are.
    runs_dir = (info.context or {}).get("runs_dir")
    return expand(value, runs_dir) if isinstance(value, str) and isinstance(runs_dir, str) else value


def _expand_home(value: Any, info: ValidationInfo) -> Any:
    return at_home(value) if isinstance(value, str) and info.context else value


Location = Annotated[str, BeforeValidator(_expand), PlainSerializer(escape, return_type=str, when_used="json")]
"""A path, kept as text. Written to a recipe file its braces are doubled, so that it reads back equal."""
LocationPath = Annotated[
    Path, BeforeValidator(_expand), PlainSerializer(lambda path: escape(str(path)), return_type=str, when_used="json")
]
"""The same, as a Path."""
Place = Annotated[str, BeforeValidator(_expand_home), PlainSerializer(escape_home, return_type=str, when_used="json")]
"""A path that does not follow `runs_dir`: that itself, or the folder of a run, or a name in its place."""
