"""What a search tries next and what it gives up: Optuna's sampler and pruner, told what lies in the search's folder.

There is no state beside the sweep's own: `results.jsonl` has every run that was begun, a run's `metrics.jsonl` its
scores on dev. What is proposed as run k follows from the recipe's seed, k, and the rows before it.
"""

import itertools
import json
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_pipeline.config.names import LOWER_IS_BETTER
from slt_pipeline.config.search import SearchConfig, SpaceConfig
from slt_pipeline.files import read_json_lines, text_hash

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

RESULTS_FILE = "results.jsonl"
"""A sweep's journal: a row for each run."""
BEGUN, _CLOCK = "begun", "clock"
"""Keys of a row: when a run that has not ended was begun, and the seconds of the search when the row was written."""
_DRAWS = 20
"""Proposals in a row that were tried before, after which one that was not is drawn at random."""
_ENOUGH = 10
"""Finished runs from which on it is said what each key explains of their scores."""
log = logging.getLogger(__name__)

Row = Mapping[str, Any]


class Search:
    """A search as its journal has it: the rows of its runs, ended or begun."""

    def __init__(
        self, config: SearchConfig, metric: str, folder: Path, seed: int, rows: Callable[[], list[dict[str, Any]]]
    ):
        """Read how long it took so far.

        Args:
            config: what it may try, and when it ends.
            metric: score on dev that is to be made better.
            folder: the sweep's; a run's own lies below it.
            seed: of its proposals.
            rows: gives the rows of its runs, in the order in which they were begun.
        """
        self.config, self.metric, self.folder, self.seed, self._rows = config, metric, folder, seed, rows
        self._spent = max((_spent(folder, row) for row in rows()), default=0.0)
        self._since = time.monotonic()
        self._running: set[int] = set()

    def seconds(self) -> float:
        """Return the seconds on the wall that it took so far, over restarts."""
        return self._spent + time.monotonic() - self._since

    def next(self) -> tuple[int, dict[str, Any]] | None:
        """Number and values of the run to begin: one that was begun and did not end, else a new one.

        None: the budget is spent, or all that can be tried was.
        """
        rows = self._rows()
        left = [row for row in rows if BEGUN in row and row["number"] not in self._running]
        if left:
            number, values = left[0]["number"], left[0]["values"]
        else:
            number = 1 + max((row["number"] for row in rows), default=0)
            if self._is_spent(number):
                return None
            found = propose(self.config, rows, self.seed, number, self.metric)
            if found is None:
                return None
            values = found
        self._running.add(number)
        return number, values

    def mark(self) -> dict[str, float]:
        """Return what the row of a run says as it begins."""
        return {BEGUN: time.time(), **self.clock()}

    def clock(self) -> dict[str, float]:
        """Return what the row of a run says as it ends: how long the search took so far."""
        return {_CLOCK: self.seconds()}

    def progress(self, number: int) -> str:
        """Return where it stands as a run begins, in words."""
        of = f" of {self.config.runs}" if self.config.runs else ""
        parts = [f"run {number}{of}"]
        if (best := best_row(self._rows(), self.metric)) is not None:
            parts.append(f"best so far {self.metric} {_score(best, self.metric):.2f} of run {best['number']}")
        if self.config.hours:
            parts.append(f"{_hours(3600 * self.config.hours - self.seconds())} left")
        return ", ".join(parts)

    def ending(self) -> str:
        """Return why no run is begun any more, in words."""
        tried, spent = len(self._rows()), _hours(self.seconds())
        if self._is_spent(1 + max((row["number"] for row in self._rows()), default=0)):
            return f"the budget is spent: {tried} runs, {spent}"
        return f"all {tried} combinations are tried, in {spent}"

    def _is_spent(self, number: int) -> bool:
        runs, hours = self.config.runs, self.config.hours
        return bool((runs and number > runs) or (hours and self.seconds() >= 3600 * hours))


@dataclass(frozen=True)
class Pruning:
    """Whether a run is worth going on with, asked of it after a validation: plain data, for a process of its own."""

    search: SearchConfig
    metric: str
    sweep: Path
    """Folder of the search, with its journal."""
    run: Path
    """Folder of the run."""

    def __call__(self) -> bool:
        """Whether its best score is below the median of finished runs at this epoch."""
        mine, rows = curve(self.run, self.metric), read_json_lines(self.sweep / RESULTS_FILE)
        others = [self.sweep / row["folder"] for row in rows if "scores" in row and "folder" in row]
        curves = [found for folder in others if folder != self.run and (found := curve(folder, self.metric))]
        startup = self.search.startup
        if not mine or len(curves) < startup:
            return False
        with _optuna() as optuna:
            pruner = optuna.pruners.MedianPruner(startup, self.search.prune_after, n_min_trials=startup)
            study = _study(self.metric)
            states = optuna.trial.TrialState
            create = optuna.trial.create_trial
            study.add_trials([create(state=states.COMPLETE, value=0.0, intermediate_values=found) for found in curves])
            return pruner.prune(study, create(state=states.RUNNING, intermediate_values=mine))


def curve(folder: Path, metric: str) -> dict[int, float]:
    """Return a run's score on dev by epoch, of every validation so far."""
    records = read_json_lines(folder / "metrics.jsonl")
    return {record["epoch"]: record[metric] for record in records if record.get("split") == "dev" and metric in record}


def best_until(folder: Path, metric: str) -> dict[str, dict[str, float]]:
    """Return the best score of a run's validations, as the scores of a run are laid out; nothing without one."""
    found = curve(folder, metric).values()
    return {"dev": {metric: (min if metric in LOWER_IS_BETTER else max)(found)}} if found else {}


