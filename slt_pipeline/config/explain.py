"""What is wrong with a recipe, in one line."""

import re
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from slt_pipeline.config.keys import did_you_mean, key_path, kind_having
from slt_pipeline.errors import SltError


def explain(root: type[BaseModel], error: ValidationError, where: str) -> str:
    """Return one line of the first problem, with the number of further ones; a misspelt key explains a missing one.

    Args:
        root: Class of the recipe.
        error: What its validation found.
        where: What the line calls the recipe.
    """
    problems = _problems(error)
    first, key = problems[0], ".".join(first_key(error))
    found = first.get("input")
    if first["type"] == "extra_forbidden":
        try:
            key_path(root, key)
        except SltError as unknown:
            text = str(unknown)
        else:
            kind = kind_having(root, key)
            text = f"key {key} is of another system; leave it out, or set {kind}" if kind else f"key {key} is not known"
    elif first["type"] == "union_tag_invalid":
        context = first.get("ctx", {})
        known, given = re.findall(r"\((\w+)\)", context.get("expected_tags", "")), context.get("tag", "").strip("()")
        text = f"{key}.system = {given!r}: Input should be {' or '.join(map(repr, known))}{did_you_mean(given, known)}"
    elif first["type"] == "missing":
        text = f"key {key} is missing"
    elif not key:
        text = first["msg"].removeprefix("Value error, ")
    else:
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "literal_error" and isinstance(found, str):
            reason += did_you_mean(found, re.findall(r"'([^']*)'", first.get("ctx", {}).get("expected", "")))
        # Of a section whose values contradict each other the reason names them; all its values would bury it.
        text = f"{key}: {reason}" if isinstance(found, Mapping | BaseModel) else f"{key} = {found!r}: {reason}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(f"recipe {where}: {text}{more}".split())


def first_key(error: ValidationError) -> list[str]:
    """Return the parts of the key that `explain` tells of."""
    return [str(part) for part in _problems(error)[0]["loc"] if not str(part).startswith("(")]


def _problems(error: ValidationError) -> list[ErrorDetails]:
    return sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
