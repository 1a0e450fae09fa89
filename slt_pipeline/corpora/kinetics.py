"""Kinetics-400, or 600 or 700, by its lists: `label,youtube_id,time_start,time_end,split`, and cut videos."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slt_pipeline.corpora.importing import ImportReport
from slt_pipeline.corpora.isolated import SPLITS, Listed, import_listed
from slt_pipeline.corpora.media_files import videos_by_name
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_lines

_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


def import_kinetics(
    annotations: Sequence[Path],
    videos: Path,
    out: Path,
    *,
    media_root: Path | None = None,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write a manifest of the CSV lists of the official release, or of the CVDF mirror, which has the same columns.

    Videos that are missing, as many are by now, or cannot be read are rejected and listed, as are rows that are no
    clip. The class is what the list says, whichever folder a video lies in; where the folders alone are at hand,
    `isolated` imports them.

    Args:
        annotations: lists of one or several splits; further columns (`is_cc`) are ignored.
        videos: folder with `<youtube_id>_<start>_<end>.mp4` (seconds, in six digits), in any folders below.
        out: the manifest to write.
        media_root: what the references are relative to; the manifest's folder if None.
        strict: stop at the first video that cannot be read, or row that is no clip, instead of listing it as rejected.
        progress: wraps the clips, such as `tqdm`.

    Raises:
        SltError: a list is none, or no clip can be read.
    """
    found, wrong = [], {}
    present = videos_by_name(videos)
    for path in annotations:
        for line, row in _rows(path):
            try:
                clip_id, label, split = _clip(row)
            except (KeyError, ValueError, OverflowError) as error:
                where, told = f"{path}:{line}", ", ".join(_COLUMNS)
                wrong[where] = f"{where}: expected {told}, the split of a known name: {error!r}"
                if strict:
                    raise SltError(wrong[where]) from None
                continue
            found.append(Listed(clip_id, present.get(clip_id, videos / f"{clip_id}.mp4"), label, split))
    return import_listed(found, out, media_root, strict=strict, progress=progress, left_out=wrong)


def _rows(path: Path) -> list[tuple[int, dict[str, str | None]]]:
    """Return the rows of a list with the last line of each.

    Raises:
        SltError: it is none, or lacks a column.
    """
    try:
        reader = csv.DictReader(read_lines(path))
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise SltError(f"{path}: cannot be read as a list: {error}") from None
    if not rows:
        raise SltError(f"{path} lists no clip; its first line must be {','.join(_COLUMNS)}")
    if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
        raise SltError(f"{path}: no column {', '.join(missing)}; its first line must be {','.join(_COLUMNS)}")
    return rows


def _clip(row: Mapping[str, str | None]) -> tuple[str, str, str]:
    """Return name, label and split of a row; raises KeyError, ValueError or OverflowError where it tells none."""
    label, name, start, end, split = (str(row[column] or "").strip() for column in _COLUMNS)
    if not label or not name:
        raise ValueError("no label or no youtube_id")
    return f"{name}_{_seconds(start)}_{_seconds(end)}", label, SPLITS[split.lower()]


def _seconds(text: str) -> str:
    return f"{int(float(text)):06d}"
