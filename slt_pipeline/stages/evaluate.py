"""`slt evaluate`: decode splits and score them the way the papers do."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.config.runs import holds_encoder, holds_language_model
from slt_pipeline.config.stages import Task
from slt_pipeline.files import file_hash, held, require_place, write_json
from slt_pipeline.report.tables import text_table
from slt_pipeline.systems.decoded import Decoded
from slt_pipeline.systems.predictions import LINES, ORACLE, ORACLE_FILE, SCORES_FILE, read_rows, write_predictions
from slt_pipeline.systems.scored_runs import begin_folder, folder_of, named_judges
from slt_pipeline.systems.tasks import Systems
from slt_pipeline.systems.translator import require_reads_signs
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.run import Plan

log = logging.getLogger(__name__)
STAGE = "evaluate"
DETAILS_FILE = "details.json"
COLUMNS = ("task", "split", "wer", "bleu1", "bleu2", "bleu3", "bleu4", "rouge", "chrf", "start_error", "end_error")


def plan(recipe: Recipe, run: Path | None = None, others: Sequence[Path] = ()) -> Plan:
    """What the stage would read and write."""
    reads = {
        "clips": recipe.corpus.manifest,
        "store": recipe.store,
        "encoder": recipe.encoder_folder,
        "language model": recipe.language_folder,
        "translator": run or recipe.run_folder("translate_train"),
    }
    judges = _runs(recipe, run, others)[1]
    reads |= {f"member {number}": str(folder) for number, folder in enumerate(others, start=2)}
    reads |= {f"judge {number}": str(folder) for number, folder in enumerate(judges, start=1)}
    return reads, {"scores": _folder(recipe, run, others)}


def own_tasks(recipe: Recipe, run: Path | None = None) -> tuple[Task, ...]:
    """The tasks that a run alone can do: with glosses where it, or the encoder of its run, makes its own."""
    if run is not None and holds_language_model(run):
        return (recipe.translator.direction,)
    recognises = recipe.translator.head == "trained" or (run is not None and holds_encoder(run))
    return ("sign2gloss", "sign2text") if recognises else ("sign2text",)


def evaluate(
    recipe: Recipe,
    *,
    device: str = "auto",
    run: Path | None = None,
    others: Sequence[Path] = (),
    tasks: Sequence[Task] | None = None,
    oracle: bool = False,
) -> dict[str, Any]:
    """Score tasks on every split of the recipe; `rows` holds the scores, `table` shows them, `notes` what is odd.

    Rows of other tasks and splits that were scored before stay in `scores.json`.

    Args:
        recipe: what to score, and how.
        device: where it computes.
        run: folder of the translator, such as a sweep's winner, or of Gloss2Text, which its scores go into; None: the
            recipe's own.
        others: runs that write every text together with `run`; scores go into `evaluate/ensemble/` of it, of other
            members into `ensemble-2/`, and so on; where the recipe names judges, into `reranked/`, `reranked-2/`, ...
        tasks: what to score; None: the recipe's tasks.
        oracle: decode sign2text from the posterior, too, which knows the right texts.
    """
    asked = recipe.evaluate.tasks if tasks is None else tasks
    if "sign2text" in asked or oracle:  # before the others decode
        require_reads_signs(recipe, run)
    folder = _folder(recipe, run, others)
    names = (*asked, "oracle") if oracle else asked
    _require_places(folder, [f"{name}-{split}" for name in names for split in recipe.evaluate.splits])
    systems = Systems(recipe, pick_device(device), run, others)
    systems.require(asked)  # what is refused is refused before anything is written
    known = {split: systems.oracle(split) for split in recipe.evaluate.splits} if oracle else {}
    folder = _folder(recipe, run, others, begin_folder)
    save_recipe(recipe, folder)
    _tell_of_other_clips(folder / SCORES_FILE, recipe)
    rows = [score(systems, task, split, folder) for task in asked for split in recipe.evaluate.splits]
    rows += [_oracle_row(systems, decoded, split, folder) for split, decoded in known.items()]
    scored = set(map(_of, rows))
    odd = [row for row in read_rows(folder / DETAILS_FILE) if _of(row) in scored]
    notes = [
        _said_of_protocol(rows[0]),
        *(f"{row['task']} {row['split']}: {note}" for row in odd for note in row["notes"]),
    ]
    return {"rows": rows, "table": text_table(rows, columns=COLUMNS), "notes": notes}


def score(systems: Systems, task: Task, split: str, folder: Path) -> dict[str, Any]:
    """Score one task on one split, write hypotheses and references, and put the row among those of `scores.json`."""
    return _written(systems, systems.decode(task, split), (task, split), f"{task}-{split}", folder / SCORES_FILE)


def score_oracle(systems: Systems, split: str, folder: Path) -> dict[str, Any]:
    """Score one split decoded from the posterior, into files of its own: no row of a translator is compared with it."""
    return _oracle_row(systems, systems.oracle(split), split, folder)


def _oracle_row(systems: Systems, decoded: Decoded, split: str, folder: Path) -> dict[str, Any]:
    return _written(systems, decoded, (ORACLE, split), f"oracle-{split}", folder / ORACLE_FILE)


def _written(systems: Systems, decoded: Decoded, of: tuple[str, str], name: str, scores: Path) -> dict[str, Any]:
    """Write what was decoded into a file of that name, put its row among the scores, and return the row."""
    which = {"task": of[0], "split": of[1]}
    digest, look = write_predictions(scores.parent, name, decoded.lines()), systems.look_at(decoded)
    row = {**which, **decoded.scores, **systems.made_by(decoded.task), "predictions": digest}
    _keep(scores.parent / DETAILS_FILE, {**which, **look.row(), "notes": look.notable(decoded.scores)})
    _keep(scores, row)
    return row


def _tell_of_other_clips(path: Path, recipe: Recipe) -> None:
    """Say which rows are of another manifest than those that come beside them, or in their place."""
    manifest = Path(recipe.corpus.manifest)
    now = file_hash(manifest)[:12]
    others = {" ".join(map(str, _of(row))): row["clips"] for row in read_rows(path) if row.get("clips", now) != now}
    if others:
        log.warning(
            "%s has scores on another manifest (%s; its hash was %s), and %s has the hash %s: what is scored now takes "
            "the place of those of the same task and split; to keep both, stop, and move %s away first",
            *(path, ", ".join(others), " or ".join(sorted(set(map(str, others.values())))), manifest, now, path.parent),
        )


def _require_places(folder: Path, outputs: Sequence[str]) -> None:
    """Find what cannot be written, or kept beside the new rows, before anything is decoded.

    Raises:
        SltError: it is named.
    """
    for name in (SCORES_FILE, DETAILS_FILE, ORACLE_FILE, *(f"{output}{LINES}" for output in outputs)):
        require_place(folder / name)
    for name in (SCORES_FILE, DETAILS_FILE):
        read_rows(folder / name)


def _said_of_protocol(row: Mapping[str, Any]) -> str:
    computed = "; ".join(f"{name} {signature}" for name, signature in row["signature"].items())
    return f"protocol {row['protocol']}, version {row['protocol_version']}: {computed}"


def _keep(path: Path, row: Mapping[str, Any]) -> None:
    """Put a row in the place of the earlier one of its task and split, or behind the others."""
    with held(path.with_name(f".{path.name}.lock"), str(path), wait=True):  # other tasks may end at the same time
        rows = {_of(old): old for old in read_rows(path)} | {_of(row): row}
        write_json(path, list(rows.values()))


def _of(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get("task"), row.get("split")


def _folder(
    recipe: Recipe, run: Path | None, others: Sequence[Path] = (), of_several: Callable[..., Path] = folder_of
) -> Path:
    folder = run / STAGE if run else recipe.run_folder(STAGE)
    if not others and not recipe.evaluate.rerank:
        return folder
    return of_several(folder / ("reranked" if recipe.evaluate.rerank else "ensemble"), *_runs(recipe, run, others))


def _runs(recipe: Recipe, run: Path | None, others: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the runs that write, and what judges."""
    return [run or recipe.language_folder, *others], named_judges(recipe.evaluate.rerank)
