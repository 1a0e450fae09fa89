"""`slt weights import`: a published translator becomes a run of translate-train that evaluates and translates."""

from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.translator import CVSLTConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash
from slt_pipeline.models.published import CLASSES, PIECES, PublishedCheckpoint, match_published, read_published
from slt_pipeline.systems.features import open_features, widths_of
from slt_pipeline.systems.start import Start
from slt_pipeline.training.run import Plan, find_run

STAGE = "translate_train"
"""What the run is one of."""
SCORE = "bleu4"
"""By which published translators are chosen (FACTS 8.1)."""


def plan(recipe: Recipe, checkpoint: Path, classes: Path | None = None) -> Plan:
    """What the stage would read and write."""
    reads = {
        "weights": checkpoint,
        "clips": recipe.corpus.manifest,
        "store": recipe.store,
        "tokenizer": recipe.text.tokenizer,
        "gloss classes": classes or recipe.encoder_folder,
    }
    return reads, {"run": recipe.run_folder(STAGE)}


def weights_import(
    recipe: Recipe, checkpoint: Path, *, classes: Path | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Write the run; what a trained one is checked for when it is opened, this one is checked for too.

    Args:
        recipe: what the checkpoint was trained as; its store holds what the run will read.
        checkpoint: of the published code, of the whole translator, plain or packed by gzip.
        classes: published table gloss -> class, a pickle or JSON; None: the classes of the recipe's encoder.
        overwrite: give up an earlier run in the folder.
    """
    if recipe.translator.head != "trained":
        raise SltError(
            f"recipe {recipe.name} has translator.head = {recipe.translator.head!r}, and a published translator brings "
            "its own visual head; set -o translator.head=trained"
        )
    published, origin = read_published(checkpoint), {"imported": file_hash(checkpoint)}
    start, store = Start.of_published(recipe, classes), open_features(recipe)
    inputs = {**start.inputs(store), **origin}
    run = find_run(recipe.run_folder(STAGE), STAGE, inputs, overwrite=overwrite)
    if run.result is not None:
        return run.result
    _require_settings(published, start, f"the checkpoint {checkpoint}")
    widths = widths_of(store)
    model = start.build(widths)
    match = match_published(published.state, model)
    match.require_whole(f"the checkpoint {checkpoint}")
    model.load_state_dict(match.found)
    start.describe(run.begin(recipe), model, widths)
    told = {**origin, "imported_from": checkpoint.name, "matched": len(match.found)}
    return run.keep(model, published.step, SCORE, published.best_score, told)


def _require_settings(published: PublishedCheckpoint, start: Start, what: str) -> None:
    """Refuse a checkpoint whose settings contradict the recipe."""
    recipe = start.recipe
    ours = {
        "encoder.head.hidden": recipe.encoder.head.hidden,
        "encoder.head.feedforward": recipe.encoder.head.feedforward,
        CLASSES: len(start.classes),
        PIECES: start.vocabularies.text.vocab_size,
    }
    if isinstance(recipe.translator, CVSLTConfig):
        ours |= {"translator.latent": recipe.translator.latent, "translator.attention": recipe.translator.attention}
    for name, theirs in published.settings().items():
        if theirs != ours.get(name, theirs):
            cure = {
                CLASSES: "name the table that it was trained with by --gloss-classes",
                PIECES: "name the mBART folder it was trained with: -o text.tokenizer= -o translator.mbart.folder=",
            }.get(name, f"set -o {name}={theirs}")
            raise SltError(f"{what} has {name} {theirs}, the recipe {ours[name]}; {cure}")
