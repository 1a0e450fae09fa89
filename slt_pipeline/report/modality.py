"""Pictures of signs and texts in mBART's encoder: the gap between them, what it costs, and where both lie."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_pipeline.report.figure import DEV_COLOUR, GREY, OTHER_COLOURS, TRAIN_COLOUR, new_figures, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]

_COLOURS = (TRAIN_COLOUR, DEV_COLOUR, *OTHER_COLOURS)
_MARKERS, _DASHES = ("o", "s", "^", "D", "v", "P", "X"), ("-", "--", ":")
_MOST_PANELS = 7  # in a row; of more layers as many are shown, evenly spread, with the first and the last
_PANEL = 2.1  # inches
_WIDE_NAME = 50  # characters, of names that leave no room for a second column of the legend
_MODALITIES = {"signs": (TRAIN_COLOUR, "o"), "text": (DEV_COLOUR, "^")}


def plot_modality_gap(layers: Sequence[Record], parts: Sequence[Record], split: str, path: Path) -> None:
    """The mean gap after each layer, and beside it BLEU of the clips sorted by their gap after the last.

    Args:
        layers: rows with "run", "layer" and "gap", layers in order.
        parts: rows with "run", "part", "clips" and "bleu4", smallest gap first.
        split: whose clips they are.
        path: the picture to write.
    """
    runs = list(dict.fromkeys(row["run"] for row in layers))
    columns = 1 if max(map(len, runs)) > _WIDE_NAME else min(2, len(runs))
    figure, ((left, right),) = new_figures(10, 4 + 0.22 * -(-len(runs) // columns), 1, 2)
    for number, run in enumerate(runs):
        look = _look(number)
        _line(left, [(row["layer"], row["gap"]) for row in layers if row["run"] == run], run, look)
        _line(right, [(row["part"], row["bleu4"]) for row in parts if row["run"] == run], run, look)
    names = list(dict.fromkeys(row["layer"] for row in layers))
    left.set_xticks(range(len(names)))
    left.set(title=f"Gap of signs and text, {split}", ylabel="L2 distance, mean over clips")
    left.set_xlabel("layer of mBART's encoder, 0 is the embedding")
    numbers = list(dict.fromkeys(row["part"] for row in parts))
    ends = {0: "\nsmallest gap", len(numbers) - 1: "\nlargest gap"}
    right.set_xticks(range(len(numbers)), [f"{number}{ends.get(i, '')}" for i, number in enumerate(numbers)])
    right.set(
        title=f"Translation by gap, {split}", xlabel="clips sorted by their gap after the last layer, in equal parts"
    )
    right.set_ylabel("BLEU-4 of the part (%)")
    left.set_ylim(0, 1.08 * max(row["gap"] for row in layers) or 1)
    right.set_ylim(0, 1.08 * max(row["bleu4"] for row in parts) or 1)
    _legend(figure, left, "outside lower center", columns)
    save_figure(figure, path)


def plot_embedding(points: Sequence[Record], split: str, path: Path) -> None:
    """A row of panels a run, a panel a layer: sentences as signs and as texts.

    Args:
        points: rows with "run", "layer", "modality" (signs, text), "x" and "y"; layers in order.
        split: whose clips they are.
        path: the picture to write.
    """
    panels: dict[str, dict[str, list[Record]]] = {}
    for point in points:
        panels.setdefault(point["run"], {}).setdefault(point["layer"], []).append(point)
    columns = min(_MOST_PANELS, max(map(len, panels.values())))
    figure, grid = new_figures(
        max(5.0, _PANEL * columns + 0.4), (_PANEL + 0.35) * len(panels) + 0.5, len(panels), columns
    )
    for row, (run, layers) in zip(grid, panels.items(), strict=True):
        for axes, name in zip(row, _spread(list(layers), columns), strict=False):
            for modality, (colour, marker) in _MODALITIES.items():
                own = [point for point in layers[name] if point["modality"] == modality]
                axes.scatter(
                    [point["x"] for point in own],
                    [point["y"] for point in own],
                    s=14, marker=marker, color=colour, alpha=0.7, linewidths=0, label=modality,
                )  # fmt: skip
            axes.set_title(name, fontsize=10)
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.spines[["top", "right"]].set_visible(True)
            axes.spines[:].set_color("#c8c8c8")
            axes.set_visible(bool(axes.collections))
        row[0].set_ylabel(_wrapped(run), fontsize=10)
    figure.supxlabel(f"clips of {split}; t-SNE of each panel alone: axes have no unit", fontsize=9, color=GREY)
    _legend(figure, grid[0][0], "outside upper center", len(_MODALITIES))
    save_figure(figure, path)


def _line(axes: "Axes", points: Sequence[tuple[Any, float]], run: str, look: Mapping[str, Any]) -> None:
    axes.plot(range(len(points)), [y for _, y in points], label=run, linewidth=2, markersize=6, **look)


def _look(number: int) -> dict[str, str]:
    """Colour, marker and dashes of a run: together different for many runs, and told apart without colour."""
    dashes = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": dashes,
    }


def _legend(figure: "Figure", axes: "Axes", where: Any, columns: int) -> None:
    """Put one legend for all panels beside them."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc=where, ncols=columns, frameon=False, markerscale=1.3)


def _spread(names: Sequence[str], number: int) -> list[str]:
    """As many of the names as there is room for, evenly spread, with the first and the last."""
    if len(names) <= number:
        return list(names)
    return [names[round(i * (len(names) - 1) / (number - 1))] for i in range(number)]


def _wrapped(name: str) -> str:
    """A name on lines that are as long as a panel is high."""
    from textwrap import fill

    return fill(name, width=26)
