"""Confidence is fitted here: to a translator, on the clips of training, whose features it knows, and of dev."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.taps import Stream
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.corpora.labels import no_labels
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.measures import gloss_measures
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.systems.confidence import LOG_PROBABILITY, Confidence, Limit, Term, fitted_to
from slt_pipeline.systems.decoding import Sign2Text
from slt_pipeline.systems.features import FeatureStore, encodable
from slt_pipeline.systems.likeness import LikenessFit
from slt_pipeline.systems.outputs import Outputs
from slt_pipeline.systems.tasks import Systems
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.training import distributed
from slt_pipeline.training.checkpoint import best_checkpoint

log = logging.getLogger(__name__)

Measures = Mapping[str, float]

_RARE = 1 / 400
"""Share of the clips like those of training that may lie beyond a limit, if they are spread as a Gaussian is."""
_PENALTY = 1.0
"""Of the squared weights of the regression, whose measures have a standard deviation of one."""
_DISTANCES = ("distance", "distance of a stretch", "distance of steps")
_SIGNS = {
    LOG_PROBABILITY: 1,
    **dict.fromkeys(("gloss entropy", "blank share", *_DISTANCES, "steps"), -1),
}
"""Measures that tell the quality, and in which direction."""
_LOW, _HIGH = (
    frozenset({LOG_PROBABILITY, "blank share", "steps", "change"}),
    frozenset({"gloss entropy", "blank share", "steps", "change", *_DISTANCES}),
)
"""Measures whose low, and whose high, values are unlike training."""


@dataclass(frozen=True)
class Fitted:
    """A confidence, and what was measured on the way."""

    confidence: Confidence
    held_out: Sequence[float]
    """Quality of every dev clip that it was fitted to, as a regression predicts it that was fitted without it."""
    quality: Sequence[float]
    """Sentence chrF / 100 of each of them."""


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
    reads: Stream = recipe.translator.stream
    looks: Stream = "s3d" if "s3d" in store.streams else reads
    clips = LikenessFit(store, looks, reads)
    likeness, of_train = clips.fit(train)
    of_dev = [likeness.measures(*clips.read(clip)) for clip in dev]
    dataset = FeatureDataset(store, reads, dev, no_labels)
    search, batch_size = recipe.translate.generation, recipe.evaluate.batch_size
    decoded = translator.translate_features(dataset, search, batch_size, num_best=1)
    texts = [
        {LOG_PROBABILITY: best[0].score, **glosses}
        for best, glosses in zip(decoded.nbest, _gloss_measures(decoded, store, dev), strict=True)
    ]
    quality, chance = _qualities(recipe.corpus.protocol, decoded.texts, dev)
    measured = [{**a, **b} for a, b in zip(texts, of_dev, strict=True)]
    kept = with_numbers(measured, [clip.id for clip in dev])
    quality = [quality[number] for number in kept]
    mean, terms, held_out = fit_terms([measured[number] for number in kept], quality)
    found = Confidence(
        fitted_to=fitted_to(translator.weights, store.fingerprint.get("encoder_weights"), search),
        clips={"train": len(train), "dev": len(dev)},
        looks=looks,
        reads=reads,
        mean_quality=mean,
        chance=chance,
        terms=terms,
        limits=fit_limits(texts) | fit_limits([*of_train, *of_dev]),
        likeness=likeness,
    )
    return Fitted(found, held_out, quality)


def fit_run(systems: Systems) -> Fitted:
    """Fit the confidence of a translator that is trained, and write it into the folder of its run."""
    recipe, store = systems.recipe, systems.store
    clips = [
        encodable(recipe, store, load_clips(recipe.corpus.manifest, split, needs=["text"]))
        for split in ("train", "dev")
    ]
    fitted = fit_confidence(recipe, systems.sign2text, store, *clips)
    fitted.confidence.save(systems.run)
    return fitted


def fitted_if_possible(fit: Callable[[], object]) -> None:
    """Fit, or say why there is no confidence: what was trained is trained."""
    try:
        fit()
    except SltError as error:
        log.warning("no confidence is fitted: %s", error)


def fit_trained(
    recipe: Recipe,
    folder: Path,
    model: SignToText,
    vocabularies: Vocabularies,
    store: FeatureStore,
    train: Sequence[Clip],
    dev: Sequence[Clip],
) -> None:
    """Fit the confidence of the best checkpoint in a run folder, and write it there: the first process alone does.

    `model` is given its weights.
    """

    def fit() -> None:
        checkpoint = best_checkpoint(folder, made_by="")
        checkpoint.load_model(model)
        system = Sign2Text(model.eval(), vocabularies, checkpoint.weights_hash)
        fitted_if_possible(lambda: fit_confidence(recipe, system, store, train, dev).confidence.save(folder))

    distributed.first(fit)


def with_numbers(measures: Sequence[Measures], names: Sequence[str]) -> list[int]:
    """Return which clips have numbers for all of their measures; the others, of damaged features, are told.

    Raises:
        SltError: none has.
    """
    kept = [number for number, clip in enumerate(measures) if all(map(math.isfinite, clip.values()))]
    lost = [names[number] for number in range(len(measures)) if number not in kept]
    if not kept:
        raise SltError(
            f"no dev clip has measures to fit a confidence to, such as {lost[0]}: they are no finite numbers"
        )
    if lost:
        log.warning(
            "%d of %d dev clips are left out of the fit, such as %s: a measure of them is no finite number",
            len(lost),
            len(measures),
            lost[0],
        )
    return kept


def fit_terms(measures: Sequence[Measures], quality: Sequence[float]) -> tuple[float, dict[str, Term], list[float]]:
    """Fit the quality of clips: linear, each measure in its own direction, and the less of each the fewer clips.

    Returns:
        the mean quality; the terms; the quality of every clip as predicted without it.
    """
    from sklearn.linear_model import Ridge  # half a second, which commands that fit nothing need not wait for
    from sklearn.model_selection import KFold, cross_val_predict

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
    """Return within what every measure lies in these clips, some of which may lack some, and where others begin.

    That is at the outermost clip; where there are few, as much further as the rare one of a Gaussian is likely to be.
    """
    limits = {}
    for name in dict.fromkeys(name for clip in measures for name in clip):
        values = np.array([clip[name] for clip in measures if math.isfinite(clip.get(name, math.nan))])
        if len(values) < 2:
            continue  # of one clip nobody knows how others lie about it
        seen, rare = (NormalDist().inv_cdf(1 - share) for share in (1 / (len(values) + 1), _RARE))
        room, least, most = max(0.0, rare - seen) * float(values.std(ddof=1)), float(values.min()), float(values.max())
        below, above = (least - room if name in _LOW else None), (most + room if name in _HIGH else None)
        limits[name] = Limit(len(values), least, most, below, above)
    return limits


def _gloss_measures(decoded: Outputs, store: FeatureStore, clips: Sequence[Clip]) -> list[dict[str, float]]:
    """Measure the gloss probabilities: of the translator's own head where it has one, or as they are stored."""
    if decoded.logits:
        return [gloss_measures(logits) for logits in decoded.logits]
    if "gloss_logits" not in store.streams:
        return [{} for _ in clips]
    return [gloss_measures(torch.from_numpy(store.read(clip.id, "gloss_logits"))) for clip in clips]


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
