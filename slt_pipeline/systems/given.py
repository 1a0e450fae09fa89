"""What runs of a sweep are given: tokenizer, first weights, teachers, judges, encoder, language model; their hashes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.rerank import RerankConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import text_hash
from slt_pipeline.systems.features import open_features
from slt_pipeline.systems.rerank import weights_of_judges
from slt_pipeline.systems.translator import text_inputs, trained_language_model
from slt_pipeline.training.checkpoint import best_checkpoint


def made_from(runs: Sequence[Recipe], base: Recipe, stage: str) -> dict[str, str | None]:
    """Return a hash of all weights that runs start from, learn from, read the features of or are judged by, by name.

    A run that has not what it needs is a row of its table that says so.

    Args:
        runs: recipes of a sweep's runs.
        base: that of the sweep itself, whose encoder and language model are named without their folders.
        stage: which of its stages trains them.

    Raises:
        SltError: no run has what it needs; this is what the first one lacks.
    """
    found: dict[str, str | None] = {}
    failed: list[SltError] = []
    seen: set[tuple[str, ...]] = set()
    for run in runs:
        try:
            different = tuple(map(str, (*_folders(run, stage), *_lenders(run, stage), _judges(run, stage))))
            if different not in seen:
                found |= {**_given(run, stage), **_lent(run, base, stage)}
                seen.add(different)
        except SltError as error:
            failed.append(error)
    if failed and not seen:
        raise failed[0]
    return found


def _folders(recipe: Recipe, stage: str) -> list[Path | str | None]:
    """Folders that a run takes something from, as its recipe names them."""
    teachers = recipe.gloss2text_train.teachers if stage == "gloss2text_train" else ()
    return [recipe.text.tokenizer, recipe.translator.of_language_model.folder, *teachers]


def _lenders(recipe: Recipe, stage: str) -> tuple[Path | str | None, Path | None]:
    """The store that a run reads, and the run whose language model it begins with."""
    if stage == "gloss2text_train":
        return None, None
    return recipe.store, recipe.language_folder if recipe.translate_train.init_language else None


def _judges(recipe: Recipe, stage: str) -> RerankConfig | None:
    """What judges the texts of a run: of a translator of signs nothing does."""
    return recipe.evaluate.rerank if stage == "gloss2text_train" else None


def _given(recipe: Recipe, stage: str) -> dict[str, str | None]:
    tokenizer, model, *teachers = _folders(recipe, stage)
    name, inputs = recipe.translator.language_model, text_inputs(recipe)
    found: dict[str, str | None] = {}
    if tokenizer is not None:
        found[f"tokenizer in {tokenizer}"] = _hash([inputs["tokenizer"], inputs["tokenizer_files"]])
    if model is not None:
        found[f"{name} in {model}"] = _hash(inputs[f"{name}_files"])
    for teacher in teachers:
        weights = best_checkpoint(Path(str(teacher)), "slt gloss2text-train").weights_hash
        found[f"weights of the teacher {teacher}"] = weights
    if _judges(recipe, stage):
        found |= {f"weights of the judge {judge}": weights for judge, weights in weights_of_judges(recipe).items()}
    return found


def _lent(recipe: Recipe, base: Recipe, stage: str) -> dict[str, str | None]:
    (store, language), (own_store, own_language) = _lenders(recipe, stage), _lenders(base, stage)
    found: dict[str, str | None] = {}
    if store is not None:
        name = "encoder" if store == own_store else f"encoder of {store}"
        found[name] = open_features(recipe).fingerprint.get("encoder_weights")
    if language is not None:
        name = "language model" if language == own_language else f"language model in {language}"
        found[name] = trained_language_model(recipe, language).weights_hash
    return found


def _hash(data: Any) -> str:
    return text_hash(json.dumps(data, sort_keys=True))
