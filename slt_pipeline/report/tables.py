"""Rows of results as aligned text, as Markdown, as LaTeX and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from unicodedata import east_asian_width

from slt_pipeline.errors import SltError

_MISSING = "-"
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
}

Row = Mapping[str, object]
Columns = Sequence[str] | Mapping[str, str]
Decimals = int | Mapping[str, int]


def text_table(rows: Sequence[Row], columns: Columns | None = None, decimals: Decimals = 2) -> str:
    """A table for the terminal: two spaces between columns, a rule under the heading, numbers to the right.

    Args:
        rows: key -> value; a missing value or None becomes "-".
        columns: keys in order, or key -> heading; by default every key in order of first appearance. Columns that no
            row has are left out.
        decimals: places of floats, of all columns or by key; 2 where a key is not named.
    """
    headings, cells, is_number = _cells(rows, columns, decimals)
    widths = [max(map(_width, column)) for column in zip(headings, *cells, strict=True)]
    lines = [headings, ["-" * width for width in widths], *cells]
    padded = (
        [_pad(cell, width, right) for cell, width, right in zip(line, widths, is_number, strict=True)] for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def markdown_table(rows: Sequence[Row], columns: Columns | None = None, decimals: Decimals = 2) -> str:
    """The same table in Markdown, aligned in the source as well; `|` and line ends in cells are made harmless."""
    headings, cells, is_number = _cells(rows, columns, decimals)
    headings, cells = [_escape(h) for h in headings], [[_escape(cell) for cell in line] for line in cells]
    widths = [max(3, *map(_width, column)) for column in zip(headings, *cells, strict=True)]
    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, is_number, strict=True)]
    padded = (
        [_pad(cell, width, right) for cell, width, right in zip(line, widths, is_number, strict=True)]
        for line in [headings, rule, *cells]
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def latex_table(rows: Sequence[Row], columns: Columns | None = None, decimals: Decimals = 2) -> str:
    """The same table as a `tabular` of the package booktabs; what LaTeX would read as a command stands as it is."""
    headings, cells, is_number = _cells(rows, columns, decimals)
    lines = [" & ".join(map(_latex, line)) + r" \\" for line in (headings, *cells)]
    aligned = "".join("r" if right else "l" for right in is_number)
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            rf"\begin{{tabular}}{{{aligned}}}",
            *(r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"),
            r"\end{tabular}",
            "",
        ]
    )


def csv_table(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """The rows as CSV in full precision, a heading first: the keys in order of first appearance, None left empty."""
    text = io.StringIO()
    keys = columns or list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, keys, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cells(
    rows: Sequence[Row], columns: Columns | None, decimals: Decimals
) -> tuple[list[str], list[list[str]], list[bool]]:
    """Headings, formatted cells, and whether a column holds numbers only."""
    present = list(dict.fromkeys(key for row in rows for key in row))
    headings_by_key = dict(columns) if isinstance(columns, Mapping) else {key: key for key in columns or present}
    keys = [key for key in headings_by_key if key in present]
    if not keys:
        raise SltError(f"no columns to show: {len(rows)} rows with {len(present)} keys; check what was scored")
    headings = [headings_by_key[key] for key in keys]
    values = [[row.get(key) for key in keys] for row in rows]
    is_number = [
        any(value is not None for value in column) and all(value is None or _is_number(value) for value in column)
        for column in zip(*values, strict=True)
    ]
    places = [decimals if isinstance(decimals, int) else decimals.get(key, 2) for key in keys]
    return headings, [list(map(_format, line, places)) for line in values], is_number


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _format(value: object, decimals: int) -> str:
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _escape(cell: str) -> str:
    return " ".join(cell.split("\n")).replace("|", "\\|")


def _latex(cell: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(cell.split("\n")))


def _width(text: str) -> int:
    """Terminal columns: Chinese characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
