"""Paths in a recipe: they may follow `runs_dir`."""

from pathlib import Path
from string import Formatter
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo


def expand(path: str, runs_dir: str) -> str:
    """Put the recipe's `runs_dir` for `{runs_dir}`; `{{` and `}}` are plain braces.

    Raises:
        ValueError: another placeholder, or a single brace.
    """
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
    return path.replace("{", "{{").replace("}", "}}")


def _expand(value: Any, info: ValidationInfo) -> Any:
    # Only a recipe has a `runs_dir`; a section that is made by itself takes its paths as they are.
    runs_dir = (info.context or {}).get("runs_dir")
    return expand(value, runs_dir) if isinstance(value, str) and isinstance(runs_dir, str) else value


Location = Annotated[str, BeforeValidator(_expand), PlainSerializer(escape, return_type=str, when_used="json")]
"""A path, kept as text. Written to a recipe file its braces are doubled, so that it reads back equal."""
LocationPath = Annotated[
    Path, BeforeValidator(_expand), PlainSerializer(lambda path: escape(str(path)), return_type=str, when_used="json")
]
"""The same, as a Path."""
