"""Sentences of a list, cut or inside long videos, as clips: each video is opened and its frames are counted."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.footage import open_clip
from slt_pipeline.corpora.importing import ImportReport, finish_import, rejected_path, relative_to_root
from slt_pipeline.corpora.isolated import SPLITS
from slt_pipeline.corpora.manifest import parse_line
from slt_pipeline.corpora.media_files import VIDEO_SUFFIXES
from slt_pipeline.corpora.times import SPANS
from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of
from slt_pipeline.errors import SltError
from slt_pipeline.files import json_line, kept, write_json_lines
from slt_pipeline.text.gloss_form import gloss_form
from slt_pipeline.text.normalise import nfc, single_spaced
from slt_pipeline.video.paths import is_numbered


@dataclass(frozen=True)
class Sentence:
    """What a list says of one clip."""

    id: str
    video: str
    """Media reference, relative to the media root."""
    text: str | None = None
    gloss: tuple[str, ...] | None = None
    split: str = "train"
    signer: str = "unknown"
    fps: float = 25.0
    """Of pictures; a video file says its own."""
    start: float | None = None
    """Seconds; None, as is `end`: not cut."""
    end: float | None = None
    gloss_times: Sequence[tuple[float, float]] | None = None
    """Start and end of each gloss in seconds of the video."""


class Listed(NamedTuple):
    """An entry of a list that may be a sentence."""

    where: str
    """File and line, or what else says where it is."""
    id: str
    """As far as it is known."""
    sentence: Callable[[], Sentence]
    """Makes it, or raises an SltError that says why it is none."""


def import_sentences(
    listed: Sequence[Listed],
    out: Path,
    media_root: Path | None,
    *,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write the manifest of all sentences that can be read; the others are listed as rejected.

    Frames are counted by the stamps that a video file holds, for which nothing is decoded; `slt data validate` decodes.

    Args:
        listed: the entries, in the order of the manifest.
        out: the manifest to write.
        media_root: what the references are relative to; the manifest's folder if None.
        strict: stop at the first that cannot be read, instead of listing it as rejected.
        progress: wraps the entries, such as `tqdm`.

    Raises:
        SltError: none of them can be read.
    """
    report = ImportReport(out, media_root or out.parent)
    clips: dict[str, Clip] = {}
    places: dict[str, str] = {}
    for entry in progress(listed):
        try:
            clip = _clip(entry.sentence(), report.media_root)
            if clip.id in clips:
                raise SltError(f"the id {clip.id!r} was used before, at {places[clip.id]}")
            clips[clip.id], places[clip.id] = clip, entry.where
        except UNREADABLE as error:
            if strict:
                raise SltError(f"{entry.where}: {reason_of(error)} (without --strict it would be left out)") from None
            report.rejected.append({"id": entry.id, "reason": f"{entry.where}: {reason_of(error)}"})
    if not clips:
        write_json_lines(rejected_path(out), report.rejected)
        first = report.rejected[0]["reason"] if report.rejected else "the list is empty"
        raise SltError(f"none of {len(listed)} clips can be used: {first}; all are in {rejected_path(out)}")
    return finish_import(report, list(clips.values()))


def split_named(text: str) -> str:
    """Return `train`, `dev` or `test` for what a split is called elsewhere.

    Raises:
        SltError: it is called otherwise.
    """
    if text.strip().lower() not in SPLITS:
        raise SltError(f"{text!r} is no split; known are {', '.join(SPLITS)}")
    return SPLITS[text.strip().lower()]


def plain_text(text: str) -> str | None:
    """Return a text as one line, None where there is none."""
    return single_spaced(text) or None


def plain_glosses(text: str, separator: str | None = None) -> tuple[str, ...] | None:
    """Return the glosses of a cell, None where there is none.

    Args:
        text: glosses in sign order.
        separator: what stands between two; None: white space. White space in a gloss becomes `-`.
    """
    return tuple(gloss for each in text.split(separator) if (gloss := gloss_form(each))) or None


def seconds_of(text: str, unit: float = 1) -> float | None:
    """Return the seconds that a cell tells: `12.5`, `12,5`, `01:02.5` or `00:01:02,500`; None where it is empty.

    Args:
        text: the cell.
        unit: how many of what a plain number counts are a second; with colons it is a time of a clock.

    Raises:
        SltError: it tells none.
    """
    if not text:
        return None
    if not _TIME.fullmatch(text):
        raise SltError(f"{text!r} is no time; write seconds, such as 12.5, or 00:00:12.5")
    seconds = 0.0
    for part in text.replace(",", ".").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds if ":" in text else seconds / unit


_TIME = re.compile(r"(\d+:){0,2}\d+([.,]\d+)?")


def media_reference(text: str, folder: Path, root: Path) -> str:
    """Return the reference of what a list names, below the media root.

    Args:
        text: a path from `folder` on, as any system writes it, with or without the suffix of a video; or a folder of
            pictures, numbered pictures, or what is inside a zip.
        folder: where it is.
        root: media root.

    Raises:
        OutsideRoot: it lies outside of the media root.
        SltError: there is no such file.
    """
    if not text:
        raise SltError("no video is named")
    archive, bang, member = text.partition("!")
    inside = bang and archive.lower().endswith(".zip")
    for name in dict.fromkeys((archive if inside else text, (archive if inside else text).replace("\\", "/"))):
        path = _found(folder / name)
        if path is not None:
            return relative_to_root(path, root) + (f"!{member}" if inside else "")
    raise SltError(f"{folder / text}: no such video or folder of pictures")


def _found(path: Path) -> Path | None:
    """Return a path as it is on the disk, where accents may be written in another way or a suffix be left out."""
    if path.exists() or (is_numbered(path.name) and path.parent.is_dir()):
        return path
    if not path.parent.is_dir():
        return None
    same = _by_name(path.parent)
    names = (path.name, *(path.name + suffix for suffix in VIDEO_SUFFIXES))
    names += tuple(path.name + suffix.upper() for suffix in VIDEO_SUFFIXES)
    return next((same[nfc(name)] for name in names if nfc(name) in same), None)


@kept(lambda folder: [folder], most=16)
def _by_name(folder: Path) -> dict[str, Path]:
    """What is in a folder, which is listed once for all the clips that are named without their suffix."""
    return {nfc(other.name): other for other in sorted(folder.iterdir())}


def _clip(sentence: Sentence, root: Path) -> Clip:
    clip = Clip(
        sentence.id,
        sentence.video,
        1,
        sentence.fps,
        sentence.signer,
        sentence.gloss,
        sentence.text,
        sentence.split,
        start=sentence.start,
        end=sentence.end,
    )
    try:
        clip = parse_line(json_line(asdict(clip)), "")
    except SltError as error:
        raise SltError(str(error).removeprefix(": ")) from None
    video = open_clip(clip, root)
    clip = replace(clip, num_frames=video.num_frames, fps=video.fps)
    if sentence.gloss_times is not None:
        first, last = sentence.start or 0.0, (sentence.start or 0.0) + video.seconds
        times = [(min(max(edge, first), last) - first for edge in span) for span in sentence.gloss_times]
        clip = replace(clip, extra={SPANS: [[round(edge * video.fps, 3) for edge in span] for span in times]})
    return clip
