"""Confidence is fitted here: to a translator, on the clips of training, whose features it knows, and of dev."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from torch import Tensor

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.corpora.labels import no_labels
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.measures import Density, gloss_measures
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.systems.confidence import LOG_PROBABILITY, Confidence, Limit, Term, fitted_to
from slt_pipeline.systems.decoding import Sign2Text
from slt_pipeline.systems.features import FeatureStore
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.training.checkpoint import best_checkpoint

Measures = Mapping[str, float]

_AXES = 64
"""Of a density, at most: the directions in which features of training differ most have a spread of their own."""
_STEPS = 40_000
"""Steps that a density is fitted to, at most, spread evenly over all."""
_FOLDS = 5
"""A training clip is measured by a density that was fitted without it, as a new clip is."""
_ROOM = 0.5
"""How far beyond all clips a measure may lie, in its standard deviations."""
_PENALTY = 1.0
"""Of the regression's weights, in clips of standard deviation one."""
_SIGNS = {LOG_PROBABILITY: 1, "gloss entropy": -1, "blank share": -1, "distance": -1}
"""Measures that tell the quality, and in which direction."""


@dataclass(frozen=True)
class Fitted:
    """A confidence, and what was measured on the way."""

    confidence: Confidence
    held_out: Sequence[float]
    """Quality of every dev clip as a regression predicts it that was fitted without it."""
    quality: Sequence[float]
    """Sentence chrF / 100 of every dev clip."""


def fit_confidence(
    recipe: Recipe, translator: Sign2Text, store: FeatureStore, train: Sequence[Clip], dev: Sequence[Clip]
) -> Fitted:
    """Fit the confidence of a translator, on the CPU but for the decoding of dev.

    Args:
        recipe: says how is translated and scored.
        translator: as it was trained.
        store: of the features that it reads.
        train: clips that it was trained on.
        dev: clips with a text.
    """
    stream = "s3d" if "s3d" in store.streams else recipe.translator.stream
    features = {split: _features(store, stream, clips) for split, clips in (("train", train), ("dev", dev))}
    density = fit_density(features["train"])
    seen = [*_measured_apart(features["train"]), *map(density.measures, features["dev"])]
    reads = FeatureDataset(store, recipe.translator.stream, [*dev], no_labels)
    decoded = translator.translate_features(reads, recipe.translate.generation, recipe.evaluate.batch_size, num_best=1)
    of_dev = [
        {LOG_PROBABILITY: best[0].score, **glosses, **measures}
        for best, glosses, measures in zip(
            decoded.nbest, _glosses(translator, store, reads), seen[len(train) :], strict=True
        )
    ]
    of_train = [
        {**glosses, **measures}
        for glosses, measures in zip(_glosses(translator, store, reads.of(train)), seen, strict=False)
    ]
    quality, chance = _qualities(recipe.corpus.protocol, decoded.texts, dev)
    mean, terms, held_out = fit_terms(of_dev, quality)
    found = Confidence(
        fitted_to=fitted_to(translator.weights, store.fingerprint.get("encoder_weights"), recipe.translate.generation),
        clips={"train": len(train), "dev": len(dev)},
        stream=stream,
        mean_quality=mean,
        chance=chance,
        terms=terms,
        limits=fit_limits([*of_train, *of_dev]),
        density=density,
    )
    return Fitted(found, held_out, quality)


def fit_trained(
    recipe: Recipe,
    folder: Path,
    model: SignToText,
    vocabularies: Vocabularies,
    store: FeatureStore,
    train: Sequence[Clip],
    dev: Sequence[Clip],
) -> None:
    """Fit the confidence of the best checkpoint in a run folder, and write it there; `model` is given its weights."""
    checkpoint = best_checkpoint(folder, made_by="")
    checkpoint.load_model(model)
    system = Sign2Text(model.eval(), vocabularies, checkpoint.weights_hash)
    fit_confidence(recipe, system, store, train, dev).confidence.save(folder)


