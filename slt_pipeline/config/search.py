"""What a search may try by key, and when it has tried enough."""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from slt_pipeline.config.base import Config

_MOST = 10_000
"""Values of a key, or combinations of them, up to which they are listed."""


def _number(value: Any) -> Any:
    if isinstance(value, int | float):
        return value
    raise ValueError("Input should be a number")


Number = Annotated[int | float, BeforeValidator(_number)]


def refuse_twice(name: str, values: Sequence[Any]) -> None:
    """Refuse a list of what runs are to have, in which one is there twice; 0 and 0.0 are one.

    Raises:
        ValueError: it has one twice.
    """
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ValueError(f"{name} lists {value} twice: the same run")


class SpaceConfig(Config):
    """The values that one key may have: `choices`, or the numbers from `low` to `high`."""

    choices: tuple[Any, ...] | None = Field(default=None, min_length=2)
    """Values without an order between them."""
    low: Number | None = None
    """Smallest number. Where `low`, `high` and `step` are whole, so is what is tried: 1.0 is not."""
    high: Number | None = None
    """Largest number."""
    step: Number | None = Field(default=None, gt=0)
    """Distance between numbers; None: 1 of whole numbers, and any other."""
    log: bool = False
    """Whether numbers are tried by their ratios, as rates are: as many below 1e-3 as above it, from 1e-4 to 1e-2."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> "SpaceConfig":
        numbers = {"low": self.low, "high": self.high}
        if self.choices is not None:
            if self.step is not None or self.log or any(value is not None for value in numbers.values()):
                raise ValueError("choices stand alone: low, high, step and log are of numbers; leave one kind out")
            refuse_twice("choices", self.choices)
        elif missing := [name for name, value in numbers.items() if value is None]:
            raise ValueError(f"no {missing[0]}; give low and high, or choices: [...]")
        return self

    @model_validator(mode="after")
    def _is_a_range(self) -> "SpaceConfig":
        if self.low is None or self.high is None:
            return self
        if self.low >= self.high:
            raise ValueError(f"low is {self.low} and high {self.high}; the second has to be larger")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}, which has no logarithm; raise it, or leave log out")
        if self.log and self.step is not None:
            raise ValueError(f"step is {self.step}, and with log there are no equal steps; leave one of them out")
        steps = (self.high - self.low) / (self.step or 1)
        if self.step is not None and not math.isclose(steps, round(steps), abs_tol=1e-8):
            last = _plain(self.low + math.floor(steps) * self.step)
            raise ValueError(
                f"no number of steps of {self.step} leads from low {self.low} to high {self.high}; set high={last}"
            )
        return self

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return all(isinstance(value, int) for value in (self.low, self.high, 1 if self.step is None else self.step))

    @property
    def listed(self) -> list[Any] | None:
        """Every value, where they can be counted."""
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None and self.high is not None
        step = 1 if self.is_whole and self.step is None else self.step
        if step is None or (self.high - self.low) / step >= _MOST:
            return None
        return [self.rounded(self.low + number * step) for number in range(round((self.high - self.low) / step) + 1)]

    @property
    def probes(self) -> list[Any]:
        """Values that say whether others can be: of numbers those at the ends and, where any is tried, one between."""
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None and self.high is not None
        between = [] if self.is_whole or self.step is not None else [self.low + 0.382 * (self.high - self.low)]
        return [self.rounded(value) for value in (self.low, *between, self.high)]

    def has(self, value: Any) -> bool:
        """Return whether a value is one of these."""
        if self.choices is not None:
            said = json.dumps(value, sort_keys=True)
            return any(json.dumps(choice, sort_keys=True) == said for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None and self.high is not None
        return value in (self.listed or [value]) and self.low <= value <= self.high

    def rounded(self, value: float) -> float:
        """Return a number of the range as it is tried: whole, or with as many digits as a person would type."""
        assert self.low is not None and self.high is not None
        if self.is_whole:
            return round(value)
        short = _plain(value) if self.step is not None else float(f"{value:.4g}")
        return min(max(short, float(self.low)), float(self.high))


class SearchConfig(Config):
    """A search: each run tries what the scores on dev of those before it make likely to be better."""

    keys: dict[str, SpaceConfig] = Field(default={})
    """What may be tried, by key of the recipe."""
    runs: int | None = Field(default=None, ge=1)
    """Most runs, those before a restart with them."""
    hours: float | None = Field(default=None, gt=0)
    """Hours on the wall, over restarts, after which no run begins; those that have begun are ended."""
    startup: int = Field(default=8, ge=1)
    """Runs that are drawn at random before scores decide, and that have to be finished before one is pruned."""
    prune: bool = True
    """Give up a run after a validation whose score, the best that it has had, is below the median of finished runs at
    that epoch."""
    prune_after: int = Field(default=0, ge=0)
    """Epochs that a run has before it may be pruned: low rates learn late, and may be best in the end."""

    @model_validator(mode="after")
    def _begins_and_ends(self) -> "SearchConfig":
        if not self.keys:
            raise ValueError("keys is empty; give what may be tried, by key of the recipe")
        if self.runs is None and self.hours is None:
            raise ValueError("it has no end; give runs, hours or both")
        return self

    @property
    def is_random(self) -> bool:
        """Whether its runs are spent before scores decide what is tried, or that one is pruned."""
        return self.runs is not None and self.startup >= self.runs

    @property
    def size(self) -> int | None:
        """Number of combinations; None: more than can be listed."""
        listed = [space.listed for space in self.keys.values()]
        size = math.prod(len(values or ()) for values in listed)
        return size if None not in listed and size <= _MOST else None


def _plain(value: float) -> float:
    return float(f"{value:.10g}")
