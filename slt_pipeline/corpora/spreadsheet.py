"""Rows of a CSV or TSV file as spreadsheets and scripts write them, by the names in its first line."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from slt_pipeline.errors import SltError
from slt_pipeline.text.normalise import nfc

_DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How Excel's and LibreOffice's own files begin: those of today are zips."""
_LINES_OF_A_ROW = 100
"""A quote that is not closed in so many lines is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, which may be more than a line where cells are quoted."""

    line: int
    """Its first line in the file, from 1."""
    cells: tuple[str, ...]
    """As many as there are columns, with no white space around them; those at the end that the row lacks are empty."""
    wrong: str | None = None
    """Why it is none."""


@dataclass(frozen=True, slots=True)
class Spreadsheet:
    """A table whose first row names its columns."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    """Without those that are empty."""

    def column(self, name: str) -> int:
        """Return the place of a column; capitals matter only where two names differ by nothing else.

        Raises:
            SltError: there is none of this name, or more than one; those that there are are named.
        """
        wanted = nfc(name).strip()
        found = [place for place, known in enumerate(self.columns) if known == wanted]
        found = found or [place for place, known in enumerate(self.columns) if known.casefold() == wanted.casefold()]
        if len(found) > 1:
            places = " and ".join(str(place + 1) for place in found)
            raise SltError(f"{self.path}: column {name!r} is there {len(found)} times, as {places}; rename one")
        if not found:
            known = ", ".join(column for column in self.columns if column)
            raise SltError(f"{self.path}: no column {name!r}; the first line names {known or 'none'}")
        return found[0]

    def holds(self, name: str) -> bool:
        """Say whether there is a column of this name, in whatever capitals."""
        return nfc(name).strip().casefold() in map(str.casefold, self.columns)


def read_spreadsheet(
    path: Path,
    *,
    delimiter: str | None = None,
    quoted: bool = True,
    encoding: str | None = None,
    wanted: Sequence[str] = (),
    or_else: str = "",
) -> Spreadsheet:
    """Read a table. A row that is none says so, and ends nothing.

    Args:
        path: UTF-8 or UTF-16, with or without a byte order mark. A first line `sep=;`, as Excel reads it, is obeyed.
        delimiter: between cells; None: that of tab, semicolon, comma and pipe that makes the most of the first line.
        quoted: whether `"` around a cell hides delimiters and line ends in it.
        encoding: another one, by its Python name.
        wanted: columns that should be there, by which a delimiter is found.
        or_else: what else than saving it anew helps where it is no UTF-8: an option of the command.

    Raises:
        SltError: the file cannot be read as text, is a workbook, or is empty.
    """
    lines = StringIO(_decoded(path, encoding, or_else), newline="").readlines()
    told, skipped = None, 0
    while skipped < len(lines) and not lines[skipped].strip():
        skipped += 1
    if skipped < len(lines) and lines[skipped].lower().startswith("sep="):
        told, skipped = lines[skipped].rstrip("\r\n")[4:5] or None, skipped + 1
    if skipped >= len(lines):
        raise SltError(f"{path}: is empty; its first line should name the columns")
    delimiter = delimiter or told or _sniffed(lines[skipped], wanted)
    rows = _rows(lines, skipped, delimiter, quoted)
    header = next(rows)
    columns = tuple(nfc(" ".join(cell.split())) for cell in header.cells)
    while columns and not columns[-1]:
        columns = columns[:-1]
    return Spreadsheet(
        path, columns, tuple(row for row in _fitted(rows, len(columns), delimiter, quoted) if row is not None)
    )


def delimiter_named(text: str) -> str:
    r"""Return a delimiter from its name or itself; `\t` is a tab.

    Raises:
        SltError: it is more than one character.
    """
    delimiter = _DELIMITERS.get(text.lower(), text.replace("\\t", "\t"))
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise SltError(f"{text!r} is no delimiter; it is one character, or one of {', '.join(_DELIMITERS)}")
    return delimiter


def separator_named(text: str) -> str:
    r"""Return what stands between the glosses of a cell, from its name or itself; `\t` is a tab.

    Raises:
        SltError: it is nothing.
    """
    if not text:
        raise SltError(f"'' separates nothing; name what does, or one of {', '.join(_DELIMITERS)}")
    return _DELIMITERS.get(text.lower(), text.replace("\\t", "\t"))


def _decoded(path: Path, encoding: str | None, or_else: str) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SltError(f"{path}: cannot be read: {error.strerror}") from None
    if raw.startswith(_WORKBOOKS) or path.suffix.lower() in (".xlsx", ".xls", ".ods", ".numbers"):
        raise SltError(f"{path}: is a workbook of a spreadsheet program, not text; save it as CSV (UTF-8) there")
    try:
        if encoding is not None:
            return raw.decode(encoding).removeprefix("\ufeff")
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            return raw.decode("utf-16")
        some = raw[:1000]
        if some.count(0) > len(some) // 4:  # UTF-16 without its mark: in most scripts many second bytes are zero
            return raw.decode("utf-16-le" if some[1::2].count(0) > some[::2].count(0) else "utf-16-be")
        return raw.decode("utf-8-sig")
    except LookupError:
        raise SltError(f"{path}: no encoding is called {encoding!r}; try cp1252, gb18030 or shift_jis") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SltError(
            f"{path}:{line}: not {error.encoding}: byte {error.object[error.start]:#04x}; save it as UTF-8{or_else}"
        ) from None
    except UnicodeError as error:  # of codecs that Python has for other ends than files
        raise SltError(f"{path}: not {encoding}: {error}; save it as UTF-8{or_else}") from None


def _sniffed(header: str, wanted: Sequence[str]) -> str:
    def found(delimiter: str) -> tuple[int, int]:
        columns = [cell.strip().casefold() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        return sum(name.casefold() in columns for name in wanted), len(columns)

    return max(("\t", ";", ",", "|"), key=found)


def _rows(lines: list[str], at: int, delimiter: str, quoted: bool) -> Iterator[Row]:
    """Yield the rows from a line on; a quote that is never closed, or is followed by more, is a letter like others."""
    while at < len(lines):
        cells, used = None, 1
        if quoted and '"' in lines[at]:
            reader = csv.reader(lines[at : at + _LINES_OF_A_ROW], delimiter=delimiter, strict=True)
            try:
                cells, used = next(reader), reader.line_num
            except csv.Error:
                cells = None
        if cells is None:
            cells, used = lines[at].rstrip("\r\n").split(delimiter), 1
        yield Row(at + 1, tuple(cell.strip() for cell in cells))
        at += used


def _fitted(rows: Iterator[Row], count: int, delimiter: str, quoted: bool) -> Iterator[Row | None]:
    for row in rows:
        cells = row.cells
        if not any(cells):
            yield None
        elif any(cells[count:]):
            said = {text: name for name, text in _DELIMITERS.items()}.get(delimiter, delimiter)
            cure = f"put quotes around a cell that holds a {said}" if quoted else f"no cell may hold a {said}"
            yield Row(row.line, cells[:count], f"{len(cells)} cells for {count} columns; {cure}")
        else:
            yield Row(row.line, (*cells[:count], *[""] * (count - len(cells))))
