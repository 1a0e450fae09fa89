"""`slt evaluate`: decode splits and score them the way the papers do."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.files import write_json
from slt_pipeline.report.tables import text_table
from slt_pipeline.stages._corpus import load_clips
from slt_pipeline.stages._encoder import VOCABULARY_FILE, recognise, score_glosses
from slt_pipeline.stages._run import Plan
from slt_pipeline.stages._store import FeatureStore, encodable, open_features
from slt_pipeline.stages._translator import (
    gloss2text,
    load_gloss2text,
    load_sign2text,
    no_labels,
    score_texts,
    sign2text,
)
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.devices import pick_device


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    reads = {"clips": recipe.corpus.manifest, "store": recipe.store_folder} | {
        name: recipe.run_folder(name) for name in ("visual_train", "gloss2text_train", "translate_train")
    }
    return reads, {"scores": recipe.run_folder("evaluate")}


def evaluate(recipe: Recipe, *, device: str = "auto") -> dict[str, Any]:
    """Score every task on every split of the recipe; `rows` holds the scores, `table` shows them."""
    where = pick_device(device)
    folder = recipe.run_folder("evaluate")
    save_recipe(recipe, folder)
    rows = []
    store: FeatureStore | None = None
    for task in recipe.evaluate.tasks:
        for split in recipe.evaluate.splits:
            clips = load_clips(recipe, split, needs=_NEEDS[task])
            if task == "gloss2text":
                hypotheses, scores = _translate_glosses(recipe, [clip.gloss or () for clip in clips], clips, where)
            else:
                store = open_features(recipe) if store is None else store
                clips = encodable(recipe, store, clips)
                hypotheses, scores = _FROM_STORE[task](recipe, store, clips, where)
            write_hypotheses(folder / f"{task}-{split}.json", task, split, clips, hypotheses, scores)
            rows.append({"task": task, "split": split, **scores})
    write_json(folder / "scores.json", rows)
    return {"rows": rows, "table": text_table(rows, columns=COLUMNS)}


def write_hypotheses(
    path: Path, task: str, split: str, clips: Sequence[Clip], hypotheses: Sequence[str], scores: dict[str, float]
) -> None:
    """What was decoded beside what was right, clip by clip."""
    wanted = [" ".join(clip.gloss or ()) if task == "sign2gloss" else clip.text for clip in clips]
    pairs = [
        {"id": clip.id, "hypothesis": hypothesis, "reference": reference}
        for clip, hypothesis, reference in zip(clips, hypotheses, wanted, strict=True)
    ]
    write_json(path, {"task": task, "split": split, "scores": scores, "clips": pairs})


COLUMNS = ("task", "split", "wer", "bleu1", "bleu2", "bleu3", "bleu4", "rouge")
_NEEDS = {
    "sign2gloss": ("gloss",),
    "gloss2text": ("gloss", "text"),
    "sign2gloss2text": ("text",),
    "sign2text": ("text",),
}


def decode_sign2gloss(recipe: Recipe, store: FeatureStore, clips: Sequence[Clip]) -> list[tuple[str, ...]]:
    """Glosses of every clip, from the logits in the store."""
    classes = GlossVocabulary.load(recipe.run_folder("visual_train") / VOCABULARY_FILE)
    stored = FeatureDataset(store, "gloss_logits", clips, no_labels)
    logits = [torch.from_numpy(stored.store.read(clip.id, "gloss_logits")).float() for clip in clips]
    return recognise(logits, classes, recipe.evaluate.beam_size)


def decode_sign2text(
    recipe: Recipe, store: FeatureStore, clips: Sequence[Clip], device: torch.device, folder: Path | None = None
) -> tuple[list[str], dict[str, float]]:
    """Texts and scores of the translator in `folder` (None: that of translate-train)."""
    model, side = load_sign2text(recipe, device, folder)
    features = FeatureDataset(store, recipe.translator.stream, clips, no_labels)
    texts, _ = sign2text(model, side, features, recipe.evaluate.generation, recipe.evaluate.batch_size)
    return texts, score_texts(recipe, texts, clips)


def _sign2gloss(
    recipe: Recipe, store: FeatureStore, clips: Sequence[Clip], device: torch.device
) -> tuple[list[str], dict[str, float]]:
    glosses = decode_sign2gloss(recipe, store, clips)
    scores = asdict(score_glosses(recipe, glosses, clips))
    return [" ".join(g) for g in glosses], scores


def _sign2gloss2text(
    recipe: Recipe, store: FeatureStore, clips: Sequence[Clip], device: torch.device
) -> tuple[list[str], dict[str, float]]:
    return _translate_glosses(recipe, decode_sign2gloss(recipe, store, clips), clips, device)


def _translate_glosses(
    recipe: Recipe, glosses: Sequence[Sequence[str]], clips: Sequence[Clip], device: torch.device
) -> tuple[list[str], dict[str, float]]:
    model, side = load_gloss2text(recipe, device)
    texts = gloss2text(model, side, glosses, recipe.evaluate.generation, recipe.evaluate.batch_size)
    return texts, score_texts(recipe, texts, clips)


_FROM_STORE = {
    "sign2gloss": _sign2gloss,
    "sign2gloss2text": _sign2gloss2text,
    "sign2text": decode_sign2text,
}
