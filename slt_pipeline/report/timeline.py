"""Glosses over the frames of a clip.

T: frames. H, W: height and width in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slt_pipeline.errors import SltError
from slt_pipeline.report.figure import GREY, font_families, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Span = tuple[str, float, float]
"""(gloss, start in seconds, end in seconds)"""

# Lengths in inches.
_WIDTH = 11.0  # of the time axis
_BAR, _GAP = 0.26, 0.08
_CHARACTER = 0.09  # about, of a character at the font size
_FONT_SIZE = 9
_SLANT = 40  # degrees, of names that do not fit into their bars
_THUMBNAILS, _TALLEST_STRIP = 12, 1.7
_LEFT, _RIGHT, _AXIS = 0.95, 0.25, 0.5  # margins


def plot_gloss_timeline(
    frames: np.ndarray,
    spans: Sequence[Span],
    reference: Sequence[Span] | None,
    path: Path,
    fps: float = 25.0,
) -> None:
    """Thumbnails over a time axis, with a bar for each recognised gloss above them and each reference gloss below.

    Equal glosses have equal colours; a recognised gloss that the reference does not have is hatched.

    Args:
        frames: (T, H, W, 3) uint8, the whole clip; as many as fit are shown.
        fps: frames a second.
        spans: recognised glosses, each (gloss, start, end) in seconds.
        path: the picture to write.
        reference: the reference's glosses, likewise.

    Raises:
        SltError: frames of another shape or type, or spans that end before they start.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise SltError(f"a timeline needs frames (T, H, W, 3) of uint8, at least 1; got {frames.shape} {frames.dtype}")
    for gloss, start, end in [*spans, *(reference or [])]:
        if not 0 <= start <= end:
            raise SltError(f"gloss {gloss!r} runs from {start} s to {end} s; times rise from 0")
    duration = max([len(frames) / fps, *(end for _, _, end in [*spans, *(reference or [])])])
    strip, strip_height = _strip(frames)
    rows = [_Row("recognised", spans, strip_height + _GAP, 1, duration)]
    if reference is not None:
        rows.append(_Row("reference", reference, -_GAP, -1, duration))
    top, bottom = rows[0].end, min(0.0, rows[-1].end)

    height = top - bottom + _AXIS + 0.1
    figure, axes = new_figure(_LEFT + _WIDTH + _RIGHT, height)
    figure.set_layout_engine("none")
    width = _LEFT + _WIDTH + _RIGHT
    axes.set_position((_LEFT / width, _AXIS / height, _WIDTH / width, (top - bottom) / height))
    axes.imshow(strip, extent=(0, len(frames) / fps, 0, strip_height), aspect="auto", interpolation="lanczos")
    colours = _colours([gloss for row in reversed(rows) for gloss, _, _ in row.spans])
    known = None if reference is None else {gloss for gloss, _, _ in reference}
    for row in rows:
        _draw(axes, row, colours, known)
    axes.set_xlim(0, duration)
    axes.set_ylim(bottom, top)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    axes.set_xlabel("seconds")
    save_figure(figure, path)


def _strip(frames: np.ndarray) -> tuple[np.ndarray, float]:
    """Thumbnails side by side, (H, W * n, 3), and the height in inches that keeps their proportions.

    Each stands in the middle of the stretch of time that it covers.
    """
    height, width = frames.shape[1:3]
    fitting = int(np.ceil(_WIDTH * height / width / _TALLEST_STRIP))
    number = min(len(frames), max(_THUMBNAILS, fitting))
    chosen = ((np.arange(number) + 0.5) * len(frames) / number).astype(int)
    thumbnail_height = _WIDTH / number * height / width
    if thumbnail_height <= _TALLEST_STRIP:
        return np.concatenate(list(frames[chosen]), axis=1), thumbnail_height
    # Too few frames to fill the width: white beside each.
    cell = round(height * _WIDTH / number / _TALLEST_STRIP)
    cells = np.full((number, height, cell, 3), 255, dtype=np.uint8)
    left = (cell - width) // 2
    cells[:, :, left : left + width] = frames[chosen]
    return np.concatenate(list(cells), axis=1), _TALLEST_STRIP


