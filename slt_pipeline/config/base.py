"""The base of every configuration section."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Frozen, typed, and closed: a key that no field names is an error, not a silent no-op, and so is inf or nan."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    recorded: ClassVar[frozenset[str]] = frozenset()
    """Fields that are recorded and decide nothing: how a run goes, or where something lies whose content is hashed."""
