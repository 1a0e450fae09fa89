"""`slt translate-train`: the translator, trained on the feature store in minutes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import tell_what_ctc_cannot_learn, with_glosses
from slt_pipeline.corpora.features import FeatureDataset, as_it_is, require_clips, require_stream
from slt_pipeline.corpora.labels import Labels
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.ctc import infeasible, is_blank
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import RECOGNITION
from slt_pipeline.systems.confidence_fit import fit_trained
from slt_pipeline.systems.decoding import Sign2Text
from slt_pipeline.systems.features import FeatureStore, encodable, open_features, widths_of
from slt_pipeline.systems.recogniser import recognise
from slt_pipeline.systems.scores import score_recognised, score_texts
from slt_pipeline.systems.start import Start, to_keep_both
from slt_pipeline.systems.texts import check_texts
from slt_pipeline.training import distributed
from slt_pipeline.training.devices import pick_device, require_precision
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.run import Plan, find_run
from slt_pipeline.training.trainable import Trainable

STAGE = "translate_train"


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    config = recipe.translate_train
    reads = {
        "clips": recipe.corpus.manifest,
        "store": recipe.store,
        "language model": recipe.language_folder if config.init_language else None,
        "gloss classes": recipe.encoder_folder,
    }
    return reads, {"run": recipe.run_folder(STAGE)}


def translate_train(
    recipe: Recipe,
    *,
    device: str = "auto",
    overwrite: bool = False,
    extend: bool = False,
    folder: Path | None = None,
    give_up: Callable[[], bool] | None = None,
    fit: bool = True,
) -> dict[str, Any]:
    """Train mapper and mBART (and the visual head, with CTC, where the recipe says so); best by dev BLEU-4.

    Args:
        recipe: the experiment.
        device: where it computes.
        overwrite: give up an earlier run in the folder.
        extend: go on for more epochs than it was planned for.
        folder: where the run goes; None: the stage's own. A sweep gives each run a folder.
        give_up: asked after each validation but the last whether the run is to be given up, as a search does.
        fit: fit a confidence at the end; a sweep fits that of its best run alone.
    """
    config, where = recipe.translate_train, pick_device(device)
    start, held_on = Start.of(recipe), where if config.features_in == "device" else None
    store = open_features(recipe, features_in=config.features_in)
    clips, dev = (_clips(recipe, store, split) for split in ("train", "dev"))
    home, given = folder or recipe.run_folder(STAGE), to_keep_both(recipe, "encoder", "language")
    run = find_run(home, STAGE, start.inputs(store), overwrite=overwrite, extend=extend, to_keep_both=given)
    if run.result is not None:
        return run.result
    require_precision(where, config.training.precision)
    torch.manual_seed(recipe.seed)
    model, vocabularies = start.build(widths := widths_of(store)), start.vocabularies
    _look_at_labels(recipe, start, store, model, clips, dev)
    run.begin(recipe, lambda folder: start.describe(folder, model, widths))
    objective = Objective({part: weight for part, weight in config.objective.items() if part in model.parts})
    learns_text = not objective.parts.isdisjoint(model.translator.parts)
    labels = Labels.of(vocabularies.text, start.classes)
    dataset = FeatureDataset(store, recipe.translator.stream, clips, labels, held_on)
    trainable = Trainable(
        model=model,
        parameter_groups=model.parameter_groups(objective.parts),
        dataset=dataset,
        padding=dataset.padding,
        num_items=len(clips),
        collate=as_it_is,
        losses=lambda translator, batch: translator(batch, objective.parts),
        objective=objective,
        validate=_Validation(recipe, start, dataset.of(dev if learns_text else with_glosses(dev, "dev", "WER"))),
        score="bleu4" if learns_text else "wer",
        higher_is_better=learns_text,
        protocol=get_protocol(recipe.corpus.protocol).title,
        on_device=held_on is not None,
        lengths=[dataset.length(clip) + len(vocabularies.text.encode(clip.text or "")) for clip in clips],
        names=[clip.id for clip in clips],
        give_up=give_up,
        counts=infeasible if model.front.recognises and RECOGNITION in objective.parts else None,
    )
    end = partial(fit_trained, recipe, home, model, vocabularies, store, clips, dev) if fit and learns_text else None
    return run.train(trainable, config.training, recipe.seed, where, at_end=end)


def _look_at_labels(
    recipe: Recipe, start: Start, store: FeatureStore, model: SignToText, clips: list[Clip], dev: list[Clip]
) -> None:
    """Say of texts and glosses what the model cannot learn, and refuse what it has no room for."""
    check_texts(
        start.vocabularies.text,
        [*clips, *dev],
        [store.length(clip.id) for clip in (*clips, *dev)],
        max_positions=model.translator.mbart.config.max_position_embeddings,
        generation=recipe.translate_train.generation,
        protocol=recipe.corpus.protocol,
        side_by_side=model.translator.reads_text,
    )
    if model.front.recognises:
        tell_what_ctc_cannot_learn(clips, dev, start.classes)


@dataclass(frozen=True)
class _Validation:
    """Scores of a translator on dev: its texts, and where it recognises, its glosses."""

    recipe: Recipe
    start: Start
    features: FeatureDataset

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        assert isinstance(model, SignToText)
        config, protocol, dev = self.recipe.translate_train, self.recipe.corpus.protocol, self.features.clips
        system = Sign2Text(model, self.start.vocabularies)

        def decoded(clips: list[Clip]) -> list[tuple[str, tuple[tuple[str, ...], bool]]]:
            features = self.features.of(clips)
            texts, _, logits = system.translate_features(features, config.generation, self.recipe.evaluate.batch_size)
            glosses = recognise(logits, self.start.classes, config.beam_size) if logits else [()] * len(clips)
            blank = [is_blank(each) for each in logits] or [False] * len(clips)
            return list(zip(texts, zip(glosses, blank, strict=True), strict=True))

        found = distributed.shared_out(dev, decoded)
        scores = score_texts(protocol, [text for text, _ in found], dev)
        signed = [i for i, clip in enumerate(dev) if clip.gloss]
        if system.recognises and signed:
            scores |= score_recognised(protocol, [found[i][1] for i in signed], [dev[i] for i in signed])
        return scores


def _clips(recipe: Recipe, store: FeatureStore, split: str) -> list[Clip]:
    """Clips of a split that have a text and, in the store, features."""
    clips = encodable(recipe, store, load_clips(recipe.corpus.manifest, split, needs=["text"]))
    require_stream(recipe.translator.stream, store.streams)
    require_clips(store, clips)
    return clips