@dataclass(frozen=True, slots=True)
class _Row:
    """Bars on one side of the strip: `direction` 1 grows upwards from `foot`, -1 downwards.

    A name stands in its bar if it fits; else beyond it, level if such names keep clear of each other, else slanted.
    """

    title: str
    spans: Sequence[Span]
    foot: float
    direction: int
    duration: float

    def fits(self, span: Span) -> bool:
        """Whether the name is narrower than its bar."""
        return _name_width(span[0]) <= (span[2] - span[1]) / self.duration * _WIDTH

    @property
    def slanted(self) -> bool:
        """Whether the names that do not fit have to be slanted."""
        outside = sorted((self.position(span), _name_width(span[0])) for span in self.spans if not self.fits(span))
        return any(right - left < (a + b) / 2 for (left, a), (right, b) in pairwise(outside))

    @property
    def end(self) -> float:
        """Where bars and names end."""
        outside = [_name_width(span[0]) for span in self.spans if not self.fits(span)]
        names = 0.0
        if outside:
            names = 0.2 + (float(np.sin(np.radians(_SLANT))) * max(outside) if self.slanted else 0.0)
        return self.foot + self.direction * (_BAR + names)

    def position(self, span: Span) -> float:
        """Middle of a level name, in inches: that of its bar, unless the name would stick out of the axis."""
        gloss, start, end = span
        half = _name_width(gloss) / 2
        return max(half, min((start + end) / 2 / self.duration * _WIDTH, _WIDTH - half))


def _draw(axes: "Axes", row: _Row, colours: dict[str, str], known: set[str] | None) -> None:
    middle, beyond = row.foot + row.direction * _BAR / 2, row.foot + row.direction * (_BAR + 0.05)
    axes.text(-0.008 * row.duration, middle, row.title, ha="right", va="center", fontsize=_FONT_SIZE, color=GREY)
    axes.barh(middle, row.duration, height=_BAR, color="#f1f1f1", zorder=1)
    font = {"fontsize": _FONT_SIZE, "family": font_families()}
    slanted = row.slanted
    for span in row.spans:
        gloss, start, end = span
        axes.barh(
            middle,
            end - start,
            left=start,
            height=_BAR,
            color=colours[gloss],
            edgecolor="white",
            linewidth=0.6,
            hatch="////" if known is not None and gloss not in known else None,
            zorder=2,
        )
        away = "bottom" if row.direction > 0 else "top"
        if row.fits(span):
            axes.text((start + end) / 2, middle, gloss, ha="center", va="center", color="white", **font)
        elif slanted:
            turn = {"rotation": row.direction * _SLANT, "rotation_mode": "anchor"}
            axes.text((start + end) / 2, beyond, gloss, ha="left", va=away, color=colours[gloss], **turn, **font)
        else:
            x = row.position(span) * row.duration / _WIDTH
            axes.text(x, beyond, gloss, ha="center", va=away, color=colours[gloss], **font)


def _colours(glosses: Sequence[str]) -> dict[str, str]:
    """A colour for each gloss; the first ones are far apart, and all are dark enough for white letters."""
    palette = (
        "#4477aa", "#cc3355", "#228833", "#aa3377", "#b8860b", "#117799", "#8c564b", "#5555bb", "#dd6611", "#557755",
        "#884499", "#996633", "#336699", "#bb4466", "#3a8a6e", "#777777",
    )  # fmt: skip
    return {gloss: palette[i % len(palette)] for i, gloss in enumerate(dict.fromkeys(glosses))}


def _name_width(gloss: str) -> float:
    """Inches, with a little room; a Chinese character is as wide as two Latin ones."""
    return _CHARACTER * sum(2 if character >= "\u2e80" else 1 for character in gloss) + 0.08
