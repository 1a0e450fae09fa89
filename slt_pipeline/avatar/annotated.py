"""Jobs from an annotated corpus: which clips are re-enacted, by whom, and with which signs."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from slt_pipeline.avatar.hands import label_shape
from slt_pipeline.avatar.jobs import Job, isolated_jobs
from slt_pipeline.avatar.lexicon import Sign, sign_of
from slt_pipeline.avatar.signer import Signer, make_signer
from slt_pipeline.avatar.timing import aligned_spans, learn_models, uniform_spans
from slt_pipeline.config.synth import AnnotationsConfig, SynthConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.errors import SltError

HAND = "pami2"
_FEWEST_FRAMES = 2  # a gloss


def annotation_jobs(config: SynthConfig, seed: int) -> tuple[list[Job], list[Job]]:
    """Sentence clips that re-enact the chosen clips of a manifest, and isolated clips of their glosses.

    Raises:
        SltError: a split has fewer eligible clips than asked for.
    """
    assert config.annotations is not None
    clips = read_manifest(config.annotations.manifest)
    models = learn_models(clip for clip in clips if clip.split == "train")
    chosen = choose_clips(clips, config, seed)
    names = sorted({clip.signer for clip in clips})
    signers = {name: make_signer(index, seed, name) for index, name in enumerate(names)}
    timed = [_timed_job(clip, models, signers[clip.signer]) for clip in chosen]
    training = [job for job in timed if job.split == "train"]
    signs = _labelled_signs(training)
    counts = Counter(gloss for job in training for gloss in job.gloss)
    glosses = sorted(gloss for gloss, count in counts.items() if count >= config.annotations.isolated_min_count)
    return timed, isolated_jobs(signs, glosses, list(signers.values()), config, seed)


def choose_clips(clips: Sequence[Clip], config: SynthConfig, seed: int) -> list[Clip]:
    """The clips to re-enact, training ones first, each split in the manifest's order.

    Raises:
        SltError: fewer clips are eligible than are asked for.
    """
    wanted = config.annotations
    assert wanted is not None
    frequent = Counter(gloss for clip in clips if clip.split == "train" for gloss in clip.gloss or ())
    order = sorted(frequent, key=lambda gloss: (-frequent[gloss], gloss))
    allowed = None if wanted.num_glosses is None else set(order[: wanted.num_glosses])
    chosen: list[Clip] = []
    for split, num in (("train", config.num_train), ("dev", config.num_dev), ("test", config.num_test)):
        if split != "train" and wanted.known_glosses_only:
            known = {gloss for clip in chosen if clip.split == "train" for gloss in clip.gloss or ()}
            allowed = known if allowed is None else allowed & known
        eligible = [clip for clip in clips if clip.split == split and _is_eligible(clip, wanted, allowed)]
        if len(eligible) < num:
            raise SltError(
                f"{wanted.manifest}: {num} {split} clips asked for, {len(eligible)} are eligible "
                "(glosses present, max_frames, num_glosses, known_glosses_only); ask for fewer or allow more"
            )
        positions = range(len(eligible))
        if wanted.choose == "shortest":
            positions = sorted(positions, key=lambda position: (eligible[position].num_frames, position))
        elif wanted.choose == "random":
            rng = np.random.default_rng([seed, 7_005, len(split)])
            positions = rng.permutation(len(eligible)).tolist()
        chosen += [eligible[position] for position in sorted(list(positions)[:num])]
    return chosen


def _is_eligible(clip: Clip, wanted: AnnotationsConfig, allowed: set[str] | None) -> bool:
    if not clip.gloss or not _FEWEST_FRAMES * len(clip.gloss) <= clip.num_frames <= wanted.max_frames:
        return False
    return allowed is None or allowed.issuperset(clip.gloss)


def _timed_job(clip: Clip, models: dict[int, str], signer: Signer) -> Job:
    assert clip.gloss
    found = aligned_spans(clip, models)
    if found is None:
        spans, timing = uniform_spans(clip.num_frames, len(clip.gloss)), "uniform"
    else:
        spans, timing = found[0], "labels" if found[1] == len(clip.gloss) else "labels in part"
    return Job(
        id=clip.id,
        path=f"videos/{clip.split}/{_file_name(clip.id.removeprefix(f'{clip.split}/'))}",
        split=clip.split,
        signer=signer,
        gloss=clip.gloss,
        signs=tuple(sign_of(gloss) for gloss in clip.gloss),
        mouths=("neutral",) * len(clip.gloss),
        text=clip.text,
        fps=clip.fps,
        spans=spans,
        num_frames=clip.num_frames,
        alignments=clip.alignments,
        timing=timing,
    )


def _labelled_signs(jobs: Sequence[Job]) -> dict[str, Sign]:
    """Motion programs of the glosses, with the hand shape that each is labelled with most often.

    In sentences the labels themselves shape the hand; a sign on its own has none.
    """
    labels: dict[str, Counter[int]] = defaultdict(Counter)
    for job in jobs:
        for gloss, (first, last) in zip(job.gloss, job.spans or (), strict=True):
            labels[gloss].update(label for label in (job.alignments or {}).get(HAND, ())[first:last] if label)
    signs = {}
    for gloss, counts in labels.items():
        signs[gloss] = sign = sign_of(gloss)
        if counts:
            name, turn = label_shape(min(counts, key=lambda label: (-counts[label], label)))
            end_angle = None if sign.end_angle is None else sign.end_angle + turn
            signs[gloss] = replace(sign, shape=name, end_shape=None, angle=sign.angle + turn, end_angle=end_angle)
    return signs


def _file_name(clip_id: str) -> str:
    """A clip id as a path below the output folder; ids that need changing keep apart by a hash."""
    safe = "/".join(re.sub(r"[^\w.+-]", "_", part).lstrip(".") or "_" for part in clip_id.split("/"))
    return safe if safe == clip_id else f"{safe}-{hashlib.sha256(clip_id.encode()).hexdigest()[:8]}"


def manifest_digest(config: SynthConfig) -> str | None:
    """SHA-256 of the annotated manifest, or None without one; SltError where it is missing."""
    if config.annotations is None:
        return None
    path = Path(config.annotations.manifest)
    if not path.is_file():
        raise SltError(f"{path}: no such manifest; make one with `slt data import`")
    return hashlib.sha256(path.read_bytes()).hexdigest()
