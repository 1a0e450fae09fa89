"""How2Sign by its lists of sentences, realigned or not: spans of long videos, or clips that are cut already."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from slt_pipeline.corpora.importing import ImportReport, relative_to_root
from slt_pipeline.corpora.media_files import videos_by_name
from slt_pipeline.corpora.sentences import (
    Listed,
    Sentence,
    import_sentences,
    plain_text,
    seconds_of,
    split_named,
)
from slt_pipeline.corpora.spreadsheet import Row, read_spreadsheet
from slt_pipeline.errors import SltError

_SPLIT = re.compile(r"(?:^|[^a-z])(train|val|dev|test)(?:[^a-z]|$)")
_SIGNER = re.compile(r"-(\d+)-rgb_")
"""Videos are called `<YouTube's name>-<signer>-rgb_front`."""


def import_how2sign(
    annotations: Sequence[Path],
    videos: Path,
    out: Path,
    *,
    split: str | None = None,
    media_root: Path | None = None,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write a manifest of How2Sign; there are no glosses.

    A sentence that has a video of its own, `<SENTENCE_NAME>.mp4`, is taken whole; else it is a span of
    `<VIDEO_NAME>.mp4`, from `START_REALIGNED` to `END_REALIGNED`, or `START` to `END` of the lists before.

    Args:
        annotations: lists such as `how2sign_realigned_train.csv`, between whose cells there are tabs.
        videos: folder of the videos, at any depth.
        out: the manifest to write.
        split: of all; None: as the lists are called.
        media_root: what the references are relative to; the manifest's folder if None.
        strict: stop at the first sentence that cannot be read, instead of listing it as rejected.
        progress: wraps the sentences, such as `tqdm`.
    """
    present, root = videos_by_name(videos), media_root or out.parent
    listed = []
    for path in annotations:
        of_file = split_named(split) if split else _split_of(path)
        sheet = read_spreadsheet(path, wanted=["VIDEO_NAME", "SENTENCE_NAME"])
        start = "START_REALIGNED" if sheet.holds("START_REALIGNED") else "START"
        names = ("SENTENCE_NAME", "VIDEO_NAME", "SENTENCE", start, start.replace("START", "END"))
        places = [sheet.column(name) for name in names]
        for row in sheet.rows:
            make = partial(_sentence, row, places, present, root, of_file)
            listed.append(Listed(f"{path.name}:{row.line}", row.cells[places[0]], make))
    return import_sentences(listed, out, media_root, strict=strict, progress=progress)


def _sentence(row: Row, places: list[int], present: dict[str, Path], root: Path, split: str) -> Sentence:
    if row.wrong:
        raise SltError(row.wrong)
    name, whole, text, start, end = (row.cells[place] for place in places)
    path = present.get(name) or present.get(whole)
    if path is None:
        raise SltError(f"no video is called {name}, the cut clip, or {whole}, which it is cut from")
    signer = _SIGNER.search(whole) or _SIGNER.search(name)
    span = (None, None) if name in present else (seconds_of(start), seconds_of(end))
    if name not in present and None in span:
        raise SltError(f"start and end in {whole} are not both told")
    return Sentence(
        name,
        relative_to_root(path, root),
        plain_text(text),
        None,
        split,
        signer[1] if signer else "unknown",
        start=span[0],
        end=span[1],
    )


def _split_of(path: Path) -> str:
    found = _SPLIT.search(path.stem.lower())
    if found is None:
        raise SltError(f"{path}: the name tells no split; name one with --split")
    return split_named(found[1])
