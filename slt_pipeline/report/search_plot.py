"""What a search has tried: the score of every run over the values of each key."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_pipeline.report.figure import DEV_COLOUR, GREY, TRAIN_COLOUR, new_figures, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_IN_A_ROW, _WIDTH, _HEIGHT = 3, 3.6, 3.2
_ASIDE = 0.07  # of the distance of two choices, from run to run, so that equal scores stand beside each other
_PLACES = 5
_LONGEST = 24  # characters of a choice


def plot_search(
    finished: Sequence[Mapping[str, Any]],
    pruned: Sequence[Mapping[str, Any]],
    metric: str,
    lower_is_better: bool,
    logarithmic: Mapping[str, bool],
    importances: Mapping[str, float],
    path: Path,
) -> None:
    """A panel for each key: finished runs filled, pruned ones hollow at their best score until then, the best ringed.

    Args:
        finished: `values` by key and `score` on dev of runs that came to their end.
        pruned: the same of runs that were given up.
        metric: the score's name.
        lower_is_better: whether less of it is better.
        logarithmic: the keys, in their order; whether their numbers are tried by their ratios.
        importances: share of the scores' variance by key; empty: it is not known.
        path: the picture to write; none is written where nothing was scored.
    """
    if not finished:
        return
    best = (min if lower_is_better else max)(finished, key=lambda run: run["score"])
    keys = sorted(logarithmic, key=lambda key: -importances.get(key, 0.0))
    columns = min(_IN_A_ROW, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure, grid = new_figures(_WIDTH * columns, _HEIGHT * rows, rows, columns)
    panels = [axes for row in grid for axes in row]
    for axes, key in zip(panels, keys, strict=False):
        tried = [run["values"][key] for run in (*finished, *pruned)]
        places = _lay_out(axes, tried, logarithmic[key])
        for runs, x, fill, edge in (
            (finished, places[: len(finished)], TRAIN_COLOUR, TRAIN_COLOUR),
            (pruned, places[len(finished) :], "none", GREY),
        ):
            y = [run["score"] for run in runs]
            axes.scatter(x, y, s=28, alpha=0.75, linewidths=1.2, facecolors=fill, edgecolors=edge)
        at = next(place for run, place in zip(finished, places, strict=False) if run is best)
        axes.scatter([at], [best["score"]], s=130, facecolors="none", edgecolors=DEV_COLOUR, linewidths=2)
        share = f"  ({importances[key]:.0%})" if key in importances else ""
        axes.set_title(f"{_tail(key, keys)}{share}", fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel(f"dev {metric}", fontsize=9)
    said = "each dot a run" + (", hollow: pruned, its best until then" if pruned else "") + "; ringed: the best"
    of = "; (%): of the variance of finished runs (fANOVA)" if importances else ""
    figure.supxlabel(f"{said}{of}", fontsize=8, color=GREY)
    save_figure(figure, path)


def _lay_out(axes: "Axes", values: Sequence[Any], logarithmic: bool) -> list[float]:
    """Return the places of values on the axis, and mark it."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        if logarithmic:
            axes.set_xscale("log")
        return [float(value) for value in values]
    names = [str(value) for value in values]
    order = sorted(set(names))
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in order]
    axes.set_xticks(range(len(order)), shown)
    axes.set_xlim(-0.5, len(order) - 0.5)
    seen = dict.fromkeys(order, 0)
    places = []
    for name in names:
        places.append(order.index(name) + _ASIDE * (seen[name] % _PLACES - _PLACES // 2))
        seen[name] += 1
    return places


def _tail(key: str, keys: Sequence[str]) -> str:
    """Return the end of a key, as long as it takes to tell it from the others."""
    parts = key.split(".")
    tails = (".".join(parts[-length:]) for length in range(2, len(parts)))
    return next((tail for tail in tails if sum(other.endswith(f".{tail}") for other in keys) == 1), key)
