"""`slt joint-train`: encoder and translator together, so that what the text teaches reaches the pixels."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.taps import TAPS, Stream
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import check_feasible, tell_what_ctc_cannot_learn, with_glosses
from slt_pipeline.corpora.labels import Labels
from slt_pipeline.corpora.load import load_clips, media_root
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.ctc import infeasible, is_blank
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import RECOGNITION, StoredTap
from slt_pipeline.systems.decoding import Gloss2Text, Sign2Text
from slt_pipeline.systems.encoding import ClipEncoder, Encoded, FrameReader
from slt_pipeline.systems.joint import JointStart, encoder_of
from slt_pipeline.systems.left_out import LeftOut, Unreadable
from slt_pipeline.systems.recogniser import recognise
from slt_pipeline.systems.scores import score_recognised, score_texts
from slt_pipeline.systems.start import to_keep_both
from slt_pipeline.systems.texts import check_texts
from slt_pipeline.systems.times import TimesLearner
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.training.checkpoint import BEST
from slt_pipeline.training.devices import pick_device, require_precision
from slt_pipeline.training.distributed import shared_out
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.run import Plan, find_run
from slt_pipeline.training.trainable import Trainable
from slt_pipeline.video.sampling import most_steps

STAGE = "joint_train"
log = logging.getLogger(__name__)


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    reads = {
        "clips": recipe.corpus.manifest,
        "encoder": recipe.encoder_folder,
        "translator": recipe.translator_folder,
        "language model": recipe.language_folder,
    }
    return reads, {"run": recipe.run_folder(STAGE)}


def joint_train(
    recipe: Recipe, *, device: str = "auto", overwrite: bool = False, extend: bool = False, strict: bool = False
) -> dict[str, Any]:
    """Train S3D, visual head, mapper and mBART on frames; the best checkpoint is by dev BLEU-4 of Sign2Text.

    Clips that cannot be read are left out and listed; with `strict` the first one is an error.
    """
    config, root = recipe.joint_train, media_root(recipe.corpus)
    start = JointStart.of(recipe)
    clips, dev = (load_clips(recipe.corpus.manifest, split, needs=["text"]) for split in ("train", "dev"))
    folder = recipe.run_folder(STAGE)
    inputs, own = start.inputs([*clips, *dev], folder), to_keep_both(recipe, "encoder", "language", "translator")
    run = find_run(folder, STAGE, inputs, overwrite=overwrite, extend=extend, to_keep_both=own)
    if run.result is not None:
        return run.result
    where = pick_device(device)
    require_precision(where, config.training.precision)
    left_out = LeftOut(STAGE, folder / "rejected.jsonl", strict=strict)
    clips, dev = (left_out.usable(split, root, recipe.video.sampling) for split in (clips, dev))
    torch.manual_seed(recipe.seed)
    model = start.build()
    _check_clips(recipe, start, model, clips, dev)
    objective = Objective({part: weight for part, weight in recipe.joint_objective.items() if part in model.parts})
    learns_text = not objective.parts.isdisjoint(model.translator.parts)
    scored = dev if learns_text else with_glosses(dev, "dev", "WER")
    labels = Labels.of(start.vocabularies.text, start.classes)
    trainable = Trainable(
        model=model,
        parameter_groups=_trained(model, objective, recipe),
        **left_out.items(clips, root, recipe.video, start.shape, recipe.seed, labels, where),
        losses=lambda translator, batch: translator(batch, objective.parts),
        objective=objective,
        validate=_Validation(recipe, start, scored, _gloss2text(recipe, where), where, left_out),
        score="bleu4" if learns_text else "wer",
        higher_is_better=learns_text,
        protocol=get_protocol(recipe.corpus.protocol).title,
        counts=infeasible if RECOGNITION in objective.parts else None,
    )

    def describe(folder: Path) -> None:
        start.describe(folder, model)
        left_out.begin(folder)

    run.begin(recipe, describe)
    reader = FrameReader(recipe.video, start.shape, where, config.training.num_workers)
    times = TimesLearner(recipe, folder, model, encoder_of(model), clips, start.classes, reader, left_out)
    result = run.train(trainable, config.training, recipe.seed, where, at_end=times)
    left_out.tell()
    return result


class _Decoded(NamedTuple):
    """What the model makes of a clip."""

    glosses: tuple[str, ...]
    blank: bool
    """Whether its best path is all blank."""
    text: str
    text_of_glosses: str


@dataclass(frozen=True)
class _Validation:
    """Scores of the four tasks on dev; those of a language model where there is one."""

    recipe: Recipe
    start: JointStart
    dev: Sequence[Clip]
    gloss2text: Gloss2Text | None
    device: torch.device
    left_out: LeftOut

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        assert isinstance(model, SignToText)
        protocol = self.recipe.corpus.protocol
        dev, found = self.left_out.scored(self.dev, shared_out(self.dev, lambda clips: self._decoded(model, clips)))
        scores = score_texts(protocol, [each.text for each in found], dev)
        if self.gloss2text:
            of_glosses = score_texts(protocol, [each.text_of_glosses for each in found], dev)
            scores |= {"sign2gloss2text_bleu4": of_glosses["bleu4"], **self._bound}
        signed = [i for i, clip in enumerate(dev) if clip.gloss]
        if signed:
            recognised = [(found[i].glosses, found[i].blank) for i in signed]
            scores |= score_recognised(protocol, recognised, [dev[i] for i in signed])
        return scores

    def _decoded(self, model: SignToText, clips: Sequence[Clip]) -> list[_Decoded | Unreadable]:
        """Encode each clip alone and decode the texts in batches, as evaluation from a store does."""
        config, stream, root = self.recipe.joint_train, TAPS[model.tap].stream, media_root(self.recipe.corpus)
        encoder = encoder_of(model)

        reader = FrameReader(self.recipe.video, self.start.shape, self.device, config.training.num_workers)
        on_video = ClipEncoder(encoder, reader)
        encoded = {clip.id: _kept(found, stream) for clip, found in on_video.clips(clips, root)}
        tried = [encoded[clip.id] for clip in clips]
        streams = [each for each in tried if not isinstance(each, Unreadable)]
        glosses = recognise([logits for _, logits in streams], self.start.classes, config.beam_size)
        translator = Sign2Text(SignToText(StoredTap(stream), model.translator), self.start.vocabularies)
        texts: list[str] = []
        for i in range(0, len(streams), config.training.batch_size):
            rows = [features for features, _ in streams[i : i + config.training.batch_size]]
            batch = {"features": pad_sequence(rows, batch_first=True), "lengths": torch.tensor([len(r) for r in rows])}
            texts += translator.translate(translator.taps(batch), self.recipe.joint_generation).texts
        of_glosses = self._spoken(glosses) if self.gloss2text else [""] * len(streams)
        blank = [is_blank(logits) for _, logits in streams]
        rows = iter(zip(glosses, blank, texts, of_glosses, strict=True))
        return [each if isinstance(each, Unreadable) else _Decoded(*next(rows)) for each in tried]

    @cached_property
    def _bound(self) -> dict[str, float]:
        """Score of the texts that the right glosses give: no training here changes it."""
        signed = [clip for clip in self.dev if clip.gloss]
        if not signed:
            return {}
        texts = shared_out(signed, lambda clips: self._spoken([clip.gloss or () for clip in clips]))
        return {"gloss2text_bleu4": score_texts(self.recipe.corpus.protocol, texts, signed)["bleu4"]}

    def _spoken(self, glosses: Sequence[Sequence[str]]) -> list[str]:
        assert self.gloss2text is not None
        batch_size = self.recipe.joint_train.training.batch_size
        return self.gloss2text.translate(glosses, self.recipe.joint_generation, batch_size)


def _kept(found: Encoded | Unreadable, stream: Stream) -> tuple[torch.Tensor, torch.Tensor] | Unreadable:
    """Keep of a clip what its translator reads (S, D) and its gloss logits (S, K)."""
    if isinstance(found, Unreadable):
        return found
    return found.streams[stream].cpu(), found.streams["gloss_logits"].float().cpu()


def _trained(model: SignToText, objective: Objective, recipe: Recipe) -> dict[str, list[torch.nn.Parameter]]:
    """Return the parameters that a loss reaches and that are not frozen, by group.

    Raises:
        SltError: there are none.
    """
    frozen, groups = recipe.joint_train.freeze, model.parameter_groups(objective.parts)
    trained = {name: group for name, group in groups.items() if name not in frozen}
    if not trained:
        raise SltError(
            f"joint_train.freeze = {list(frozen)} leaves nothing to learn: {', '.join(sorted(objective.parts))} "
            "reaches nothing else; take one of these out"
        )
    return trained


def _check_clips(
    recipe: Recipe, start: JointStart, model: SignToText, clips: Sequence[Clip], dev: Sequence[Clip]
) -> None:
    """Find before training what would stop it, and tell what it cannot learn."""
    sampling = recipe.video.sampling
    check_texts(
        start.vocabularies.text,
        [*clips, *dev],
        [most_steps(clip.num_frames, sampling) for clip in (*clips, *dev)],
        max_positions=model.translator.mbart.config.max_position_embeddings,
        generation=recipe.joint_generation,
        protocol=recipe.corpus.protocol,
        side_by_side=model.translator.reads_text,
    )
    if RECOGNITION in Objective(recipe.joint_objective).parts:
        tell_what_ctc_cannot_learn(clips, dev, start.classes)
        check_feasible(clips, recipe.visual_train.max_infeasible, sampling.max_frames)


def _gloss2text(recipe: Recipe, device: torch.device) -> Gloss2Text | None:
    """Open the language model of two of the four tasks, where there is one."""
    if not (recipe.language_folder / BEST).is_file():
        log.info("no language model in %s: Gloss2Text and Sign2Gloss2Text are not validated", recipe.language_folder)
        return None
    return open_gloss2text(recipe, device)
