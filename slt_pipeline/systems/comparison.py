"""Two systems on the same clips: every score of both, and whether the difference is more than chance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.config.stages import Task
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.protocols import ScoringProtocol, get_protocol
from slt_pipeline.metrics.significance import NUM_DRAWS, Sums, bootstrap, randomisation
from slt_pipeline.systems.predictions import (
    BEFORE,
    LINES,
    Predictions,
    columns,
    predictions_file,
    read_predictions,
    require_same_clips,
    scored_as,
)
from slt_pipeline.systems.scored_runs import warn_if_old

_USUAL: tuple[Task, ...] = ("sign2text", "gloss2text", "text2gloss", "sign2gloss2text", "sign2gloss")
"""Tasks, the one first by which runs that have several are compared unless another is named."""


@dataclass(frozen=True)
class Draws:
    """How it is tested whether a difference is more than chance."""

    samples: int = NUM_DRAWS
    """Draws of each test."""
    seed: int = 0
    """Of the draws."""


@dataclass(frozen=True)
class Compared:
    """Two systems, A and B."""

    protocol: ScoringProtocol
    rows: list[dict[str, Any]]
    """One for each split and score."""
    task: Task | None
    """Of folders: which task."""


def compare(a: Path, b: Path, task: Task | None, splits: Sequence[str], protocol: str | None, draws: Draws) -> Compared:
    """Compare what two systems made of the same clips.

    Args:
        a: a run's folder, its `evaluate/`, or a file of outputs.
        b: the same of the other system.
        task: of folders, which task; None: the first of `_USUAL` that both have.
        splits: of folders, which splits; none: all that both have.
        protocol: by which both are scored; None: that of both evaluations.
        draws: of significance.

    Raises:
        SltError: there is nothing to compare, or the two are of other clips, references or protocols.
    """
    task = None if a.is_file() or b.is_file() else task or _usual(a, b)
    pairs = _pairs(a, b, task, splits)
    paths = [path for _, *pair in pairs for path in pair]
    rules = _protocol(paths, protocol)
    for path in paths:
        warn_if_old(path)
    rows = [row for split, mine, theirs in pairs for row in _rows(split, mine, theirs, rules, draws)]
    return Compared(rules, rows, task)


def _rows(split: str, a: Path, b: Path, rules: ScoringProtocol, draws: Draws) -> list[dict[str, Any]]:
    mine, theirs = read_predictions(a), read_predictions(b)
    theirs = _in_order_of(mine, theirs)
    rows = []
    for name, (of_a, of_b) in _sums(mine, theirs, rules).items():
        found = bootstrap(of_a, of_b, num_draws=draws.samples, seed=draws.seed)
        rows.append(
            {
                **({"split": split} if split else {}),
                "sentences": len(of_a.each),
                "score": name,
                "a": found.score_a,
                "b": found.score_b,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "p_bootstrap": found.p_value,
                "p_randomisation": randomisation(of_a, of_b, num_draws=draws.samples, seed=draws.seed),
            }
        )
    return rows


def _usual(a: Path, b: Path) -> Task:
    """Return the task that two folders are compared by: of those that both have outputs of, or one, or none."""
    has = [{task for task in _USUAL if _splits(_outputs(folder), task)} for folder in (a, b)]
    of = has[0] & has[1] or has[0] | has[1] or _USUAL
    return next(task for task in _USUAL if task in of)


def _outputs(folder: Path) -> Path:
    return folder / "evaluate" if (folder / "evaluate").is_dir() else folder


def _pairs(a: Path, b: Path, task: Task | None, splits: Sequence[str]) -> list[tuple[str, Path, Path]]:
    """Return the files to compare, with the split where folders have several."""
    if a.is_file() and b.is_file():
        return [("", a, b)]
    if task is None:
        raise SltError(f"{a} and {b} are a file and a folder; name two files of outputs, or two folders")
    folders = [_outputs(folder) for folder in (a, b)]
    found = [_splits(folder, task) for folder in folders]
    for folder, there in zip(folders, found, strict=True):
        if missing := [split for split in splits if split not in there] or ([] if there else ["any split"]):
            raise SltError(
                f"{folder} has no outputs of {task} on {missing[0]} (it has: {_contents(folder)}); make them with "
                "`slt evaluate`, or name another --task or --split"
            )
    both = [split for split in found[0] if split in found[1]]
    if not both:
        raise SltError(
            f"{folders[0]} has outputs of {task} on {', '.join(found[0])}, {folders[1]} on {', '.join(found[1])}: they "
            "share no split"
        )
    return [(split, found[0][split], found[1][split]) for split in dict.fromkeys(splits) or both]


def _splits(folder: Path, task: str) -> dict[str, Path]:
    names = sorted(path.stem for ending in (LINES, BEFORE) for path in folder.glob(f"{task}-*{ending}"))
    found = {name.removeprefix(f"{task}-"): predictions_file(folder, name) for name in names}
    return {split: path for split, path in found.items() if path is not None}


def _contents(folder: Path) -> str:
    names = {path.stem for ending in (LINES, BEFORE) for path in folder.glob(f"*2*-*{ending}")}
    return ", ".join(sorted(names)) or "none"


def _protocol(paths: Sequence[Path], named: str | None) -> ScoringProtocol:
    if named is not None:
        return get_protocol(named)
    known = {path: name for path in paths if (name := scored_as(path).get("protocol"))}
    if not known:
        raise SltError(f"nothing beside {paths[0]} says by which protocol it is scored; add --protocol NAME")
    first = next(iter(known))
    for path, name in known.items():
        if name != known[first]:
            raise SltError(
                f"{first} was scored by {known[first]}, {path} by {name}; add --protocol NAME to score both by one"
            )
    return get_protocol(known[first])


def _in_order_of(mine: Predictions, theirs: Predictions) -> Predictions:
    """Return the outputs of one file in the clips' order of another.

    Raises:
        SltError: they are of other clips.
    """
    if mine.ids == theirs.ids:
        return theirs
    require_same_clips(mine, theirs)
    rows = dict(zip(theirs.ids, theirs.rows, strict=True))
    return Predictions(theirs.path, mine.ids, [rows[name] for name in mine.ids])


def _sums(mine: Predictions, theirs: Predictions, rules: ScoringProtocol) -> dict[str, tuple[Sums, Sums]]:
    """What the scores that both have sum over sentences."""
    signed = mine.holds == "glosses"
    if signed != (theirs.holds == "glosses"):
        raise SltError(f"one of {mine.path} and {theirs.path} holds glosses, the other texts; compare one task")
    found: dict[str, tuple[Sums, Sums]] = {}
    if not signed:
        one, other = _alike(mine, theirs, rules.prepare_text, glosses=False)
        of_a, of_b = rules.text_sums(*one), rules.text_sums(*other)
        found = {name: (of_a[name], of_b[name]) for name in of_a}
    if signed or (mine.has_glosses and theirs.has_glosses):
        one, other = _alike(mine, theirs, rules.prepare_gloss, glosses=True)
        found["wer"] = rules.gloss_sums(*one)["wer"], rules.gloss_sums(*other)["wer"]
    return found


_Columns = tuple[list[str], list[str]]
"""What was made, and what is right."""


def _alike(
    mine: Predictions, theirs: Predictions, prepare: Callable[[Sequence[str]], list[str]], *, glosses: bool
) -> tuple[_Columns, _Columns]:
    """Return texts or glosses of both, of the same clips.

    Raises:
        SltError: one has glosses of other clips, or the references differ.
    """
    pairs = mine.pairs(glosses=glosses), theirs.pairs(glosses=glosses)
    if alone := [name for name in mine.ids if (name in pairs[0]) != (name in pairs[1])]:
        has, lacks = (mine, theirs) if alone[0] in pairs[0] else (theirs, mine)
        raise SltError(
            f"{has.path} has glosses beside right ones of clip {alone[0]}, {lacks.path} has not (in all {len(pairs[0])}"
            f" clips and {len(pairs[1])}); make both with `slt evaluate` on one manifest"
        )
    one, other = columns(pairs[0]), columns(pairs[1])
    for clip, right, also_right in zip(pairs[0], prepare(one[1]), prepare(other[1]), strict=True):
        if right != also_right:
            raise SltError(
                f"{mine.path} and {theirs.path} have other references, such as {right!r} and {also_right!r} of clip "
                f"{clip}; score both against one manifest with `slt evaluate`"
            )
    return one, other
