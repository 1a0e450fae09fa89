"""Folders of what is made of several runs, one for each set of them; and outputs that are older than their run."""

import logging
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from slt_pipeline.config.recipe import recipe_of_run
from slt_pipeline.config.rerank import RerankConfig
from slt_pipeline.config.runs import holds_encoder, holds_language_model
from slt_pipeline.errors import SltError
from slt_pipeline.files import held, read_json, write_json
from slt_pipeline.systems.predictions import read_predictions, scored_as
from slt_pipeline.training.checkpoint import BEST, best_checkpoint

log = logging.getLogger(__name__)
MEMBERS_FILE = "members.json"
"""The runs of an ensemble, or of a report, beside what is said of them."""
JUDGES_FILE = "judges.json"
"""What judged what these wrote, where anything did: runs, and what the writers learned beside."""


def named_judges(config: RerankConfig | None) -> list[str]:
    """Return what judges, by names that tell sets of judges apart."""
    if config is None:
        return []
    return [*(str(Path(run).resolve()) for run in config.runs), *(f"itself: {kind}" for kind in config.itself)]


def folder_of(first: Path, members: Sequence[Path], judges: Sequence[str] = ()) -> Path:
    """Return the folder of these runs: the first one, `ensemble`, if no others have it, else `ensemble-2`, ...

    Each set of members, and of judges, has one, so that rows of two are never in one table.
    """
    folders = (first if number == 1 else first.with_name(f"{first.name}-{number}") for number in count(1))
    return next(folder for folder in folders if not folder.exists() or _same(members, judges, folder))


def begin_folder(first: Path, members: Sequence[Path], judges: Sequence[str] = ()) -> Path:
    """Return the same folder, which says from now on which runs it is of, and what judges (`named_judges`).

    What begins at the same time with others gets another one.
    """
    with held(first.with_name(f".{first.name}.lock"), str(first), wait=True):
        folder = folder_of(first, members, judges)
        write_json(folder / MEMBERS_FILE, [str(run.resolve()) for run in members])
        if judges:
            write_json(folder / JUDGES_FILE, list(judges))
    return folder


def warn_if_old(outputs: Path) -> None:
    """Say of a file of outputs that it is not what was scored, or that its run has other weights than made it."""
    try:
        row = scored_as(outputs)
    except SltError:  # whoever needs the scores beside it is told
        return
    if "predictions" in row and (found := read_predictions(outputs).digest) != row["predictions"]:
        log.warning(
            "%s is not what was scored beside it: its lines have the hash %s, and those had %s; `slt evaluate` makes "
            "both anew",
            *(outputs, found, row["predictions"]),
        )
        return
    made_by = row.get("checkpoints")
    if not isinstance(made_by, dict):
        return
    for name, run in _runs(outputs.parent).items():
        now = _weights(run)
        if now and name in made_by and now not in made_by.values():  # members may have been named in another order
            log.warning(
                "%s is of the weights %s, and %s has been trained to %s since; `slt evaluate` makes it anew",
                *(outputs, made_by[name], run, now),
            )


def _same(members: Sequence[Path], judges: Sequence[str], folder: Path) -> bool:
    wanted = ((MEMBERS_FILE, [str(run.resolve()) for run in members]), (JUDGES_FILE, judges))
    return (folder / MEMBERS_FILE).is_file() and all(
        sorted(_listed(folder / name)) == sorted(names) for name, names in wanted
    )


def _listed(path: Path) -> list[str]:
    found = read_json(path, list) if path.is_file() else []
    if not all(isinstance(name, str) for name in found):
        raise SltError(f"{path} is no list of names; delete it, and `slt evaluate` begins another folder")
    return found


def _runs(folder: Path) -> dict[str, Path]:
    """Return the runs that a folder of scores is of, under the names that rows give their weights."""
    if runs := [Path(run) for run in _listed(folder / MEMBERS_FILE)]:
        kind = "language" if holds_language_model(runs[0]) else "translator"
        writers = {kind if number == 1 else f"{kind} {number}": run for number, run in enumerate(runs, start=1)}
        judges = enumerate(_listed(folder / JUDGES_FILE), start=1)
        return writers | {f"judge {number}": Path(run) for number, run in judges}
    above = folder.parent
    if (above / BEST).is_file():
        found = {"language" if holds_language_model(above) else "translator": above}
        return found | ({"encoder": above} if holds_encoder(above) else {})
    found = {"translator": above / "translate_train"}
    if (folder / "recipe.yaml").is_file():
        uses = recipe_of_run(folder).uses
        found |= {"language": above / "gloss2text_train"} if uses.language is None else {}
        found |= {"encoder": above / "visual_train"} if uses.encoder is None else {}
    return found


def _weights(run: Path) -> str | None:
    """Return the first digits of the hash of a run's weights, as rows of scores have it."""
    try:
        return best_checkpoint(run, "slt").weights_hash[:12]
    except SltError:  # it has none any more, and outputs are all that is left of it
        return None
