"""The base of every configuration section."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Config(BaseModel):
    """Frozen, typed, and closed: a key that no field names is an error, not a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _word(value: Any) -> Any:
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


YesNoWord = BeforeValidator(_word)
"""For choices among words with `yes` or `no`: YAML reads these two, written without quotes, as true and false."""
