"""The four tasks on the trained systems of a recipe: what each decodes, its scores, and what they are scores of."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.objective import is_zero
from slt_pipeline.config.recipe import Recipe, recipe_of_run
from slt_pipeline.config.runs import holds_language_model
from slt_pipeline.config.stages import Task
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import with_glosses
from slt_pipeline.corpora.features import FeatureDataset, require_clips, require_stream
from slt_pipeline.corpora.gloss_text import in_direction
from slt_pipeline.corpora.labels import TextLabels, no_labels
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.times import reference_times
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, text_hash
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.systems.decoded import Decoded, references_of
from slt_pipeline.systems.decoding import Gloss2Text, Sign2Text
from slt_pipeline.systems.features import FeatureStore, encodable, open_features
from slt_pipeline.systems.other_clips import tell_of_other_clips
from slt_pipeline.systems.outputs import Outputs
from slt_pipeline.systems.recogniser import CLASSES_FILE, recognise
from slt_pipeline.systems.rerank import Judged, Points, Reranked, chosen_points, outputs_of
from slt_pipeline.systems.scores import Look, look_at, score_glosses, score_texts, score_times
from slt_pipeline.systems.texts import warn_of_unknown_glosses
from slt_pipeline.systems.times import GlossTimes, clip_times
from slt_pipeline.systems.translator import open_gloss2text, open_sign2text, require_learned, trained_translator
from slt_pipeline.text.gloss_form import gloss_sentence
from slt_pipeline.text.gloss_vocab import GlossVocabulary

log = logging.getLogger(__name__)

_NO_PART: dict[str, Any] = dict.fromkeys((*Recipe.recorded, "seed"), True)
_NO_PART["evaluate"] = {"tasks", "splits", "batch_size", "num_best"}
"""What of a recipe plays no part in a score, beside the checkpoint."""

_NEEDS: dict[Task, tuple[str, ...]] = {
    "sign2gloss": (),
    "gloss2text": ("text",),
    "sign2gloss2text": ("text",),
    "sign2text": ("text",),
    "text2gloss": ("text",),
}
_OF_GLOSSES: tuple[Task, ...] = ("gloss2text", "text2gloss")
"""Tasks that need no features."""
_WRITTEN: tuple[Task, ...] = ("gloss2text", "sign2gloss2text")
"""Tasks in which Gloss2Text writes a text."""


class Systems:
    """The trained systems of a recipe, each opened once, when it is first asked for, and decoding a split once."""

    def __init__(self, recipe: Recipe, device: torch.device, run: Path | None = None, others: Sequence[Path] = ()):
        """Open nothing yet.

        Args:
            recipe: names the systems, and is what they are checked against.
            device: where they compute.
            run: folder of the translator, such as a sweep's winner, or of Gloss2Text; None: the recipe's own.
            others: folders of runs of the same kind that write every text together with `run`.
        """
        self.recipe, self.device, self.others = recipe, device, others
        self.language = run if run and holds_language_model(run) else None
        self.run = run or recipe.run_folder("translate_train")
        self._decoded: dict[tuple[str, ...], Outputs] = {}
        self._glosses: dict[str, tuple[str, ...]] = {}
        self._beams: dict[tuple[str, ...], list[list[Judged]]] = {}
        self._points: dict[Task, Points] = {}

    def require(self, tasks: Sequence[Task]) -> None:
        """Open what tasks need on the splits of the recipe.

        Raises:
            SltError: clips lack it; a system is not trained, or was made for something else.
        """
        judged = self.recipe.evaluate.rerank
        for task in tasks:
            chosen = ["dev"] if judged and judged.weights is None and task in _WRITTEN else []
            for split in dict.fromkeys([*self.recipe.evaluate.splits, *chosen]):
                load_clips(self.recipe.corpus.manifest, split, needs=_NEEDS[task])
        if judged and not {*_WRITTEN}.intersection(tasks):
            raise SltError(
                f"evaluate.rerank judges texts that are written of glosses, and {', '.join(tasks)} writes none; leave "
                f"it out, or score {' or '.join(_WRITTEN)}"
            )
        signs = [task for task in tasks if task not in _OF_GLOSSES]
        if signs:
            _ = self.store
        if {*_OF_GLOSSES, *_WRITTEN}.intersection(tasks):
            self._require_direction(tasks)
            _ = self.reranked or self.gloss2text
        if "sign2text" in signs or (signs and self._own_glosses):
            _ = self.sign2text

    def oracle(self, split: str) -> Decoded:
        """Decode and score one split from the posterior, which knows the right texts: an upper bound, no translation.

        Raises:
            SltError: the translator has no posterior, or one that nothing was taught to.
        """
        if self.recipe.translator.system == "cvslt" and not has_oracle(self.recipe):
            raise SltError(
                f"translate_train.objective of {self.run} gives the posterior no weight, so that it was never trained: "
                "there is nothing to decode from it; leave out --oracle"
            )
        return self.translated(self.with_texts(split), oracle=True, num_best=self.recipe.evaluate.num_best)

    def with_texts(self, split: str) -> FeatureDataset:
        """Return the clips of one split, all of which have a text: what the translator reads, and labels of the texts.

        Raises:
            SltError: there is none, or one has no text.
        """
        clips = encodable(self.recipe, self.store, load_clips(self.recipe.corpus.manifest, split, needs=["text"]))
        labels = TextLabels(self.sign2text.vocabularies.text)
        return FeatureDataset(self.store, self.recipe.translator.stream, clips, labels)

    def translated(self, features: FeatureDataset, *, oracle: bool = False, num_best: int = 0) -> Decoded:
        """Translate and score clips by features that may be another's; `oracle`: from the posterior."""
        config, clips = self.recipe.evaluate, features.clips
        found = self.sign2text.translate_features(
            features, config.generation, config.batch_size, oracle=oracle, num_best=num_best
        )
        scores = score_texts(self.recipe.corpus.protocol, found.texts, clips)
        return Decoded("sign2text", clips, found.texts, scores, found.nbest)

    def decode(self, task: Task, split: str) -> Decoded:
        """Decode and score one task on one split.

        Raises:
            SltError: a system is not trained or was made for something else; clips lack what the task needs.
        """
        protocol, clips = self.recipe.corpus.protocol, self._clips(task, split)
        if task == "sign2gloss":
            glosses = self._recognised(clips)
            scores = score_glosses(protocol, glosses, clips) | self._time_scores(clips, glosses)
            return Decoded(task, clips, [gloss_sentence(g) for g in glosses], scores, glosses=glosses)
        recognised = task == "sign2gloss2text" or (task == "sign2text" and self._own_glosses)
        glosses = self._recognised(clips) if recognised else []
        found = self._run_translator(clips) if task == "sign2text" else self._written(task, clips)
        return Decoded(task, clips, found.texts, score_texts(protocol, found.texts, clips), found.nbest, glosses)

    def _clips(self, task: Task, split: str) -> list[Clip]:
        """Return the clips of a split that a task is scored on."""
        clips = load_clips(self.recipe.corpus.manifest, split, needs=_NEEDS[task])
        if task not in _OF_GLOSSES:
            clips = encodable(self.recipe, self.store, clips)
        if task in ("sign2gloss", *_OF_GLOSSES):
            clips = with_glosses(clips, split, task, "are not scored")
        return _of_task(task, clips)

    def _written(self, task: Task, clips: Sequence[Clip]) -> Outputs:
        """Return what Gloss2Text, and its judges where the recipe names any, make of true or recognised glosses."""
        config = self.recipe.evaluate
        if self.reranked is not None and task in _WRITTEN:
            return outputs_of(self._judged(task, clips), self.points(task), config.num_best)
        signed, writer = self._signed(task, clips), self.gloss2text
        if task == "text2gloss" and writer.writes_texts:
            writer = writer.doing("text2gloss")
        return writer.outputs(signed, config.generation, config.batch_size, num_best=config.num_best)

    def _signed(self, task: Task, clips: Sequence[Clip]) -> Sequence[Sequence[str]]:
        signed = self._recognised(clips) if task == "sign2gloss2text" else [clip.gloss or () for clip in clips]
        splits = "/".join(dict.fromkeys(clip.split for clip in clips))
        for system in (self.gloss2text, *self.gloss2text.others):
            warn_of_unknown_glosses(system.reader, signed, f"{task} {splits}")
        return signed

    def _judged(self, task: Task, clips: Sequence[Clip]) -> list[list[Judged]]:
        """Beams of the clips as they were judged; what was judged is not judged again."""
        assert self.reranked is not None
        key, config = (task, *(clip.id for clip in clips)), self.recipe.evaluate
        if key not in self._beams:
            signed = self._signed(task, clips)
            self._beams[key] = self.reranked.judged(signed, config.generation, config.batch_size)
        return self._beams[key]

    def points(self, task: Task) -> Points:
        """Return how the parts of a text's points are added up: as the recipe says, or as dev says."""
        config, protocol = self.recipe.evaluate.rerank, get_protocol(self.recipe.corpus.protocol)
        assert config is not None and self.reranked is not None
        if config.weights is not None and config.per_piece is not None:
            return Points(config.weights, config.per_piece)
        if task not in self._points:
            clips = self._clips(task, "dev")
            right = references_of(task, clips)
            self._points[task] = chosen_points(
                self._judged(task, clips),
                len(self.reranked.judges),
                lambda texts: protocol.score_translation(texts, right).bleu4,
            )
            log.info("%s: %s, chosen on dev", task, self._points[task].told())
        return self._points[task]

    def look_at(self, decoded: Decoded) -> Look:
        """Look at outputs beside what training taught: which are empty, the same, in loops, or known."""
        split = {clip.split for clip in decoded.clips}
        train = [] if "train" in split else references_of(decoded.task, _of_task(decoded.task, self._train))
        return look_at(
            self.recipe.corpus.protocol,
            decoded.hypotheses,
            decoded.references,
            [reference for reference in train if reference],
            glosses=decoded.task == "sign2gloss",
        )

    def made_by(self, task: Task) -> dict[str, Any]:
        """Return what a number of this task is a number of: protocol, recipe, manifest and weights."""
        weights = {}
        if task in ("sign2gloss", "sign2gloss2text") and not self._own_glosses:
            weights["encoder"] = self.store.fingerprint.get("encoder_weights", "unknown")
        if task in (*_OF_GLOSSES, *_WRITTEN):
            weights |= _weights("language", self.gloss2text)
            judges = self.reranked.judges if self.reranked and task in _WRITTEN else ()
            others = (judge for judge in judges if judge.kind is None)
            weights |= {f"judge {number}": judge.weights for number, judge in enumerate(others, start=1)}
        if task == "sign2text" or (task not in _OF_GLOSSES and self._own_glosses):
            weights |= _weights("translator", self.sign2text)
        return {
            **get_protocol(self.recipe.corpus.protocol).described,
            "recipe": text_hash(self.recipe.model_dump_json(exclude=_NO_PART))[:12],
            "clips": file_hash(Path(self.recipe.corpus.manifest))[:12],
            "checkpoints": {name: value[:12] for name, value in weights.items()},
            **(self.points(task).described() if self.reranked and task in _WRITTEN else {}),
        }

    @cached_property
    def store(self) -> FeatureStore:
        """The recipe's features."""
        return open_features(self.recipe)

    @property
    def _writers(self) -> list[Path]:
        """Runs of Gloss2Text that write."""
        return [self.language or self.recipe.language_folder, *self.others]

    @cached_property
    def _train(self) -> list[Clip]:
        return read_manifest(self.recipe.corpus.manifest, "train")

    def _require_direction(self, tasks: Sequence[Task]) -> None:
        """Refuse a task of the other direction than the language model has.

        Raises:
            SltError: the message names both.
        """
        if self.recipe.translator.direction == "gloss2text":
            for folder in self._writers if "text2gloss" in tasks else ():
                require_learned(folder, "text2gloss", "the task text2gloss asks for the glosses of texts")
            return
        for task in tasks:
            if task in ("gloss2text", "sign2gloss2text"):
                raise SltError(
                    f"the task {task} is none of a recipe whose translator.direction is text2gloss; score it with "
                    "--task text2gloss"
                )

    @cached_property
    def gloss2text(self) -> Gloss2Text:
        """Glosses to text.

        Raises:
            SltError: an ensemble of translators of signs has none.
        """
        if self.others and not self.language:
            raise SltError(
                f"the ensemble of {self.run} is one of translators of signs, and Gloss2Text is none of them; leave out "
                "its tasks, or name runs of `slt gloss2text-train`"
            )
        first = open_gloss2text(self.recipe, self.device, self.language)
        if not self.others:
            return first
        recipes = {run: recipe_of_run(run) for run in self.others}
        direction = self.recipe.translator.direction
        for run, recipe in recipes.items():
            if recipe.translator.direction != direction:
                raise SltError(
                    f"{run} has translator.direction {recipe.translator.direction}, {self.run} {direction}: one writes "
                    "glosses and the other texts, leave one of them out"
                )
        members = {run: open_gloss2text(recipe, self.device, run) for run, recipe in recipes.items()}
        tell_of_other_clips(self.run, self.others)
        return first.together_with(members)

    @cached_property
    def reranked(self) -> Reranked | None:
        """The same with judges; None: the recipe names none."""
        config = self.recipe.evaluate.rerank
        if config is None:
            return None
        found = Reranked.open(self.gloss2text, self.recipe, self.device, self._writers, config)
        tell_of_other_clips(self._writers[0], [Path(run) for run in config.runs])
        return found

    @cached_property
    def sign2text(self) -> Sign2Text:
        """Features to text.

        Raises:
            SltError: members of the ensemble read different streams.
        """
        packed = self.store.compression
        reads = {"store": self.store.fingerprint, "store_keep_bits": packed and packed.keep_bits}
        for run in self.others:
            trained_translator(run)
        first = open_sign2text(self.recipe, self.device, reads, self.run)
        others = {run: recipe_of_run(run) for run in self.others}
        for run, recipe in others.items():
            if recipe.translator.stream != self.recipe.translator.stream:
                raise SltError(
                    f"{run} reads the stream {recipe.translator.stream}, {self.run} {self.recipe.translator.stream}; "
                    "an ensemble of translators reads one, leave one of them out"
                )
        if not others:
            return first
        members = {run: open_sign2text(recipe, self.device, reads, run) for run, recipe in others.items()}
        tell_of_other_clips(self.run, self.others)
        return first.together_with(members)

    @cached_property
    def classes(self) -> GlossVocabulary:
        """Classes of the gloss logits in the store; where the encoder is gone, as the translator remembers them."""
        encoder = self.recipe.encoder_folder / CLASSES_FILE
        return GlossVocabulary.load(encoder if encoder.is_file() else self.run / CLASSES_FILE)

    @property
    def _own_glosses(self) -> bool:
        """Whether glosses are those of the translator's own head: a score is of the system that is named."""
        return self.recipe.translator.head == "trained"

    def _recognised(self, clips: Sequence[Clip]) -> list[tuple[str, ...]]:
        """Glosses of the clips; the search runs once for all tasks that ask."""
        todo = [clip for clip in clips if clip.id not in self._glosses]
        if todo:
            logits, classes = self._gloss_logits(todo)
            found = recognise(logits, classes, self.recipe.evaluate.beam_size)
            self._glosses |= dict(zip((clip.id for clip in todo), found, strict=True))
        return [self._glosses[clip.id] for clip in clips]

    def _gloss_logits(self, clips: Sequence[Clip]) -> tuple[list[torch.Tensor], GlossVocabulary]:
        if self._own_glosses:
            assert self.sign2text.vocabularies.classes is not None
            return self._run_translator(clips).logits, self.sign2text.vocabularies.classes
        require_stream("gloss_logits", self.store.streams)
        require_clips(self.store, clips)
        return [torch.from_numpy(self.store.read(clip.id, "gloss_logits")).float() for clip in clips], self.classes

    def _time_scores(self, clips: Sequence[Clip], glosses: Sequence[tuple[str, ...]]) -> dict[str, float]:
        """Errors of the times that `slt translate` gives, where the manifest has times to compare them with."""
        if all(reference_times(clip) is None for clip in clips):
            return {}
        (logits, classes), times, found = self._gloss_logits(clips), GlossTimes.open(self.recipe), []
        kept = "s3d" in self.store.streams
        if times.head is not None and not kept:
            log.warning("times are those of CTC's spikes: the store has no stream s3d, which the encoder's own read")
        for clip, of_clip, recognised in zip(clips, logits, glosses, strict=True):
            features = torch.from_numpy(self.store.read(clip.id, "s3d")) if kept else None
            frames = times.frames(recognised, features, of_clip, classes.encode(recognised))
            found.append(clip_times(frames, clip, self.recipe))
        return score_times(glosses, found, clips)

    def _run_translator(self, clips: Sequence[Clip]) -> Outputs:
        """Texts and gloss logits of the clips; what was decoded is not decoded again."""
        key = tuple(clip.id for clip in clips)
        if key not in self._decoded:
            config = self.recipe.evaluate
            features = FeatureDataset(self.store, self.recipe.translator.stream, clips, no_labels)
            self._decoded[key] = self.sign2text.translate_features(
                features, config.generation, config.batch_size, num_best=config.num_best
            )
        return self._decoded[key]


def _weights(name: str, system: Gloss2Text | Sign2Text) -> dict[str, str]:
    """Return the hash of a system's weights, and of those that write together with it."""
    return {name: system.weights} | {f"{name} {n}": other.weights for n, other in enumerate(system.others, start=2)}


def _of_task(task: Task, clips: list[Clip]) -> list[Clip]:
    """Return clips as the task reads and writes them."""
    return in_direction(clips, task) if task == "text2gloss" else clips


def has_oracle(recipe: Recipe) -> bool:
    """Whether a translator of this recipe has a posterior that some part of the loss has taught."""
    weights = recipe.translate_train.objective
    return any(not is_zero(weights.get(part, 0.0)) for part in recipe.translator.posterior_parts)