def fit_density(features: Sequence[Tensor]) -> Density:
    """Fit a density to the steps of clips (S, D)."""
    steps = torch.cat(list(features)).double()
    steps = steps[:: -(-len(steps) // _STEPS)].numpy()
    axes = max(1, min(_AXES, steps.shape[1] // 2, len(steps) // 4))
    found = PCA(n_components=axes, svd_solver="covariance_eigh").fit(steps)
    total = float(steps.var(axis=0).sum())
    rest = float(np.sqrt(max(found.noise_variance_, 1e-6 * total / steps.shape[1], 1e-12)))
    spread = np.maximum(np.sqrt(found.explained_variance_), rest)
    return Density(torch.from_numpy(found.mean_), torch.from_numpy(found.components_), torch.from_numpy(spread), rest)


def fit_terms(measures: Sequence[Measures], quality: Sequence[float]) -> tuple[float, dict[str, Term], list[float]]:
    """Fit the quality of clips: linear, each measure in its own direction, and the less of each the fewer clips.

    Returns:
        the mean quality; the terms; the quality of every clip as predicted without it.
    """
    names = [name for name in _SIGNS if name in measures[0]]
    x = np.array([[_SIGNS[name] * clip[name] for name in names] for clip in measures])
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    x, y = (x - centre) / scale, np.asarray(quality)
    ridge = Ridge(alpha=_PENALTY, positive=True)
    weights = ridge.fit(x, y).coef_
    terms = {
        name: Term(float(_SIGNS[name] * centre[i]), float(scale[i]), _SIGNS[name], float(weights[i]))
        for i, name in enumerate(names)
    }
    folds = KFold(min(10, len(y))) if len(y) > 1 else None
    held_out = np.asarray(cross_val_predict(ridge, x, y, cv=folds)) if folds else y
    return float(y.mean()), terms, held_out.tolist()


def fit_limits(measures: Sequence[Measures]) -> dict[str, Limit]:
    """Return within what every measure lies in these clips; some may lack some."""
    values = {name: [clip[name] for clip in measures if name in clip] for clip in measures for name in clip}
    return {
        name: Limit(float(min(each)), float(max(each)), _ROOM * float(np.std(each))) for name, each in values.items()
    }


def _features(store: FeatureStore, stream: str, clips: Sequence[Clip]) -> list[Tensor]:
    return [torch.from_numpy(store.read(clip.id, stream)).float() for clip in clips]


def _measured_apart(features: Sequence[Tensor]) -> list[dict[str, float]]:
    """Measure clips (S, D) by densities fitted to the others."""
    found: dict[int, dict[str, float]] = {}
    folds = min(_FOLDS, len(features))
    for fold in range(folds):
        rest = [each for number, each in enumerate(features) if folds == 1 or number % folds != fold]
        density = fit_density(rest)
        found |= {number: density.measures(features[number]) for number in range(fold, len(features), folds)}
    return [found[number] for number in range(len(features))]


@torch.no_grad()
def _glosses(translator: Sign2Text, store: FeatureStore, features: FeatureDataset) -> list[dict[str, float]]:
    """Measure gloss probabilities: of the translator's own head where it has one, or as they are stored."""
    if not translator.recognises:
        kept = "gloss_logits" in store.streams
        return [
            gloss_measures(torch.from_numpy(store.read(clip.id, "gloss_logits"))) if kept else {}
            for clip in features.clips
        ]
    found: dict[int, dict[str, float]] = {}
    for indices in translator.batches(features, 32):
        taps = translator.taps(features.batch([features.clips[index] for index in indices]))
        assert taps.gloss_logits is not None
        for index, logits, length in zip(indices, taps.gloss_logits.cpu(), taps.lengths.tolist(), strict=True):
            found[index] = gloss_measures(logits[:length])
    return [found[index] for index in range(len(found))]


def _qualities(protocol: str, texts: Sequence[str], clips: Sequence[Clip]) -> tuple[list[float], float]:
    """Return sentence chrF / 100 of texts, and their mean quality beside the references of other clips."""
    rules, references = get_protocol(protocol), [clip.text or "" for clip in clips]
    others = [
        references[(number + shift) % len(clips)]
        for shift in range(1, min(len(clips), 11))
        for number in range(len(clips))
    ]
    quality = rules.sentence_chrf(texts, references)
    if not others:
        return quality, 0.0
    return quality, float(np.mean(rules.sentence_chrf([*texts] * (len(others) // len(texts)), others)))
