"""`slt gloss2text-train`: mBART learns the domain's language from glosses."""

from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.features import LabelDataset, as_it_is
from slt_pipeline.models.translator import Translator
from slt_pipeline.stages._corpus import load_clips
from slt_pipeline.stages._run import Plan, file_hash, open_run, training_inputs
from slt_pipeline.stages._translator import (
    BatchLabels,
    TextSide,
    build_gloss2text,
    gloss2text,
    score_texts,
    text_inputs,
)
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.loop import Job

STAGE = "gloss2text_train"


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    reads = {
        "clips": recipe.corpus.manifest,
        "tokenizer": recipe.text.tokenizer,
        "mBART": recipe.translator.mbart.folder,
    }
    return reads, {"run": recipe.run_folder(STAGE)}


def gloss2text_train(recipe: Recipe, *, device: str = "auto", overwrite: bool = False) -> dict[str, Any]:
    """Train mBART on gloss to text; the best checkpoint is by dev BLEU-4."""
    config = recipe.gloss2text_train
    inputs = {
        "seed": recipe.seed,
        "clips": file_hash(Path(recipe.corpus.manifest)),
        "protocol": recipe.corpus.protocol,
        **text_inputs(recipe),
        "freeze_embeddings": config.freeze_embeddings,
        "generation": config.generation.model_dump(mode="json"),
        "training": training_inputs(config.training),
    }
    run = open_run(recipe, STAGE, inputs, overwrite=overwrite)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    clips = load_clips(recipe, "train", needs=["gloss", "text"])
    dev = load_clips(recipe, "dev", needs=["gloss", "text"])
    side = TextSide.of(recipe)
    side.save(run.folder)
    torch.manual_seed(recipe.seed)
    model = build_gloss2text(recipe, side)

    def losses(translator: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"loss": translator(**batch).loss}

    def validate(translator: torch.nn.Module) -> dict[str, float]:
        assert isinstance(translator, Translator)
        glosses = [clip.gloss or () for clip in dev]
        size = config.training.batch_size
        return score_texts(recipe, gloss2text(translator, side, glosses, config.generation, size), dev)

    job = Job(
        model=model,
        parts={"translation": list(model.parameters())},
        dataset=LabelDataset(clips, BatchLabels(side, gloss_input=True)),
        num_items=len(clips),
        collate=as_it_is,
        losses=losses,
        validate=validate,
        score="bleu4",
        higher_is_better=True,
    )
    return run.train(job, config.training, recipe.seed, where)
