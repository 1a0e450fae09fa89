"""What a training run minimises: a weight for every named part of the loss."""

from typing import Annotated

from pydantic import Field

from slt_pipeline.config.base import Config


class Ramp(Config):
    """A weight that rises or falls linearly over optimiser steps and then stays (FACTS 9.4)."""

    to: float = Field(ge=0, allow_inf_nan=False)
    """Weight from step `over` on."""
    over: int = Field(ge=1)
    """Optimiser steps of the ramp."""
    start: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight at step 0."""


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)] | Ramp
"""A constant, or a ramp. A part whose weight is 0 throughout is not computed at all."""
