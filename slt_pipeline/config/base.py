"""The base of every configuration section."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

_MOST = 10**9
"""Largest whole number that is no slip of the finger."""


class Config(BaseModel):
    """Frozen, typed, and closed: a key that no field names is an error, not a silent no-op.

    So are inf and nan, whole numbers beyond all counting, a name that is empty, and one that a list has twice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    recorded: ClassVar[frozenset[str]] = frozenset()
    """Fields that are recorded and decide nothing: how a run goes, or where something lies whose content is hashed."""

    @field_validator("*", mode="before")
    @classmethod
    def _names_say_something(cls, value: Any, info: ValidationInfo) -> Any:
        names = value if isinstance(value, list | tuple) else [value]
        names = [name for name in names if isinstance(name, str)]
        if info.field_name not in ("name", "description") and any(not name.strip() for name in names):
            raise ValueError("an empty name; where there is none, write null or leave the key out")
        if twice := [name for name, number in Counter(names).items() if number > 1]:
            raise ValueError(f"lists {twice[0]} twice; once is enough")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        types = set(_types(field.annotation))
        if types & {int, float} and bool not in types and True in map(_is_truth, _values(value)):
            raise ValueError("true and false are no numbers")
        counts = int in types and "seed" not in (info.field_name or "")
        if counts and any(isinstance(number, int) and abs(number) > _MOST for number in _values(value)):
            raise ValueError(f"nothing here is counted beyond {_MOST}; lower it")
        return value


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _types(annotation: Any) -> Iterator[Any]:
    yield type(annotation) if isinstance(annotation, int) else annotation  # one of several numbers to choose among
    for inner in get_args(annotation):
        yield from _types(inner)


def _values(value: Any) -> Iterator[Any]:
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    yield value
    for each in inside:
        yield from _values(each)
