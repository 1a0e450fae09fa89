"""`slt gloss2text-train`: mBART, or a GPT-2, learns the domain's language from glosses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import with_glosses
from slt_pipeline.corpora.features import as_it_is
from slt_pipeline.corpora.gloss_text import GlossTextDataset, in_direction
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.files import file_hash
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.translator import Translator
from slt_pipeline.systems.other_clips import tell_of_other_clips
from slt_pipeline.systems.scores import score_texts
from slt_pipeline.systems.start import require_own
from slt_pipeline.systems.teachers import Teachers, weights_of_teachers
from slt_pipeline.systems.texts import check_texts, warn_of_unknown_glosses
from slt_pipeline.systems.translator import (
    GLOSS_SUFFIX,
    Gloss2Text,
    build_gloss2text,
    language_inputs,
    save_architecture,
)
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.training import distributed
from slt_pipeline.training.devices import pick_device, require_precision
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.run import Plan, find_run
from slt_pipeline.training.trainable import Trainable

STAGE = "gloss2text_train"


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    reads = {
        "clips": recipe.corpus.manifest,
        "tokenizer": recipe.text.tokenizer,
        "language model": recipe.translator.of_language_model.folder,
        **{f"teacher {n}": folder for n, folder in enumerate(recipe.gloss2text_train.teachers, start=1)},
    }
    return reads, {"run": recipe.run_folder(STAGE)}


def gloss2text_train(
    recipe: Recipe,
    *,
    device: str = "auto",
    overwrite: bool = False,
    extend: bool = False,
    folder: Path | None = None,
    give_up: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Train a language model on gloss to text; best by dev BLEU-4. Arguments are those of translate_train."""
    require_own(recipe, "language")
    config, manifest, protocol = recipe.gloss2text_train, recipe.corpus.manifest, recipe.corpus.protocol
    folder = folder or recipe.run_folder(STAGE)
    run = find_run(folder, STAGE, _inputs(recipe, folder), overwrite=overwrite, extend=extend)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    require_precision(where, config.training.precision)
    form, direction = recipe.translator.gloss_input, recipe.translator.direction
    clips, dev = (in_direction(_clips(manifest, split), direction) for split in ("train", "dev"))
    vocabularies = Vocabularies.build(recipe.corpus, recipe.text, form, direction)
    torch.manual_seed(recipe.seed)
    model, teachers = build_gloss2text(recipe, vocabularies), Teachers.open(recipe, vocabularies, where)
    tell_of_other_clips(folder, [Path(teacher) for teacher in config.teachers], run.inputs["clips"])
    dataset = _dataset(recipe, clips, vocabularies)
    _look_at_texts(recipe, vocabularies, model, dataset, dev)

    def describe(folder: Path) -> None:
        vocabularies.save(folder)
        save_architecture(folder, model)

    run.begin(recipe, describe)
    noise = config.regularise
    objective = Objective({"translation": 1.0, "agreement": noise.agreement, "distillation": noise.distillation})
    trainable = Trainable(
        model=model,
        parameter_groups=model.parameter_groups(objective.parts),
        dataset=dataset,
        padding=dataset.padding,
        num_items=len(dataset),
        collate=as_it_is,
        losses=lambda translator, batch: translator(teachers.answer(batch), objective.parts),
        objective=objective,
        validate=lambda translator: _scores(translator, vocabularies, recipe, dev),
        score="bleu4",
        higher_is_better=True,
        protocol=get_protocol(protocol).title,
        lengths=dataset.lengths() if config.training.bucket else None,
        names=[clip.id for clip in dataset.clips],
        give_up=give_up,
    )
    return run.train(trainable, config.training, recipe.seed, where)


def _look_at_texts(
    recipe: Recipe, vocabularies: Vocabularies, model: Translator, dataset: GlossTextDataset, dev: list[Clip]
) -> None:
    """Say of texts what cannot be learned, and refuse what the model has no room for."""
    reader = vocabularies.gloss_reader(recipe.translator.gloss_input)
    for split, clips in (("train", dataset.clips), ("dev", dev)):
        warn_of_unknown_glosses(reader, [clip.gloss or () for clip in clips], f"{STAGE}: {split}")
    check_texts(
        vocabularies.text,
        [*dataset.clips, *dev],
        [*dataset.source_lengths(), *(reader.length(clip.gloss or ()) for clip in dev)],
        max_positions=model.mbart.config.max_position_embeddings,
        generation=recipe.gloss2text_train.generation,
        protocol=recipe.corpus.protocol,
        side_by_side=model.reads_text,
        of=recipe.translator.language_model,
    )


def _scores(model: torch.nn.Module, vocabularies: Vocabularies, recipe: Recipe, clips: list[Clip]) -> dict[str, float]:
    """Scores of the texts of clips, which all processes share out."""
    assert isinstance(model, Translator)
    system, generation = Gloss2Text(model, vocabularies), recipe.gloss2text_train.generation
    texts = distributed.shared_out(
        clips,
        lambda part: system.translate([clip.gloss or () for clip in part], generation, recipe.evaluate.batch_size),
    )
    return score_texts(recipe.corpus.protocol, texts, clips)


def _dataset(recipe: Recipe, clips: list[Clip], vocabularies: Vocabularies) -> GlossTextDataset:
    noise = recipe.gloss2text_train.regularise
    return GlossTextDataset(
        clips,
        vocabularies.text,
        vocabularies.gloss_reader(recipe.translator.gloss_input),
        seed=recipe.seed,
        gloss_dropout=noise.gloss_dropout,
        piece_dropout=noise.piece_dropout,
        also=recipe.gloss2text_train.also,
    )


def _clips(manifest: str, split: str) -> list[Clip]:
    """Clips of a split that have glosses; all have a text."""
    return with_glosses(load_clips(manifest, split, needs=["text"]), split, "gloss2text-train")


def _inputs(recipe: Recipe, folder: Path) -> dict[str, Any]:
    config = recipe.gloss2text_train
    return {
        "seed": recipe.seed,
        "clips": file_hash(Path(recipe.corpus.manifest)),
        "protocol": recipe.corpus.protocol,
        **language_inputs(recipe, GLOSS_SUFFIX),
        "freeze_embeddings": config.freeze_embeddings,
        "generation": config.generation,
        "regularise": config.regularise,
        "also": config.also,
        "teachers": weights_of_teachers(config.teachers, folder),
        "training": config.training,
    }
