"""The manifest: JSON Lines, one clip a line, beside the media it names.

Keys are those of `Clip`, in its order. `gloss` is a list of strings or null; `alignments`, `frames`, `start`, `end` and
`extra` are left out where there are none. Text is read and written in NFC with single spaces, a gloss in the form of
`text/gloss_form.py`; ids and media references are taken as they are. Half a surrogate pair, which no file can hold, is
refused. Whether the clips make sense (media present, lengths right) is not checked here.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from slt_pipeline.config.written import read_json_text
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError
from slt_pipeline.files import json_line, kept, read_lines, write_text
from slt_pipeline.text.characters import FOREIGN_BYTES, halves, told
from slt_pipeline.text.gloss_form import gloss_form
from slt_pipeline.text.normalise import nfc, single_spaced


def read_manifest(path: Path | str, split: str | None = None) -> list[Clip]:
    """Clips of a manifest in file order, of one split or of all.

    Raises SltError with the line number for a line that is no clip; an id that comes twice is an error too.
    """
    clips = _clips_of(Path(path))
    return [clip for clip in clips if split is None or clip.split == split]


@kept(lambda path: [path])
def _clips_of(path: Path) -> tuple[Clip, ...]:
    """All clips of a manifest, which every stage reads several times, split by split."""
    if not path.exists():
        raise SltError(f"{path}: no such manifest; make one with `slt data synth` or `slt data import`")
    clips, first_line = [], {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        clip = parse_line(line, f"{path}:{number}")
        if clip.id in first_line:
            raise SltError(f"{path}:{number}: id {clip.id!r} was already used on line {first_line[clip.id]}")
        first_line[clip.id] = number
        clips.append(clip)
    return tuple(clips)


def write_manifest(path: Path | str, clips: Iterable[Clip]) -> None:
    """Write clips as a manifest, atomically: a reader sees the old file or the whole new one.

    Raises SltError by line number for a clip that could not be read back, and where an id comes twice.
    """
    path = Path(path)
    lines, first_line = [], {}
    for number, clip in enumerate(clips, 1):
        clip = as_read(clip, f"{path}:{number}")
        if clip.id in first_line:
            raise SltError(f"{path}:{number}: id {clip.id!r} was already used on line {first_line[clip.id]}")
        first_line[clip.id] = number
        lines.append(json_line(_to_dict(clip)))
    write_text(path, "".join(lines))


def as_read(clip: Clip, where: str) -> Clip:
    """The clip as it comes out of a manifest; `where` begins the SltError of one that no manifest can hold."""
    return parse_line(json_line(_to_dict(clip)), where)


def parse_line(line: str, where: str) -> Clip:
    """The clip of one manifest line; `where` (file:line) begins the SltError of a line that is none."""
    try:
        row = read_json_text(line)
    except ValueError as error:
        raise SltError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise SltError(f"{where}: expected a JSON object, found {type(row).__name__}")
    missing = [name for name in _REQUIRED if name not in row]
    if missing:
        raise SltError(f"{where}: missing field {', '.join(missing)}")
    unknown = [name for name in row if name not in _NAMES]
    if unknown:
        raise SltError(f"{where}: unknown field {', '.join(unknown)}; known are {', '.join(_NAMES)}")
    for name, (wanted, fits) in _CHECKS.items():
        if name in row and not fits(row[name]):
            raise SltError(f"{where}: {name} must be {wanted}, found {_short(row[name])}")
    _refuse_halves(row, line, where)
    alignments = row.get("alignments")
    for name, labels in (alignments or {}).items():
        if len(labels) != row["num_frames"]:
            raise SltError(f"{where}: alignments.{name} has {len(labels)} labels, num_frames is {row['num_frames']}")
    part = row.get("frames")
    if part is not None and part[1] - part[0] != row["num_frames"]:
        raise SltError(f"{where}: frames are {part[0]} to {part[1]}, num_frames is {row['num_frames']}")
    start, end = row.get("start"), row.get("end")
    if part is not None and not (start is None and end is None):
        raise SltError(f"{where}: frames and start or end are both given; one of them says which part is the clip")
    if end is not None and end <= (start or 0):
        raise SltError(f"{where}: end must be after start, found {start or 0:g} to {end:g}")
    return Clip(
        **{name: row[name] for name in ("id", "video", "num_frames", "signer", "split")},
        fps=float(row["fps"]),
        gloss=None if row["gloss"] is None else tuple(map(gloss_form, row["gloss"])),
        text=None if row["text"] is None else single_spaced(nfc(row["text"])),
        alignments=None if alignments is None else {name: tuple(labels) for name, labels in alignments.items()},
        frames=None if part is None else (part[0], part[1]),
        start=None if start is None else float(start),
        end=None if end is None else float(end),
        extra=row.get("extra"),
    )


def _refuse_halves(row: dict, line: str, where: str) -> None:
    """Refuse half a surrogate pair; in the name of a file it may be how Python spells a byte that is no UTF-8.

    Raises:
        SltError: fields, characters and places.
    """
    if not _MAY_HOLD_HALVES.search(line):
        return
    found = [
        f"{name} holds {told(cut)}"
        for name, value in row.items()
        for text in _strings(value)
        if (cut := halves(text, FOREIGN_BYTES if name == "video" else ""))
    ]
    if found:
        raise SltError(f"{where}: clip {row['id']!r}: {'; '.join(found)}; delete what is left of the character")


def _strings(value: object) -> Iterator[str]:
    """Yield every string of a value of JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value if isinstance(value, list) else [*value, *value.values()]:
            yield from _strings(inner)


def typed_glosses(line: str) -> list[str]:
    """Return the glosses of a line that is one of a manifest, as they were typed."""
    return read_json_text(line)["gloss"] or []


def _to_dict(clip: Clip) -> dict:
    row = {name: getattr(clip, name) for name in _NAMES}
    return {name: value for name, value in row.items() if value is not None or name in _REQUIRED}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\n" not in value


def _is_gloss(value: object) -> bool:
    return _is_text(value) and gloss_form(str(value)) != ""


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


_SECONDS = ("seconds from 0 or null", lambda value: value is None or (_is_number(value) and 0 <= value < float("inf")))
_MAY_HOLD_HALVES = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")
_NAMES = tuple(field.name for field in fields(Clip))
_REQUIRED = _NAMES[:8]
_CHECKS = {
    "id": ("a non-empty string", _is_text),
    "video": ("a non-empty string", _is_text),
    "num_frames": ("a positive integer", lambda value: _is_int(value) and value > 0),
    "fps": ("a positive number", lambda value: _is_number(value) and 0 < value < 1e300),
    "signer": ("a string", lambda value: isinstance(value, str)),
    "gloss": (
        "a list of non-empty strings or null",
        lambda value: value is None or (isinstance(value, list) and all(map(_is_gloss, value))),
    ),
    "text": ("a string or null", lambda value: value is None or isinstance(value, str)),
    "split": ("a non-empty string", _is_text),
    "alignments": (
        "an object of integer lists or null",
        lambda value: (
            value is None
            or (
                isinstance(value, dict)
                and all(isinstance(labels, list) and all(map(_is_int, labels)) for labels in value.values())
            )
        ),
    ),
    "frames": (
        "a list of two rising integers from 0, or null",
        lambda value: (
            value is None
            or (isinstance(value, list) and len(value) == 2 and all(map(_is_int, value)) and 0 <= value[0] < value[1])
        ),
    ),
    "start": _SECONDS,
    "end": _SECONDS,
    "extra": ("an object or null", lambda value: value is None or isinstance(value, dict)),
}
