"""How far a translation can be trusted: its expected quality, and what in the video is unlike training."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from slt_pipeline.config.provenance import differences, flatten
from slt_pipeline.config.taps import STREAMS, Stream
from slt_pipeline.config.translator import GenerationConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import json_line, read_json, text_hash, write_json
from slt_pipeline.models.measures import Density, Likeness, gloss_measures

CONFIDENCE_FILE = "confidence.json"
LOG_PROBABILITY = "log-probability"
VERSION = 1
"""Raised by hand when the same clip would be measured otherwise than before."""
_DIGEST, _ROUNDING = "digest", 1e-6
UNLIKE = "unlike anything in the training data"

log = logging.getLogger(__name__)


class Judged(NamedTuple):
    """What is said of one translated clip."""

    confidence: float
    """Expected sentence chrF / 100, in [0, 1]."""
    warnings: list[str]


@dataclass(frozen=True)
class Limit:
    """Within what a measure lies in clips that the translator knows, and where a clip is unlike them."""

    clips: int
    least: float
    most: float
    below: float | None
    """A smaller value is unlike them; None: none is."""
    above: float | None
    """A larger one is."""

    def warning(self, name: str, value: float) -> str | None:
        """Return what is to be said of a clip with that value; None: nothing."""
        if not math.isfinite(value):
            return f"{UNLIKE}: {name} is no number"
        if self.above is not None and value > self.above:
            return f"{UNLIKE}: {name} {value:.3g}, {self.most:.3g} is the most in {self.clips} clips"
        if self.below is not None and value < self.below:
            return f"{UNLIKE}: {name} {value:.3g}, {self.least:.3g} is the least in {self.clips} clips"
        return None


@dataclass(frozen=True)
class Term:
    """What one measure says of the quality: nothing, or the less (sign -1) or more (1) the larger it is."""

    centre: float
    scale: float
    sign: int
    weight: float
    """Not negative: more of a measure never changes the quality in another direction than its sign says."""

    def __post_init__(self) -> None:
        """Refuse what nothing can be told by.

        Raises:
            ValueError: it is no number, or there is no scale.
        """
        if not all(map(math.isfinite, (self.centre, self.weight, self.sign))) or not 0 < self.scale < math.inf:
            raise ValueError(f"{self} is no term")

    def of(self, value: float) -> float:
        """Return what it adds to the quality of a clip."""
        return self.weight * self.sign * (value - self.centre) / self.scale


@dataclass(frozen=True)
class Confidence:
    """What was fitted to one translator: the quality that its measures promise, and the limits of what it knows."""

    fitted_to: Mapping[str, Any]
    """What it holds for: `fitted_to`."""
    clips: Mapping[str, int]
    """By split."""
    looks: Stream
    """The stream that tells what the pictures look like."""
    reads: Stream
    """The stream that the translator reads."""
    mean_quality: float
    """Of the dev clips."""
    chance: float
    """Quality of the dev translations beside the references of other clips."""
    terms: Mapping[str, Term]
    limits: Mapping[str, Limit]
    likeness: Likeness

    def __post_init__(self) -> None:
        """Refuse what nothing can be told by.

        Raises:
            ValueError: a quality is none, or a stream is not one.
        """
        if not all(-_ROUNDING <= quality <= 1 + _ROUNDING for quality in (self.mean_quality, self.chance)):
            raise ValueError(f"the qualities {self.mean_quality} and {self.chance} are not in [0, 1]")
        if not {self.looks, self.reads} <= {*STREAMS}:
            raise ValueError(f"{self.looks} and {self.reads} are not both streams")

    def measures(self, log_probability: float, gloss_logits: Tensor, streams: Mapping[str, Tensor]) -> dict[str, float]:
        """Return all measures of a clip.

        Args:
            log_probability: of the best text, by its length.
            gloss_logits: (S, K).
            streams: (S, D) each.
        """
        looks, reads = (streams[name].cpu() for name in (self.looks, self.reads))
        glosses = gloss_measures(gloss_logits)
        return {LOG_PROBABILITY: log_probability, **glosses, **self.likeness.measures(looks, reads)}

    def of(self, measures: Mapping[str, float]) -> Judged:
        """Return what is said of a clip with these measures.

        What is unlike training has no more than the quality of a text that says nothing of its clip.
        """
        known = self.mean_quality + sum(term.of(measures[name]) for name, term in self.terms.items())
        told = [limit.warning(name, measures[name]) for name, limit in self.limits.items() if name in measures]
        warnings = [warning for warning in told if warning]
        quality = self.chance if warnings and not known <= self.chance else known  # which may be no number
        return Judged(round(min(1.0, max(0.0, quality)), 4), warnings)

    def save(self, folder: Path) -> None:
        """Write it into a run folder."""
        densities = {name: getattr(self.likeness, name).as_numbers() for name in ("clips", "looks", "reads")}
        data = {"version": VERSION, **asdict(self), "fitted_to": flatten(self.fitted_to), "likeness": densities}
        write_json(folder / CONFIDENCE_FILE, {**data, _DIGEST: text_hash(json_line(data))})

    @classmethod
    def open(cls, folder: Path, holds_for: Mapping[str, Any]) -> "Confidence | None":
        """Open what was fitted to a run; None, and a word about it, where there is nothing that holds.

        Args:
            folder: the run's.
            holds_for: what it has to hold for: `fitted_to`.

        Raises:
            SltError: the file is damaged.
        """
        path, cure = folder / CONFIDENCE_FILE, f"`slt confidence --run {folder}`"
        if not path.is_file():
            log.warning("confidence is null: %s has no %s; %s writes it", folder, CONFIDENCE_FILE, cure)
            return None
        try:
            data = read_json(path)
        except SltError as error:
            raise SltError(f"{path} is damaged ({error.__cause__ or error!r}); fit it anew with {cure}") from error
        try:
            if other := differences(
                {"version": data["version"], **data["fitted_to"]}, {"version": VERSION, **holds_for}
            ):
                key, was, now = other[0]
                log.warning(
                    "confidence is null: %s was fitted with %s = %r, and now it is %r; fit it anew with %s "
                    "and the same options",
                    *(path, key, was, now, cure),
                )
                return None
            rest = {name: value for name, value in data.items() if name != _DIGEST}
            if data.get(_DIGEST, found := text_hash(json_line(rest))) != found:  # an earlier version wrote none
                raise ValueError("its numbers are not those that were fitted")
            terms = {name: Term(**term) for name, term in data["terms"].items()}
            limits = {name: Limit(**limit) for name, limit in data["limits"].items()}
            likeness = Likeness(**{name: Density.of_numbers(each) for name, each in data["likeness"].items()})
            rest = {name: data[name] for name in ("fitted_to", "clips", "looks", "reads", "mean_quality", "chance")}
            return cls(**rest, terms=terms, limits=limits, likeness=likeness)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SltError(f"{path} is damaged ({error!r}); fit it anew with {cure}") from None


def fitted_to(translator: str, encoder: str | None, generation: GenerationConfig) -> dict[str, Any]:
    """Return what a confidence holds for; a section as it is, so that a key that an older file lacks has its default.

    Args:
        translator: hash of the weights that write the texts.
        encoder: of those that make the features; None: of imported ones nobody knows it.
        generation: the search.
    """
    return {"translator": translator, "encoder": encoder, "generation": generation}
