"""What a training run minimises: a weight for every named part of the loss."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Discriminator, Field, Tag, model_validator

from slt_pipeline.config.base import Config


class Ramp(Config):
    """A weight that rises or falls linearly over optimiser steps and then stays (FACTS 9.4)."""

    to: float = Field(ge=0)
    """Weight from step `over` on."""
    over: int = Field(ge=1)
    """Optimiser step at which the ramp ends; the weight changes by (to - start) / over a step."""
    start: float = Field(default=0.0, ge=0)
    """Weight at step 0."""
    after: int = Field(default=0, ge=0)
    """Optimiser step up to which the weight is `start`. The slope stays that of a ramp from 0, so that a late one jumps
    at its end: as published."""

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> "Ramp":
        if self.after >= self.over:
            raise ValueError(f"after is {self.after} and over {self.over}: the ramp would end before it begins")
        return self


# Told apart before they are read, so that a mistake is named once. A tag's bracket keeps it out of the message.
Weight = Annotated[
    Annotated[float, Field(ge=0), Tag("(number)")] | Annotated[Ramp, Tag("(ramp)")],
    Discriminator(lambda value: "(ramp)" if isinstance(value, Mapping | Ramp) else "(number)"),
]
"""A constant, or a ramp. A part whose weight is 0 throughout is not computed at all."""


def ends_at_zero(weight: float | Ramp) -> bool:
    """Return whether a weight is 0 once its ramp is over."""
    return (weight.to if isinstance(weight, Ramp) else weight) == 0


def is_zero(weight: float | Ramp) -> bool:
    """Return whether a weight is 0 at every step."""
    return weight.to == weight.start == 0 if isinstance(weight, Ramp) else weight == 0


def continued(before: Mapping[str, Weight], changes: Mapping[str, Weight]) -> dict[str, Weight]:
    """Return the weights of a run that goes on from another: what each ramp reached, CTC with 1, then the changes."""
    reached = {name: weight.to if isinstance(weight, Ramp) else weight for name, weight in before.items()}
    return {**reached, "recognition": 1.0, **changes}
