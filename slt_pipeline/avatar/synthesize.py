"""Render a synthetic corpus: plan every clip, draw the missing ones in parallel, then write manifests and sheet."""

import json
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from slt_pipeline.avatar.annotated import annotation_jobs, manifest_digest
from slt_pipeline.avatar.draw import render
from slt_pipeline.avatar.encode import UNFINISHED, remove_unfinished, write_folder, write_mp4
from slt_pipeline.avatar.face import FACES, label_face
from slt_pipeline.avatar.jobs import Job, clip_seed, grammar_jobs, perform
from slt_pipeline.avatar.sheet import draw_sheet, write_sheet
from slt_pipeline.config.synth import SynthConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_json

DRAWING = 1
"""Raised whenever the same settings and seed would give other frames than before."""


_CLIPS_WORTH_A_WORKER = 12  # fewer are drawn before a second process has started
_SHEET_SIGNS = 120  # the most frequent ones, beyond that a sheet is too large to look at


@dataclass(frozen=True, slots=True)
class SynthReport:
    """What `synthesize` made."""

    num_sentences: dict[str, int]
    """Sentence clips by split."""
    num_isolated: dict[str, int]
    """One-sign clips by split."""
    num_frames: int
    """Frames of all clips."""
    num_rendered: int
    """Clips drawn by this call."""
    num_kept: int
    """Clips that an earlier call had finished."""
    num_glosses: int
    """Different glosses."""
    timing: dict[str, int] = field(default_factory=dict)
    """Sentence clips by where the timing comes from: planned (grammar), labels, labels in part, uniform."""


def synthesize(
    config: SynthConfig, out: Path, *, seed: int, progress: bool = True, workers: int | None = None
) -> SynthReport:
    """Make the corpus in `out`: videos, manifest.jsonl (sentences), isolated.jsonl (single signs), contact_sheet.png.

    The frames depend on `config` and `seed` alone, not on `workers` (None: one a core). Interrupted, the same call
    continues: finished clips are kept.

    Raises:
        SltError: `out` was made with other settings.
    """
    out = Path(out)
    settings = {"drawing": DRAWING, "seed": seed, "config": config.model_dump(mode="json")}
    settings["annotations_sha256"] = manifest_digest(config)
    _refuse_other(out, settings)
    sentences, isolated = (grammar_jobs if config.annotations is None else annotation_jobs)(config, seed)
    _mark(out, settings)
    remove_unfinished(out)
    jobs = sentences + isolated
    for folder in {str(Path(_video(job, config)).parent) for job in jobs}:
        (out / folder).mkdir(parents=True, exist_ok=True)
    silent = None if progress else True  # None: silent where nobody watches
    done = tqdm(_make_all(jobs, config, out, seed, workers), total=len(jobs), desc="avatar", disable=silent)
    clips, rendered = {}, 0
    for clip, is_new in done:
        clips[clip.id] = clip
        rendered += is_new
    write_sheet(out / "contact_sheet.png", _sheet(jobs, config))
    write_manifest(out / "isolated.jsonl", [clips[job.id] for job in isolated])
    write_manifest(out / "manifest.jsonl", [clips[job.id] for job in sentences])
    return SynthReport(
        num_sentences=dict(Counter(job.split for job in sentences)),
        num_isolated=dict(Counter(job.split for job in isolated)),
        num_frames=sum(clip.num_frames for clip in clips.values()),
        num_rendered=rendered,
        num_kept=len(jobs) - rendered,
        num_glosses=len({gloss for job in jobs for gloss in job.gloss}),
        timing=dict(Counter(job.timing for job in sentences)),
    )


def _sheet(jobs: Sequence[Job], config: SynthConfig) -> Image.Image:
    counts = Counter(gloss for job in jobs for gloss in job.gloss)
    programs = {gloss: sign for job in jobs for gloss, sign in zip(job.gloss, job.signs, strict=True)}
    shown = sorted(gloss for gloss, _ in counts.most_common(_SHEET_SIGNS))
    labels = {label for job in jobs for label in (job.alignments or {}).get("pami1", ())}
    faces = {f"mouth {label}": label_face(label) for label in sorted(labels)} or FACES
    signers = {job.signer.name: job.signer for job in jobs}
    return draw_sheet(
        {gloss: programs[gloss] for gloss in shown}, faces, list(signers.values()), config.width, config.height
    )


def _refuse_other(out: Path, settings: dict) -> None:
    """Raise SltError where `out` holds anything but a corpus of these settings."""
    mark = out / "synth.json"
    if not mark.exists():
        if out.exists() and (not out.is_dir() or any(path.suffix != UNFINISHED for path in out.iterdir())):
            raise SltError(f"{out} is not empty and has no synth.json; choose a new folder")
        return
    try:
        found = json.loads(mark.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise SltError(f"{mark}: not JSON; remove {out} and synthesise again") from None
    for key, here, there in _differences(settings, found):
        raise SltError(f"{out} was made with {key} {there!r}, not {here!r}; choose another folder or remove it")


def _mark(out: Path, settings: dict) -> None:
    write_json(out / "synth.json", settings)


def _differences(here: dict, there: dict, prefix: str = "") -> Iterator[tuple[str, object, object]]:
    for key in sorted(here.keys() | there.keys()):
        a, b = here.get(key), there.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield prefix + key, a, b


def _make_all(
    jobs: Sequence[Job], config: SynthConfig, out: Path, seed: int, workers: int | None
) -> Iterator[tuple[Clip, bool]]:
    num_missing = sum(not (out / _video(job, config)).exists() for job in jobs)
    workers = min(_num_cores() if workers is None else workers, num_missing // _CLIPS_WORTH_A_WORKER)
    if workers <= 1:
        yield from (_make(job, config, out, seed) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(config, out, seed)) as pool:
        try:
            yield from pool.map(_make_in_pool, jobs, chunksize=4)
        except BrokenProcessPool:
            raise SltError(f"{out}: a worker was killed (out of memory?); run again to continue") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _make(job: Job, config: SynthConfig, out: Path, seed: int) -> tuple[Clip, bool]:
    """The clip of a job, drawn unless it is there; planning is cheap, so a kept clip is planned again."""
    motion, extra = perform(job, config, seed)
    video = _video(job, config)
    is_new = not (out / video).exists()
    if is_new:
        _, number = clip_seed(job.id, seed)
        frames = render(motion, job.signer, config.width, config.height, background=config.background, seed=number)
        if config.container == "mp4":
            write_mp4(out / video, frames, job.fps, crf=config.crf, gop=config.gop)
        else:
            write_folder(out / video, frames)
    return Clip(
        id=job.id,
        video=video,
        num_frames=len(motion.hands),
        fps=job.fps,
        signer=job.signer.name,
        gloss=job.gloss,
        text=job.text,
        split=job.split,
        alignments=job.alignments,
        extra=extra,
    ), is_new


def _video(job: Job, config: SynthConfig) -> str:
    if config.container == "mp4":
        return f"{job.path}.mp4"
    return f"frames/{job.path.removeprefix('videos/')}"


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_pool_arguments: tuple[SynthConfig, Path, int] | None = None


def _start(config: SynthConfig, out: Path, seed: int) -> None:
    """Begin a worker process."""
    global _pool_arguments
    _pool_arguments = (config, out, seed)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_in_pool(job: Job) -> tuple[Clip, bool]:
    assert _pool_arguments is not None
    return _make(job, *_pool_arguments)
