"""What a recipe's file and its overrides say, as plain data."""

import json
from pathlib import Path
from typing import Any

from slt_pipeline.config.former import refuse_former_keys
from slt_pipeline.config.paths import escape_home
from slt_pipeline.config.written import read_yaml
from slt_pipeline.errors import SltError


def read_sections(path: Path) -> dict[str, Any]:
    """Return the sections of a recipe file.

    Raises:
        SltError: it cannot be read, or is no mapping of sections.
    """
    try:
        data = read_yaml(recipe_text(path))
    except SltError as error:
        raise SltError(f"recipe {path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        kind = {type(None): "nothing", list: "a list"}.get(type(data), "a single value")
        raise SltError(f"recipe {path} holds {kind}, not a mapping of sections")
    return data


def recipe_text(path: Path) -> str:
    """Return the text of a recipe file.

    Raises:
        SltError: it is not there, or no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SltError(str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise SltError(f"{error}; save it as UTF-8") from error


def parse_override(override: str) -> tuple[str, Any]:
    """Return key and value of `key.path=value`.

    Raises:
        SltError: it is not of this form, or the value does not mean one thing.
    """
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise SltError(f"override {override!r} is not of the form key.path=value")
    try:
        value = read_yaml(text)
    except SltError as error:
        is_none = "the value is " if str(error).startswith("not YAML") else ""
        raise SltError(f"override {override!r}: {is_none}{error}") from error
    if isinstance(value, str) and " #" in text and value != text.strip() and text.strip()[0] not in "'\"":
        raise SltError(f"override {override!r}: YAML takes what is behind # for a comment; write the value in quotes")
    refuse_former_keys({key: value})
    return key, value


def quoted(path: str) -> str:
    """Return a path as the value of an override."""
    return json.dumps(escape_home(path), ensure_ascii=False)
