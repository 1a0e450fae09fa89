"""Files of outputs beside what is right: those of `slt evaluate`, of before too, and anybody's JSON Lines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from slt_pipeline.config.stages import Task
from slt_pipeline.config.written import read_json_text
from slt_pipeline.errors import SltError
from slt_pipeline.files import json_line, read_json, read_lines, text_hash, write_json_lines
from slt_pipeline.text.gloss_form import gloss_sentence

LINES, BEFORE = ".jsonl", ".json"
"""Endings of files of outputs, and of those that an earlier version wrote."""
_ENDINGS = (LINES, ".ndjson")
"""Those of anybody's files of outputs, in capitals too."""
SCORES_FILE, ORACLE_FILE = "scores.json", "oracle.json"
"""Rows of scores beside files of outputs; those of the oracle stand apart, beside what is compared."""
ORACLE = "sign2text (oracle)"
"""What a row is of that was decoded from the posterior."""
_COMPARED = ("id", "hypothesis", "reference")
_OF_ORACLE = "oracle"


@dataclass(frozen=True)
class Predictions:
    """Outputs of one system on one split, in the order of their file."""

    path: Path
    ids: tuple[str, ...]
    """Of the clips; the numbers of the lines where nobody named them."""
    rows: Sequence[Mapping[str, Any]]

    @property
    def digest(self) -> str:
        """What tells these outputs from others: of ids, hypotheses and references alone."""
        return text_hash(json_line([[row.get(name) for name in _COMPARED] for row in self.rows]))[:12]

    @property
    def holds(self) -> Literal["texts", "glosses"] | None:
        """What hypotheses and references are, where `slt evaluate` has named the file: of Sign2Gloss, glosses."""
        task = _task_of(self.path)
        return None if not task else "glosses" if task == "sign2gloss" else "texts"

    @property
    def has_glosses(self) -> bool:
        """Whether glosses stand beside those that are right."""
        return any(row.get("glosses") is not None and row.get("gloss_reference") for row in self.rows)

    def pairs(self, *, glosses: bool = False) -> dict[str, tuple[str, str]]:
        """Return what was made and what is right by clip: texts, or glosses as sentences, of clips that have both.

        Raises:
            SltError: a clip has right glosses and no others.
        """
        return paired(self.path, self.ids, self.made(glosses=glosses), self.right(glosses=glosses))

    def made(self, *, glosses: bool = False) -> list[str | None]:
        """Return what was made of each clip, None of one without glosses; references may lie elsewhere."""
        return self._side("hypothesis", [row.get("glosses") for row in self.rows], glosses)

    def right(self, *, glosses: bool = False) -> list[str | None]:
        """Return what is right of each clip, None of one without glosses; hypotheses may lie elsewhere."""
        return self._side("reference", [row.get("gloss_reference") or None for row in self.rows], glosses)

    def _side(self, plain: str, signed: list[Any], glosses: bool) -> list[str | None]:
        """Return the column `plain`, or glosses, which in anybody's own lines may stand there in the place of texts.

        Raises:
            SltError: a line has none, or it is no text; or the file holds the other of texts and glosses.
        """
        if glosses and any(each is not None for each in signed):
            return [None if each is None else self._as_sentence(each) for each in signed]
        wanted = "glosses" if glosses else "texts"
        if self.holds not in (None, wanted):
            raise SltError(
                f"{self.path} holds {self.holds}, and its {plain} column no {wanted}, which are to be scored; score "
                f"{self.holds} there, or name files of one task"
            )
        if glosses and self.holds is None:
            self._require_one_kind(plain)
        return list(self._column(plain))

    def _require_one_kind(self, plain: str) -> None:
        """Refuse to take a column for glosses in lines where texts and glosses have columns of their own.

        Raises:
            SltError: hypothesis and reference stand beside glosses of the other side.
        """
        own = "glosses" if plain == "hypothesis" else "gloss_reference"
        signed = [name for name in ("glosses", "gloss_reference") if any(row.get(name) for row in self.rows)]
        if signed and all("hypothesis" in row and "reference" in row for row in self.rows):
            raise SltError(
                f"{self.path} has {signed[0]} and no {own}, and its {plain} is one of texts beside them; add {own}, or "
                f"take {signed[0]} away where hypothesis and reference are glosses"
            )

    def _as_sentence(self, glosses: Any) -> str:
        if isinstance(glosses, str):
            return glosses
        if isinstance(glosses, list) and all(isinstance(gloss, str) for gloss in glosses):
            return gloss_sentence(glosses)
        raise SltError(
            f"{self.path}: glosses are {glosses!r}; they have to be a list of names, or one sentence of them"
        )

    def _column(self, name: str) -> list[str]:
        values = [row.get(name) for row in self.rows]
        for clip, value in zip(self.ids, values, strict=True):
            if not isinstance(value, str):
                raise SltError(f"{self.path}: clip {clip} has no {name}; every line needs id, hypothesis and reference")
        return [value for value in values if isinstance(value, str)]


def paired(
    path: Path, clips: Iterable[str], made: Iterable[str | None], right: Iterable[str | None]
) -> dict[str, tuple[str, str]]:
    """Return what was made and what is right by clip, of clips of which it is known what is right.

    Raises:
        SltError: nothing was made of one of them, which then would count as one that is not there.
    """
    found = {}
    for clip, one, other in zip(clips, made, right, strict=True):
        if one is None and other is not None:
            raise SltError(
                f"{path}: clip {clip} has a gloss_reference and no glosses; write [] where none were recognised, or "
                "take its gloss_reference away to leave the clip out"
            )
        if one is not None and other is not None:
            found[clip] = one, other
    return found


