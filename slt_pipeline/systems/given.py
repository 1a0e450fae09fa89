"""What a run is given by folder: tokenizer, first weights, teachers, and what they hold now."""

import json
from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.files import text_hash
from slt_pipeline.systems.translator import text_inputs
from slt_pipeline.training.checkpoint import best_checkpoint


def given_folders(recipe: Recipe, stage: str) -> list[Path | str | None]:
    """Return the folders that runs of a stage take something from, as the recipe names them."""
    teachers = recipe.gloss2text_train.teachers if stage == "gloss2text_train" else ()
    return [recipe.text.tokenizer, recipe.translator.of_language_model.folder, *teachers]


def given_weights(recipe: Recipe, stage: str) -> dict[str, str]:
    """Return a hash of what runs of a stage take from each folder that the recipe names, by words that name it.

    Raises:
        SltError: a folder does not hold it.
    """
    tokenizer, model, *teachers = given_folders(recipe, stage)
    name, inputs = recipe.translator.language_model, text_inputs(recipe)
    found: dict[str, str] = {}
    if tokenizer is not None:
        found[f"tokenizer in {tokenizer}"] = _hash([inputs["tokenizer"], inputs["tokenizer_files"]])
    if model is not None:
        found[f"{name} in {model}"] = _hash(inputs[f"{name}_files"])
    for teacher in teachers:
        weights = best_checkpoint(Path(str(teacher)), "slt gloss2text-train").weights_hash
        found[f"weights of the teacher {teacher}"] = weights
    return found


def _hash(data: Any) -> str:
    return text_hash(json.dumps(data, sort_keys=True))
