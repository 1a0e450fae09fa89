"""Anybody's own corpus as a CSV or TSV file: its columns, by name, are what a manifest says of a clip."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from slt_pipeline.corpora.importing import ImportReport
from slt_pipeline.corpora.sentences import (
    Listed,
    Sentence,
    import_sentences,
    media_reference,
    plain_glosses,
    plain_text,
    seconds_of,
    split_named,
)
from slt_pipeline.corpora.spreadsheet import Row, Spreadsheet, read_spreadsheet
from slt_pipeline.errors import SltError


@dataclass(frozen=True)
class Columns:
    """Which column says what; None: the one of the field's own name, if there is one."""

    id: str | None = None
    """Without it a clip is called as its video; several of one video have their line behind it."""
    video: str | None = None
    text: str | None = None
    gloss: str | None = None
    start: str | None = None
    end: str | None = None
    signer: str | None = None
    split: str | None = None
    """Or `train`, `dev` or `test`, where there is no column of that name: of the whole file."""
    fps: str | None = None
    """Or a number, where there is no column of that name. Of pictures; a video file says its own."""


def import_table(
    table: Path,
    out: Path,
    columns: Columns,
    *,
    videos: Path | None = None,
    media_root: Path | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    gloss_separator: str | None = None,
    times_in: Literal["seconds", "milliseconds"] = "seconds",
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write the manifest of a table, a row a clip. A cell that is empty says nothing: null, not an empty text.

    Args:
        table: the file, UTF-8 or UTF-16; the first line names the columns.
        out: the manifest to write.
        columns: what they say.
        videos: folder from which the paths of videos go; None: the table's own.
        media_root: what the references are relative to; the manifest's folder if None.
        delimiter: between cells; None: found out.
        encoding: another one, by its Python name.
        gloss_separator: between glosses; None: white space.
        times_in: what start and end count.
        strict: stop at the first row that is no clip, instead of listing it as rejected.
        progress: wraps the rows, such as `tqdm`.

    Raises:
        SltError: the table cannot be read, or lacks a column.
    """
    wanted = [name for name in vars(columns).values() if name is not None]
    sheet = read_spreadsheet(
        table,
        delimiter=delimiter,
        encoding=encoding,
        wanted=wanted or ["id", "video", "text"],
        or_else=", or say by --encoding what it is, such as cp1252 or gb18030",
    )
    places, told = _places(sheet, columns)
    root, folder = media_root or out.parent, videos or table.parent
    unit = 1000 if times_in == "milliseconds" else 1

    def sentence(row: Row) -> Sentence:
        if row.wrong:
            raise SltError(row.wrong)
        cells = {field: row.cells[place] for field, place in places.items()} | told
        start, end = (seconds_of(cells.get(field, ""), unit) for field in ("start", "end"))
        return Sentence(
            _name(cells, row),
            media_reference(cells["video"], folder, root),
            plain_text(cells.get("text", "")),
            plain_glosses(cells.get("gloss", ""), gloss_separator),
            split_named(cells.get("split") or "train"),
            cells.get("signer") or "unknown",
            _rate(cells.get("fps") or "25"),
            start,
            end,
        )

    listed = [
        Listed(f"{table.name}:{row.line}", row.cells[places["id"]] if "id" in places else "", partial(sentence, row))
        for row in sheet.rows
    ]
    report = import_sentences(listed, out, media_root, strict=strict, progress=progress)
    unread = [name for place, name in enumerate(sheet.columns) if name and place not in places.values()]
    if unread:
        report.notes.append(f"columns that are not read: {', '.join(unread)}")
    return report


def _places(sheet: Spreadsheet, columns: Columns) -> tuple[dict[str, int], dict[str, str]]:
    """Return the columns that are there by field, and what is told of all rows."""
    places, told = {}, {}
    for field, name in vars(columns).items():
        if name is None:
            if sheet.holds(field) or field == "video":
                places[field] = sheet.column(field)
        elif field in ("split", "fps") and name not in sheet.columns and _tells(field, name):
            told[field] = name
        else:
            places[field] = sheet.column(name)
    return places, told


def _tells(field: str, value: str) -> bool:
    """Say whether a value is one of the field itself, and no name of a column."""
    try:
        return bool(split_named(value) if field == "split" else _rate(value))
    except SltError:
        return False


def _rate(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise SltError(f"{text!r} is no frame rate; write a number, such as 25") from None


def _name(cells: dict[str, str], row: Row) -> str:
    if "id" in cells:
        return cells["id"]
    name = cells["video"].replace("\\", "/").rpartition("!")[2].strip("/")
    stem, dot, suffix = name.rpartition(".")
    name = stem if dot and "/" not in suffix else name
    return f"{name}-{row.line}" if cells.get("start") or cells.get("end") else name
