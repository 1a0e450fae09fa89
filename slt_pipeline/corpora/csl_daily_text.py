"""CSL-Daily as USTC distributes it: `video_map.txt` or its pickle, the list of splits, and a folder of JPEGs a clip."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from slt_pipeline.corpora.csl_daily import LAYOUTS
from slt_pipeline.corpora.importing import ImportReport, clip_folder
from slt_pipeline.corpora.pickles import read_pickle
from slt_pipeline.corpora.sentences import Listed, Sentence, import_sentences, plain_text, split_named
from slt_pipeline.corpora.spreadsheet import read_spreadsheet
from slt_pipeline.errors import SltError
from slt_pipeline.text.normalise import to_half_width

_MAP, _PICKLE, _SPLITS = "video_map.txt", "csl2020ct_v2.pkl", "split_1.txt"
_FOLDERS = (".", "sentence_label", "sentence/sentence_label")


class _Entry(NamedTuple):
    where: str
    name: str
    gloss: tuple[str, ...]
    text: str
    wrong: str | None = None


def labels_of(folder: Path) -> Path | None:
    """Return where the original files lie, in a folder or below; None: there are none, or the pickles beside them."""
    if any(folder.glob("csl-daily.*")):
        return None
    places = (folder / name for name in _FOLDERS)
    return next((place for place in places if any((place / name).is_file() for name in (_MAP, _PICKLE))), None)


def import_csl_daily_text(
    labels: Path,
    out: Path,
    *,
    half_width: bool = False,
    frames: Path | None = None,
    media_root: Path | None = None,
    fps: float = 25.0,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write a manifest of CSL-Daily; ids, texts, glosses and signers are those of the published pickles.

    Args:
        labels: folder with `split_1.txt` (name|split) and `video_map.txt` (index|name|length|gloss|char|word|postag),
            or in its place the same as `csl2020ct_v2.pkl`.
        out: the manifest to write.
        half_width: write the punctuation ，？！： as , ? ! : in text, as CV-SLT scores (FACTS 1.7).
        frames: folder or zip of the frames; None: `sentence` of the release that the labels are in.
        media_root: what the references are relative to; the manifest's folder if None.
        fps: frames per second, which the files do not say.
        strict: stop at the first sentence whose frames cannot be read, instead of listing it as rejected.
        progress: wraps the sentences, such as `tqdm`.

    Raises:
        SltError: a list is missing, damaged or empty, or no clip can be read.
    """
    entries = _of_map(labels / _MAP) if (labels / _MAP).is_file() else _of_pickle(labels / _PICKLE)
    sheet = read_spreadsheet(labels / _SPLITS, delimiter="|", quoted=False)
    name, split = sheet.column("name"), sheet.column("split")
    splits: dict[str, dict[str, None]] = {}
    for row in sheet.rows:
        splits.setdefault(row.cells[name], {})[row.cells[split]] = None
    frames = frames or labels.resolve().parent
    names = [entry.name for entry in entries]
    if not names:
        raise SltError(f"{labels}: lists no clips")
    folder = clip_folder(frames, media_root or out.parent, LAYOUTS, names)
    listed = [
        Listed(entry.where, entry.name, partial(_sentence, entry, splits, folder, half_width, fps)) for entry in entries
    ]
    known = set(names)
    for row in sheet.rows:
        if row.cells[name] not in known:
            gone = _Entry(f"{_SPLITS}:{row.line}", row.cells[name], (), "", "the clip has a split, but no labels")
            listed.append(Listed(gone.where, gone.name, partial(_sentence, gone, splits, folder, half_width, fps)))
    return import_sentences(listed, out, media_root, strict=strict, progress=progress)


def _of_map(path: Path) -> list[_Entry]:
    sheet = read_spreadsheet(path, delimiter="|", quoted=False)
    name, gloss, char = (sheet.column(column) for column in ("name", "gloss", "char"))
    return [
        _Entry(
            f"{path.name}:{row.line}",
            row.cells[name],
            tuple(row.cells[gloss].split()),
            "".join(row.cells[char].split()),
            row.wrong,
        )
        for row in sheet.rows
    ]


def _of_pickle(path: Path) -> list[_Entry]:
    labels = read_pickle(path)
    info = labels.get("info") if isinstance(labels, dict) else None
    if not isinstance(info, list):
        raise SltError(f"{path}: expected a list of clips under 'info'")
    return [_of_record(f"{path.name}: entry {number}", record) for number, record in enumerate(info)]


def _of_record(where: str, record: Any) -> _Entry:
    if not isinstance(record, Mapping) or not isinstance(record.get("name"), str):
        return _Entry(where, "", (), "", "the entry has no name")
    words = {key: record.get(key) for key in ("label_gloss", "label_char")}
    for key, value in words.items():
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            return _Entry(where, record["name"], (), "", f"{key} is no list of texts")
    return _Entry(where, record["name"], tuple(words["label_gloss"] or ()), "".join(words["label_char"] or ()))


def _sentence(
    entry: _Entry, splits: Mapping[str, Mapping[str, None]], folder: str, half_width: bool, fps: float
) -> Sentence:
    if entry.wrong:
        raise SltError(entry.wrong)
    if entry.name not in splits:
        raise SltError(f"the clip has no split in {_SPLITS}")
    if len(splits[entry.name]) > 1:
        raise SltError(f"the clip is of {' and '.join(splits[entry.name])} in {_SPLITS}; leave one of them")
    text = plain_text(to_half_width(entry.text) if half_width else entry.text)
    video, split = folder.replace("<name>", entry.name), split_named(next(iter(splits[entry.name])))
    return Sentence(entry.name, video, text, entry.gloss or None, split, _signer(entry.name), fps)


def _signer(name: str) -> str:
    """Return the person of `S000020_P0003_T00`, as the published pickles number them."""
    part = name.partition("_")[2].partition("_")[0]
    return str(int(part[1:])) if part[:1] == "P" and part[1:].isdecimal() else "unknown"
