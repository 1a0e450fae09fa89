"""Scores of a sweep over the one number that it varies: a curve a split, with its spread over seeds."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_pipeline.report.figure import DEV_COLOUR, OTHER_COLOURS, new_figure, save_figure
from slt_pipeline.report.sweeps import Group, figures_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOG_RANGE = 50  # ratio of largest to smallest value from which the axis is logarithmic, as learning rates need it
_ASIDE = 0.006  # of the axis, from curve to curve
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
    values = [runs[0]["values"][key] for runs in scored]
    splits = list(dict.fromkeys(split for runs in scored for run in runs for split in run.get("scores", ())))
    curves = {
        (of, split): [figures_of(runs, split, "bleu4", of) for runs in scored]
        for of in ("scores", "oracle")
        for split in splits
    }
    curves = {name: found for name, found in curves.items() if any(found)}
    figure, axes = new_figure(7, 4)
    is_log = _mark_values(axes, values)
    for number, ((of, split), found) in enumerate(curves.items()):
        aside = (number - (len(curves) - 1) / 2) * _ASIDE  # bars of equal values stand beside each other
        width = math.log(values[-1] / values[0]) if is_log else values[-1] - values[0]
        axes.errorbar(
            [value * math.exp(aside * width) if is_log else value + aside * width for value in values],
            [statistics.fmean(figures) if figures else math.nan for figures in found],
            yerr=[statistics.stdev(figures) if len(figures) > 1 else math.nan for figures in found],
            color=_colour(split, splits),
            linestyle="--" if of == "oracle" else "-",
            linewidth=2,
            marker="o",
            markersize=5,
            markerfacecolor="white" if of == "oracle" else None,
            capsize=3,
            elinewidth=1.5,
            label=f"{split}, oracle" if of == "oracle" else split,
        )
    axes.set_xlabel(key)
    has_spread = any(len(figures) > 1 for found in curves.values() for figures in found)
    axes.set_ylabel("BLEU-4 (mean ± sd over seeds)" if has_spread else "BLEU-4")
    figure.legend(frameon=False, loc="outside right upper", handlelength=3)
    save_figure(figure, path)


def _colour(split: str, splits: Sequence[str]) -> str:
    others = [name for name in splits if name != "dev"]
    return DEV_COLOUR if split == "dev" else OTHER_COLOURS[others.index(split) % len(OTHER_COLOURS)]


def _mark_values(axes: "Axes", values: Sequence[float]) -> bool:
    """Lay out the axis of the values, in order; return whether it is logarithmic."""
    is_log = values[0] > 0 and values[-1] > _LOG_RANGE * values[0]
    if is_log:
        axes.set_xscale("log")
    elif len(values) <= _MANY_VALUES:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    return is_log
