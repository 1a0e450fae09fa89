"""Scores of a sweep over the one number that it varies: a curve a split, with its spread over seeds."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slt_pipeline.report.figure import DEV_COLOUR, OTHER_COLOURS, new_figure, save_figure
from slt_pipeline.report.sweeps import Group, figures_of

_LOG_RANGE = 50  # ratio of largest to smallest value from which the axis is logarithmic, as learning rates need it
_MANY_VALUES = 10  # up to here each value has its mark on the axis


def is_number(value: Any) -> bool:
    """Whether a value has a place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def plot_sweep(groups: Sequence[Group], key: str, path: Path) -> None:
    """BLEU-4 of every split over the value of `key`; what the posterior decodes is dashed.

    Args:
        groups: runs that differ in their seed alone, of each value; those that failed are left out.
        key: the key that is varied; its values are numbers.
        path: the picture to write; none is written where nothing was scored.
    """
    scored = [runs for runs in groups if any("scores" in run for run in runs)]
    if not scored:
        return
    scored = sorted(scored, key=lambda runs: runs[0]["values"][key])
    splits = list(dict.fromkeys(split for runs in scored for run in runs for split in run.get("scores", ())))
    others = [split for split in splits if split != "dev"]
    figure, axes = new_figure(6.4, 4)
    most = 1
    for of, style in (("oracle", "--"), ("scores", "-")):
        for split in splits:
            points = [(runs[0]["values"][key], figures_of(runs, split, "bleu4", of)) for runs in scored]
            points = [(value, figures) for value, figures in points if figures]
            if not points:
                continue
            most = max(most, *(len(figures) for _, figures in points))
            axes.errorbar(
                [value for value, _ in points],
                [statistics.fmean(figures) for _, figures in points],
                yerr=[statistics.stdev(figures) if len(figures) > 1 else math.nan for _, figures in points],
                color=DEV_COLOUR if split == "dev" else OTHER_COLOURS[others.index(split) % len(OTHER_COLOURS)],
                linestyle=style,
                linewidth=2,
                marker="o",
                markersize=5,
                markerfacecolor="white" if of == "oracle" else None,
                capsize=3,
                elinewidth=1,
                label=f"{split}, oracle" if of == "oracle" else split,
            )
    _mark_values(axes, [runs[0]["values"][key] for runs in scored])
    axes.set_xlabel(key)
    axes.set_ylabel("BLEU-4" if most == 1 else "BLEU-4, mean and standard deviation over seeds")
    axes.legend(frameon=False, loc="best")
    save_figure(figure, path)


def _mark_values(axes: Any, values: Sequence[float]) -> None:
    if min(values) > 0 and max(values) > _LOG_RANGE * min(values):
        axes.set_xscale("log")
    elif len(values) <= _MANY_VALUES:
        axes.set_xticks(values, [f"{value:g}" for value in values])
