"""`slt weights import`: weights of others become a file to start from, or a run that opens like a trained one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, read_json, require_new_file, write_json
from slt_pipeline.models.foreign import S3D_KINDS, WHAT, Foreign, Kind, read_foreign
from slt_pipeline.models.matching import Match
from slt_pipeline.models.published import match_trunk
from slt_pipeline.models.weights_file import (
    FRAMES,
    SUFFIXES,
    Frames,
    frames_said,
    require_new_weights,
    require_suffix,
    write_weights,
)
from slt_pipeline.systems.published_runs import published_run
from slt_pipeline.training.run import Plan, find_run


@dataclass(frozen=True)
class Said:
    """What the user says of a checkpoint; what is left out it says itself, or is as published."""

    kind: Kind | None = None
    classes: Path | None = None
    """Published table gloss -> class, a pickle or JSON; None: of the recipe's encoder or `visual_train.vocabulary`."""
    frames: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Frames` that are not those of its kind."""
    shape: Mapping[str, float] = field(default_factory=dict)
    """Of Sign2Gloss `width`, `height` and `fps` of the videos that it was trained on."""

    def require_of_use(self, kind: Kind, path: Path) -> None:
        """Refuse what is said of other weights than these.

        Raises:
            SltError: the options that have nothing to say of them.
        """
        if self.classes and kind in (*S3D_KINDS, "gloss2text"):
            raise SltError(f"{path} is {kind}, which has no gloss classes; leave out --gloss-classes")
        if self.shape and kind != "sign2gloss":
            raise SltError(f"{path} is {kind}, whose videos are of any size and rate; leave out --frame-size and --fps")

    def frames_of(self, kind: Kind, path: Path) -> Frames | None:
        """Return the frames that weights of this kind are for; None: it reads no frames.

        Raises:
            SltError: these weights read no frames, and something is said of them.
        """
        known = frames_said(path) or FRAMES.get(kind)
        if self.frames and not known:
            raise SltError(f"{path} is {kind}, which reads no frames; leave out --color-order, --mean and --std")
        return known and Frames(**{**vars(known), **self.frames})


def plan(recipe: Recipe, checkpoint: Path, said: Said, to: Path | None = None) -> Plan:
    """What the stage would read and write."""
    kind = read_foreign(checkpoint).kind(said.kind)
    said.require_of_use(kind, checkpoint)
    if kind in S3D_KINDS:
        return {"weights": checkpoint}, {"weights": _target(checkpoint, kind, to)}
    reads: dict[str, Path | str | None] = {"weights": checkpoint}
    if kind != "gloss2text":
        own = recipe.visual_train.vocabulary if kind == "sign2gloss" else recipe.encoder_folder
        reads["gloss classes"] = said.classes or own
    if kind != "sign2gloss":
        reads |= {"clips": recipe.corpus.manifest, "tokenizer": recipe.text.tokenizer}
    if kind in ("sign2text", "cvslt"):
        reads["store"] = recipe.store
    stage = {"sign2gloss": "visual_train", "gloss2text": "gloss2text_train"}.get(kind, "translate_train")
    return reads, {"run": recipe.run_folder(stage)}


def weights_import(
    recipe: Recipe,
    checkpoint: Path,
    *,
    said: Said = Said(),
    to: Path | None = None,
    report: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the file or the run; what a trained run is checked for when it is opened, this one is checked for too.

    Args:
        recipe: what a published checkpoint was trained as; an S3D alone needs none.
        checkpoint: plain or packed by gzip, or a safetensors file.
        said: what the user knows of it.
        to: safetensors file that an S3D becomes.
        report: JSON file for the full lists of names, written whether they fit or not.
        overwrite: give up an earlier run in the folder, or file.

    Returns:
        what became of it: kind, `where` it lies, `matched` and `told`, the counts in words.

    Raises:
        SltError: the checkpoint is no known one or does not fit the recipe, or what it becomes is there.
    """
    reads = [checkpoint, *([said.classes] if said.classes else [])]
    if report:
        require_new_file(report, "a report of names", _is_report, reads=reads)
        if to and report.resolve() == to.resolve():
            raise SltError(f"--report and --to are both {to}; name another file for one of them")
    foreign = read_foreign(checkpoint)
    kind = foreign.kind(said.kind)
    said.require_of_use(kind, checkpoint)
    origin = {"imported": file_hash(checkpoint), "imported_from": checkpoint.name, "kind": kind}
    if kind in S3D_KINDS:
        return _as_file(foreign, kind, said, _target(checkpoint, kind, to), origin, report, overwrite)
    if to is not None:
        raise SltError(f"{checkpoint} is {kind} ({WHAT[kind]}), which becomes a run of the recipe; leave out --to")
    made = published_run(kind, recipe, said.classes, said.frames_of(kind, checkpoint), said.shape)
    inputs = {**made.inputs, "imported": origin["imported"]}
    run = find_run(recipe.run_folder(made.stage), made.stage, inputs, overwrite=overwrite)
    if run.result is not None:
        told = {**origin, "where": str(run.folder), "told": f"{run.result.get('matched')} names matched"}
        return told | run.result
    model = made.build()
    match = made.match(foreign, model).beside(foreign.beside)
    cure = "set the recipe's system, sizes and vocabularies to the checkpoint's"
    _require(match, f"the checkpoint {checkpoint}", cure, report)
    model.load_state_dict(match.found)
    run.begin(recipe, lambda folder: made.describe(folder, model))
    told = {**origin, "where": str(run.folder), "told": match.line(), **match.report()}
    return run.keep(model, foreign.step, made.score, foreign.best_score, told)


def _as_file(
    foreign: Foreign, kind: Kind, said: Said, to: Path, origin: Mapping[str, Any], report: Path | None, overwrite: bool
) -> dict[str, Any]:
    """Write the trunk of an S3D under our names, with the frames that it is for."""
    require_new_weights(to, [foreign.path], overwrite)
    match, config = match_trunk(foreign.state)
    match = match.beside(foreign.beside)
    _require(match, f"the S3D {foreign.path}", "take a whole S3D of four or five blocks", report)
    frames = said.frames_of(kind, foreign.path)
    assert frames is not None, "every S3D sees frames"
    write_weights(to, match.found, {**origin, "blocks": config.use_blocks, "width": config.width}, frames)
    return {
        **origin,
        "where": str(to),
        "told": match.line(),
        "blocks": config.use_blocks,
        "frames": vars(frames),
        **match.report(),
    }


def _target(checkpoint: Path, kind: Kind, to: Path | None) -> Path:
    if to is None:
        raise SltError(f"{checkpoint} is {kind} ({WHAT[kind]}); name the file that it becomes: --to FILE.safetensors")
    require_suffix(to, SUFFIXES[:1])
    return to


def _require(match: Match, what: str, cure: str, report: Path | None) -> None:
    if report:
        write_json(report, match.report())
    match.require_whole(what, cure)


def _is_report(path: Path) -> bool:
    return Match({}, (), (), (), (), ()).report().keys() <= read_json(path).keys()
