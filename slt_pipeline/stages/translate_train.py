"""`slt translate-train`: the translator, trained on the feature store in minutes."""

from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.features import FeatureDataset, as_it_is, require_clips, require_stream
from slt_pipeline.files import write_json
from slt_pipeline.models.sign_translator import SignTranslator
from slt_pipeline.stages._corpus import load_clips
from slt_pipeline.stages._encoder import VOCABULARY_FILE, recognise, score_glosses
from slt_pipeline.stages._run import Plan, file_hash, open_run, training_inputs
from slt_pipeline.stages._store import encodable, open_features
from slt_pipeline.stages._translator import (
    WIDTHS_FILE,
    BatchLabels,
    TextSide,
    build_sign2text,
    score_texts,
    sign2text,
    text_inputs,
)
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import WEIGHTS, Checkpoint, best_checkpoint
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.loop import Job

STAGE = "translate_train"


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    config = recipe.translate_train
    reads = {
        "clips": recipe.corpus.manifest,
        "store": recipe.store_folder,
        "language model": recipe.run_folder("gloss2text_train") if config.init_language else None,
        "gloss classes": recipe.run_folder("visual_train"),
    }
    return reads, {"run": recipe.run_folder(STAGE)}


def translate_train(
    recipe: Recipe, *, device: str = "auto", overwrite: bool = False, folder: Path | None = None
) -> dict[str, Any]:
    """Train mapper and mBART (and the visual head, with CTC, where the recipe says so); best by dev BLEU-4.

    **Arguments:** `folder`: where the run goes; None: the stage's own. A sweep gives each run a folder.
    """
    config = recipe.translate_train
    where = pick_device(device)
    store = open_features(recipe, resident=config.resident, device=where)
    head = _weights_of_head(recipe)
    language = _weights_of_language(recipe)
    inputs = {
        "seed": recipe.seed,
        "clips": file_hash(Path(recipe.corpus.manifest)),
        "protocol": recipe.corpus.protocol,
        "store": store.fingerprint,
        "store_dtype": store.streams[recipe.translator.stream].dtype
        if recipe.translator.stream in store.streams
        else None,
        "store_keep_bits": store.compression and store.compression.keep_bits,
        "head_config": recipe.encoder.head.model_dump(mode="json"),
        "beam_size": config.beam_size,
        "head": head and file_hash(head.folder / WEIGHTS),
        "language": language and file_hash(language.folder / WEIGHTS),
        **text_inputs(recipe),
        "translator": recipe.translator.model_dump(mode="json"),
        "generation": config.generation.model_dump(mode="json"),
        "training": training_inputs(config.training),
    }
    clips = encodable(recipe, store, load_clips(recipe, "train", needs=["text"]))
    dev = encodable(recipe, store, load_clips(recipe, "dev", needs=["text"]))
    require_stream(recipe.translator.stream, store.streams)
    require_clips(store, [*clips, *dev])  # before `open_run` gives up an earlier run for this one
    run = open_run(recipe, STAGE, inputs, overwrite=overwrite, folder=folder)
    if run.result is not None:
        return run.result
    side = TextSide.of(recipe)
    side.save(run.folder)
    classes = GlossVocabulary.load(recipe.run_folder("visual_train") / VOCABULARY_FILE)
    classes.save(run.folder / VOCABULARY_FILE)
    torch.manual_seed(recipe.seed)
    widths = {name: spec.dim for name, spec in store.streams.items()}
    write_json(run.folder / WIDTHS_FILE, widths)
    model = build_sign2text(recipe, side, classes, widths)
    if language:
        model.translator.load_language_model(language.weights)
    if head and model.head is not None:
        model.head.load_state_dict({k[5:]: v for k, v in head.weights.items() if k.startswith("head.")})

    labels = BatchLabels(side, classes=None if model.head is None else classes)
    stream = recipe.translator.stream
    dev_features = FeatureDataset(store, stream, dev, labels)

    def losses(translator: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        out = translator(**batch)
        parts = {"translation_loss": out.translation_loss, "recognition_loss": out.recognition_loss}
        return {"loss": out.loss, **{name: loss for name, loss in parts.items() if loss is not None}}

    def validate(translator: torch.nn.Module) -> dict[str, float]:
        assert isinstance(translator, SignTranslator)
        size = config.training.batch_size
        texts, gloss_logits = sign2text(translator, side, dev_features, config.generation, size)
        scores = score_texts(recipe, texts, dev)
        if gloss_logits and all(clip.gloss for clip in dev):
            scores["wer"] = score_glosses(recipe, recognise(gloss_logits, classes, config.beam_size), dev).wer
        return scores

    job = Job(
        model=model,
        parts=model.parts(),
        dataset=FeatureDataset(store, stream, clips, labels),
        num_items=len(clips),
        collate=as_it_is,
        losses=losses,
        validate=validate,
        score="bleu4",
        higher_is_better=True,
        on_device=config.resident == "device",
        lengths=[store.length(clip.id) for clip in clips],
    )
    return run.train(job, config.training, recipe.seed, where)


def _weights_of_head(recipe: Recipe) -> Checkpoint | None:
    if recipe.translator.head == "frozen" or recipe.translate_train.init_head is None:
        return None
    return best_checkpoint(recipe.run_folder("visual_train"), made_by=f"slt visual-train -r {recipe.name}")


def _weights_of_language(recipe: Recipe) -> Checkpoint | None:
    if recipe.translate_train.init_language is None:
        return None
    return best_checkpoint(recipe.run_folder("gloss2text_train"), made_by=f"slt gloss2text-train -r {recipe.name}")