def best_row(rows: Sequence[Row], metric: str) -> Row | None:
    """Return the finished run that is best on dev; None: none is finished."""
    scored = [row for row in rows if _score(row, metric) is not None]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return max(scored, key=lambda row: sign * (_score(row, metric) or 0.0), default=None)


def propose(search: SearchConfig, rows: Sequence[Row], seed: int, number: int, metric: str) -> dict[str, Any] | None:
    """Return values that none of the rows has; None: all combinations were tried.

    Args:
        search: what may be tried.
        rows: runs so far; those that have not ended count as bad, so that no other goes where they are.
        seed: of all proposals.
        number: of the run: with the same rows before it, it gets the same values.
        metric: score on dev that is to be made better.
    """
    tried = {_said(row["values"]) for row in rows}
    with _optuna() as optuna:
        spaces = {key: _distribution(space) for key, space in search.keys.items()}
        sampler = optuna.samplers.TPESampler(seed=_draw(seed, number), n_startup_trials=search.startup)
        study = _study(metric, sampler)
        study.add_trials([trial for row in rows if (trial := _trial(row, search, spaces, metric)) is not None])
        for _ in range(_DRAWS):
            values = _values(search, study.ask(spaces).params)
            if _said(values) not in tried:
                return values
    return _untried(search, tried, random.Random(_draw(seed, number)))


def importances(search: SearchConfig, rows: Sequence[Row], metric: str) -> dict[str, float]:
    """Return how much of the variance of finished runs' scores each key explains, most first.

    By functional ANOVA (Hutter, Hoos and Leyton-Brown 2014). Nothing where few are finished, or all scored alike.
    """
    with _optuna() as optuna:
        spaces = {key: _distribution(space) for key, space in search.keys.items()}
        trials = [trial for row in rows if (trial := _trial(row, search, spaces, metric)) is not None]
        trials = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
        if len(spaces) == 1 or len(trials) < _ENOUGH or len({trial.value for trial in trials}) == 1:
            return {}
        study = _study(metric)
        study.add_trials(trials)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in found.items()}


def _untried(search: SearchConfig, tried: set[str], draw: random.Random) -> dict[str, Any] | None:
    """Return a combination at random that was not tried."""
    if search.size is None:
        return None
    listed = [space.listed or [] for space in search.keys.values()]
    every = (dict(zip(search.keys, chosen, strict=True)) for chosen in itertools.product(*listed))
    left = [values for values in every if _said(values) not in tried]
    return draw.choice(left) if left else None


def _distribution(space: SpaceConfig) -> "BaseDistribution":
    """Return a space as Optuna has it; choices by their place, since it takes no lists and mappings."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if space.choices is not None:
        return CategoricalDistribution(range(len(space.choices)))
    assert space.low is not None and space.high is not None
    if space.is_whole:
        return IntDistribution(int(space.low), int(space.high), log=space.log, step=int(space.step or 1))
    return FloatDistribution(space.low, space.high, log=space.log, step=space.step)


def _values(search: SearchConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Optuna proposes as values of the recipe, in the order of the search's keys."""
    return {
        key: space.rounded(params[key]) if space.choices is None else space.choices[params[key]]
        for key, space in search.keys.items()
    }


def _trial(row: Row, search: SearchConfig, spaces: "dict[str, BaseDistribution]", metric: str) -> "FrozenTrial | None":
    """Return a row as Optuna has it; None: it has no score to learn from, or is of another space."""
    from optuna.trial import TrialState, create_trial

    values = row["values"]
    if values.keys() != spaces.keys() or not all(space.has(values[key]) for key, space in search.keys.items()):
        return None
    params = {
        key: values[key] if space.choices is None else [*map(_said, space.choices)].index(_said(values[key]))
        for key, space in search.keys.items()
    }
    until, value = row.get("until_then", {}).get("dev", {}).get(metric), _score(row, metric)
    given: dict[str, Any] = {"params": params, "distributions": spaces}
    if BEGUN in row:
        return create_trial(state=TrialState.RUNNING, **given)
    if value is not None:
        return create_trial(state=TrialState.COMPLETE, value=value, **given)
    if until is not None:
        return create_trial(state=TrialState.PRUNED, intermediate_values={row["pruned_at"]: until}, **given)
    return None


def _study(metric: str, sampler: Any = None) -> "optuna.Study":
    import optuna

    direction = "minimize" if metric in LOWER_IS_BETTER else "maximize"
    return optuna.create_study(direction=direction, sampler=sampler)  # in memory: the journal is what is kept


@contextmanager
def _optuna() -> Iterator[Any]:
    """Import Optuna where it is used, let it log as we do, and keep to itself that parts of it may change."""
    import optuna

    logger = logging.getLogger("optuna")
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(logging.WARNING)
    if not any(isinstance(handler, _ToOurs) for handler in logger.handlers):
        logger.addHandler(_ToOurs())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield optuna


class _ToOurs(logging.Handler):
    """Hands on what Optuna has to say."""

    def emit(self, record: logging.LogRecord) -> None:
        log.handle(record)


def _score(row: Row, metric: str) -> float | None:
    return row.get("scores", {}).get("dev", {}).get(metric)


def _spent(folder: Path, row: Row) -> float:
    """Return the search's seconds by the last sign of life of a row's run."""
    lived = folder / row["folder"] / "metrics.jsonl"
    if BEGUN not in row or not lived.is_file():
        return row.get(_CLOCK, 0.0)
    return row[_CLOCK] + max(0.0, lived.stat().st_mtime - row[BEGUN])


def _draw(seed: int, number: int) -> int:
    return int(text_hash(f"{seed}/{number}")[:8], 16)


def _said(values: Any) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


def _hours(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60:02d} min"
