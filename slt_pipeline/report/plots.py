"""Curves of a run: losses and word error rate.

The format follows the file's suffix (.png, .svg, .pdf). Drawn without a display and without matplotlib's global state.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slt_pipeline.errors import SltError
from slt_pipeline.report.figure import DEV_COLOUR, OTHER_COLOURS, TRAIN_COLOUR, new_figure, save_figure
from slt_pipeline.report.timeline import plot_gloss_timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_gloss_timeline", "plot_losses", "plot_wer"]

Record = Mapping[str, object]

_MANY_POINTS = 20  # from here on single training values are drawn faintly, with a running mean over them
_LOG_RANGE = 50  # ratio of largest to smallest loss from which the axis is logarithmic


def plot_losses(records: Iterable[Record], path: Path) -> None:
    """Loss of every split over optimiser steps; training also as a running mean.

    Args:
        records: lines of metrics.jsonl. Those with "loss" are used, at their "step" (failing that "epoch"), by "split"
            ("train" if it is missing).
        path: the picture to write.

    Raises:
        SltError: no record has a loss.
    """
    axis, series = _series(records, "loss", ("step", "epoch"))
    figure, axes = new_figure(7, 4)
    for split, (x, y) in series.items():
        colour = _colour(split, series)
        if split == "train" and len(x) >= _MANY_POINTS:
            axes.plot(x, y, color=colour, alpha=0.3, linewidth=0.8)
            axes.plot(x, _running_mean(y), color=colour, linewidth=2, label="train, running mean")
        else:
            axes.plot(x, y, color=colour, linewidth=2, marker="o", markersize=4, label=split)
    values = np.concatenate([y for _, y in series.values()])
    if values.min() > 0 and values.max() > _LOG_RANGE * values.min():
        axes.set_yscale("log")
    _finish(axes, axis, "loss")
    save_figure(figure, path)


def plot_wer(records: Iterable[Record], path: Path) -> None:
    """Word error rate of every split over epochs, the lowest value marked.

    Args:
        records: lines of metrics.jsonl. Those with "wer" (percent) are used, at their "epoch" (failing that "step"), by
            "split" ("dev" if it is missing).
        path: the picture to write.

    Raises:
        SltError: no record has a word error rate.
    """
    axis, series = _series(records, "wer", ("epoch", "step"), default_split="dev")
    figure, axes = new_figure(7, 4)
    for split, (x, y) in series.items():
        colour = _colour(split, series)
        best = int(y.argmin())
        axes.plot(x, y, color=colour, linewidth=2, marker="o", markersize=4, label=f"{split}, lowest {y[best]:.2f} %")
        axes.plot(x[best], y[best], marker="o", markersize=12, markerfacecolor="none", color=colour)
    axes.set_ylim(0, 1.05 * max(y.max() for _, y in series.values()) or 1)
    _finish(axes, axis, "word error rate (%)")
    save_figure(figure, path)


_Series = dict[str, tuple[np.ndarray, np.ndarray]]


def _series(
    records: Iterable[Record], name: str, axes: tuple[str, str], default_split: str = "train"
) -> tuple[str, _Series]:
    """The key of the x axis that all records with a finite `name` have, and x and y by split."""
    used = [record for record in records if _is_finite(record.get(name))]
    axis = next((key for key in axes if used and all(_is_finite(record.get(key)) for record in used)), None)
    if axis is None:
        missing = f'"{name}"' if not used else f'"{axes[0]}" or "{axes[1]}" with every "{name}"'
        raise SltError(f"nothing to plot: the records have no {missing}; has the run written metrics.jsonl?")
    series = {}
    for split in dict.fromkeys(str(record.get("split", default_split)) for record in used):
        points = [(r[axis], r[name]) for r in used if str(r.get("split", default_split)) == split]
        table = np.array(points, dtype=np.float64)
        series[split] = (table[:, 0], table[:, 1])
    return axis, series


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _colour(split: str, series: _Series) -> str:
    others = [name for name in series if name not in ("train", "dev")]
    if split in others:
        return OTHER_COLOURS[others.index(split) % len(OTHER_COLOURS)]
    return TRAIN_COLOUR if split == "train" else DEV_COLOUR


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Mean of each value and those around it, a twentieth of all; the window shrinks towards both ends."""
    reach = max(1, len(values) // 40)
    sums = np.concatenate([[0], np.cumsum(values)])
    start = np.maximum(np.arange(len(values)) - reach, 0)
    stop = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[stop] - sums[start]) / (stop - start)


def _finish(axes: "Axes", x_label: str, y_label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(frameon=False)
