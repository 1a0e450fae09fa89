"""RWTH-PHOENIX-Weather 2014T as RWTH distributes it: `|`-separated lists, and a folder of pictures a sentence."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from slt_pipeline.corpora.importing import SPLITS, ImportReport, clip_folder
from slt_pipeline.corpora.phoenix14t import FPS, LAYOUTS
from slt_pipeline.corpora.sentences import Listed, Sentence, import_sentences, plain_glosses, plain_text
from slt_pipeline.corpora.spreadsheet import Row, read_spreadsheet
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_cleanup import clean_phoenix14t

_LIST = "PHOENIX-2014-T.{}.corpus.csv"
_FOLDERS = (".", "annotations/manual", "manual", "PHOENIX-2014-T/annotations/manual")
_FULL_STOP = " ."
"""Behind every text, as in the files that published systems read (FACTS 1.3); RWTH's lists have none."""


def lists_of(folder: Path) -> Path | None:
    """Return where RWTH's lists lie, in a folder or below; None: there are none, or the pickles beside them."""
    if any(folder.glob("phoenix-2014t*")):
        return None
    places = (folder / name for name in _FOLDERS)
    return next((place for place in places if any((place / _LIST.format(split)).is_file() for split in SPLITS)), None)


def import_phoenix14t_csv(
    lists: Path,
    out: Path,
    *,
    variant: Literal["plain", "cleaned"] = "plain",
    frames: Path | None = None,
    media_root: Path | None = None,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write a manifest of PHOENIX-2014T; ids, texts and plain glosses are those of the published pickles.

    Args:
        lists: folder with `PHOENIX-2014-T.{train,dev,test}.corpus.csv`; splits that it lacks are left out.
        out: the manifest to write.
        variant: `plain`, as annotated, or `cleaned` by the rules of evaluation (FACTS 10.4). Published encoders were
            trained with a third spelling, with umlauts (FACTS 1.4), which is in the `_cleaned` pickles alone.
        frames: folder or zip of the frames; None: `features` of the release that the lists are in.
        media_root: what the references are relative to; the manifest's folder if None.
        strict: stop at the first sentence whose frames cannot be read, instead of listing it as rejected.
        progress: wraps the sentences, such as `tqdm`.

    Raises:
        SltError: a list is missing or damaged, its frames are not there, or no clip can be read.
    """
    root, rows = media_root or out.parent, []
    for split in SPLITS:
        if (path := lists / _LIST.format(split)).is_file():
            sheet = read_spreadsheet(path, delimiter="|", quoted=False)
            places = [sheet.column(name) for name in ("name", "orth", "translation", "speaker")]
            rows += [(path, split, row, [row.cells[place] for place in places]) for row in sheet.rows]
    frames = frames or lists.resolve().parent.parent / "features"
    if not frames.exists():
        raise SltError(f"{frames}: not there, and RWTH's lists do not count frames; name them with --frames")
    folder = clip_folder(frames, root, LAYOUTS, [f"{split}/{cells[0]}" for _, split, _, cells in rows])
    listed = []
    for path, split, row, cells in rows:
        make = partial(_sentence, row, cells, split, variant, folder)
        listed.append(Listed(f"{path.name}:{row.line}", f"{split}/{cells[0]}", make))
    report = import_sentences(listed, out, media_root, strict=strict, progress=progress)
    if variant == "cleaned":
        report.notes.append("glosses are cleaned by the rules of evaluation; those of published encoders have umlauts")
    return report


def _sentence(row: Row, cells: list[str], split: str, variant: str, folder: str) -> Sentence:
    if row.wrong:
        raise SltError(row.wrong)
    name, glosses, text, signer = cells
    if not name:
        raise SltError("the sentence has no name")
    name, text = f"{split}/{name}", plain_text(text)
    if text and not text.endswith("."):
        text += _FULL_STOP
    glosses = plain_glosses(clean_phoenix14t(glosses) if variant == "cleaned" else glosses)
    return Sentence(name, folder.replace("<name>", name), text, glosses, split, signer or "unknown", FPS)
