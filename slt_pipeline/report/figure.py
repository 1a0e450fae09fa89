"""What all pictures share: colours, fonts, saving."""

from pathlib import Path
from typing import TYPE_CHECKING

from slt_pipeline.errors import SltError
from slt_pipeline.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Paul Tol's bright scheme, distinguishable for the colour-blind.
TRAIN_COLOUR, DEV_COLOUR, GREY = "#4477aa", "#ee6677", "#5f5f5f"
OTHER_COLOURS = ("#228833", "#ccbb44", "#aa3377", "#66ccee")

# Tried after the default font, for Chinese glosses.
_CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "PingFang SC",
)
_DOTS_PER_INCH = 130


def new_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure (inches) with one pair of axes: no upper and right border, a light grid."""
    figure, (((axes,),)) = new_figures(width, height, 1, 1)
    return figure, axes


def new_figures(width: float, height: float, rows: int, columns: int) -> "tuple[Figure, list[list[Axes]]]":
    """A figure (inches) with rows of such axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e4e4e4", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, grid.tolist()


def font_families() -> list[str]:
    """The default font and those installed that have Chinese characters, in the order in which glyphs are looked up."""
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return ["DejaVu Sans", *(name for name in _CHINESE_FONTS if name in installed)]


def save_figure(figure: "Figure", path: Path) -> None:
    """Write the figure in the format of the suffix; it appears whole.

    Raises:
        SltError: the suffix is unknown.
    """
    formats = figure.canvas.get_supported_filetypes()
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in formats:
        raise SltError(f"cannot write a picture as {path.name!r}; use one of: {', '.join(sorted(formats))}")
    with replacing(path) as scratch:
        figure.savefig(scratch, format=suffix, facecolor="white")