def columns(pairs: Mapping[str, tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return what was made, and what is right."""
    return [made for made, _ in pairs.values()], [right for _, right in pairs.values()]


def predictions_file(folder: Path, name: str) -> Path | None:
    """Return the file of outputs of that name, such as `sign2text-dev`, in an evaluation's folder, or None."""
    return next((path for ending in (LINES, BEFORE) if (path := folder / f"{name}{ending}").is_file()), None)


def write_predictions(folder: Path, name: str, lines: Iterable[Mapping[str, Any]]) -> str:
    """Write outputs, one clip a line, in the place of those of before; return what tells them from others."""
    path, rows = folder / f"{name}{LINES}", list(lines)
    write_json_lines(path, rows)
    path.with_suffix(BEFORE).unlink(missing_ok=True)
    return Predictions(path, (), rows).digest


def read_predictions(path: Path) -> Predictions:
    """Read a file of outputs: one JSON object a line, or what an earlier version wrote.

    Raises:
        SltError: it is neither, holds no clip, or one twice, or an id is none.
    """
    rows = _objects(_read_before(path).get("clips", []), path) if path.suffix.lower() == BEFORE else _read_lines(path)
    ids = _ids_of(rows, path)
    if not rows:
        raise SltError(f"{path} holds no clip; name a file that `slt evaluate` writes, or one JSON object a line")
    if len(set(ids)) < len(ids):
        twice = next(name for number, name in enumerate(ids) if name in ids[:number])
        raise SltError(f"{path} holds clip {twice} twice; keep one of them")
    return Predictions(path, ids, rows)


def _ids_of(rows: Sequence[Mapping[str, Any]], path: Path) -> tuple[str, ...]:
    """Return the ids of clips; where no line has one, numbers: a line without one among others could be any clip.

    Raises:
        SltError: one is no name and no number.
    """
    named = any("id" in row for row in rows)
    ids = [row.get("id") if named else number for number, row in enumerate(rows, 1)]
    for number, found in enumerate(ids, 1):
        if not isinstance(found, str | int) or isinstance(found, bool):
            raise SltError(
                f"{path}: the id of clip {number} is {found!r}; write a name or a whole number, or leave id out of "
                "every line"
            )
    return tuple(map(str, ids))


def require_same_clips(one: Predictions, other: Predictions) -> None:
    """Require outputs of the same clips, in whatever order.

    Raises:
        SltError: one has clips that the other has not; an example is named.
    """
    for mine, theirs in ((one, other), (other, one)):
        known = set(theirs.ids)
        if alone := [name for name in mine.ids if name not in known]:
            raise SltError(
                f"{one.path} and {other.path} are of other clips: {len(alone)} of {mine.path}, such as {alone[0]}, are "
                f"not in the other, which has {theirs.ids[0]}; take outputs of one split of one corpus"
            )


def scored_as(path: Path) -> Mapping[str, Any]:
    """Return the row of scores that stands beside a file of outputs; of a file without one, nothing."""
    if path.suffix.lower() == BEFORE:
        return {name: value for name, value in _read_before(path).items() if name != "clips"}
    task = _task_of(path)
    rows = read_rows(path.with_name(ORACLE_FILE if task == _OF_ORACLE else SCORES_FILE)) if task else []
    of = ORACLE if task == _OF_ORACLE else task, path.stem.removeprefix(f"{task}-")
    return next((row for row in rows if (row.get("task"), row.get("split")) == of), {})


def _task_of(path: Path) -> str:
    """Return the task by which `slt evaluate` has named a file of outputs, or nothing."""
    tasks = (*get_args(Task), _OF_ORACLE) if is_predictions(path) else ()
    return next((task for task in tasks if path.name.startswith(f"{task}-")), "")


def read_rows(path: Path) -> list[Mapping[str, Any]]:
    """Read rows of scores, or of details, one per task and split; no file is no rows.

    Raises:
        SltError: it holds something else.
    """
    return _objects(read_json(path), path) if path.is_file() else []


def is_predictions(path: Path) -> bool:
    """Whether a file is one of outputs, not of plain lines: by its name."""
    return path.suffix.lower() in (*_ENDINGS, BEFORE)


def read_running_text(path: Path) -> list[str]:
    """Read lines of plain text.

    Raises:
        SltError: it cannot be read, or they are outputs as JSON Lines under an ending of texts.
    """
    lines = read_lines(path)
    written = [line for line in lines if line.strip()]
    if written and all(map(_is_object, written)):
        raise SltError(f"{path} holds JSON objects, which would be scored as texts; rename it to {path.stem}{LINES}")
    return lines


def _is_object(line: str) -> bool:
    try:
        return line.lstrip().startswith("{") and isinstance(read_json_text(line), dict)
    except ValueError:
        return False


def _read_lines(path: Path) -> list[Mapping[str, Any]]:
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            try:
                row = read_json_text(line)
            except ValueError as error:
                raise SltError(f"{path}:{number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise SltError(f"{path}:{number}: no JSON object; a line is one of id, hypothesis, reference")
            rows.append(row)
    return rows


def _read_before(path: Path) -> Mapping[str, Any]:
    """Return what an earlier version wrote: scores with the clips."""
    (row,) = _objects([read_json(path)], path)
    return row


def _objects(rows: Any, path: Path) -> list[Mapping[str, Any]]:
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return rows
    raise SltError(f"{path} is none of the files that `slt evaluate` writes; name one, or delete it and evaluate anew")
