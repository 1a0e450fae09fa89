"""Checking a manifest and its media, line by line. Nothing is changed and nothing stops at the first problem."""

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slt_pipeline.config.video import SamplingConfig
from slt_pipeline.corpora.characters import hidden_in
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import ctc_feasible, half_speed, min_ctc_steps
from slt_pipeline.corpora.footage import open_clip
from slt_pipeline.corpora.gloss_checks import GlossChecks
from slt_pipeline.corpora.importing import SPLITS
from slt_pipeline.corpora.manifest import parse_line, typed_glosses
from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of
from slt_pipeline.errors import SltError
from slt_pipeline.files import not_utf8, raw_lines
from slt_pipeline.text.characters import visible
from slt_pipeline.video.base import decoded_length

_SAME_RATE = 0.002
"""Rates that differ by less, such as 30 and 29.97, are one: over a sentence they keep step."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one line."""

    line: int
    """Line of the manifest, from 1."""
    kind: str
    """One of `bad-line`, `duplicate-id`, `characters`, `video`, `frame-count`, `frame-rate`, `too-short`,
    `gloss-space`, `look-alike`, `unknown-gloss`, `ctc-infeasible`, `no-clips`; with a recipe also `tokenizer`,
    `too-long`."""
    message: str
    id: str | None = None
    """Clip, where the line could be read."""


@dataclass(slots=True)
class ValidationReport:
    """What was found."""

    manifest: Path
    num_lines: int = 0
    num_clips: dict[str, int] = field(default_factory=dict)
    """Clips that could be read, by split."""
    num_videos: int = 0
    """Videos that were opened and counted."""
    num_frames: int = 0
    """Their frames."""
    num_tight: int = 0
    """Clips that CTC can align, but not when training draws half of their frames: they count nothing then."""
    problems: list[Problem] = field(default_factory=list)
    clips: dict[int, Clip] = field(default_factory=dict)
    """Clips that could be read, by line."""
    remarks: list[str] = field(default_factory=list)
    """What is worth knowing, also of what a recipe makes of them, and is no problem."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def counts(self) -> dict[str, int]:
        """Problems by kind."""
        return dict(Counter(problem.kind for problem in self.problems))

    def lines(self, limit: int | None = None) -> list[str]:
        """For the terminal: each problem as file:line: clip: what, then a summary."""
        shown = self.problems[:limit]
        lines = [f"{self.manifest}:{p.line}: {f'{p.id}: ' if p.id else ''}{p.message} [{p.kind}]" for p in shown]
        if len(shown) < len(self.problems):
            lines.append(f"... and {len(self.problems) - len(shown)} more")
        clips = ", ".join(f"{number} {split}" for split, number in self.num_clips.items()) or "none"
        lines.append(f"clips: {clips}; videos opened: {self.num_videos} ({self.num_frames} frames)")
        if self.num_tight:
            lines.append(
                f"{self.num_tight} clips too short for CTC when training draws them at full speed-up (no problem)"
            )
        lines += self.remarks
        found = ", ".join(f"{number} {kind}" for kind, number in self.counts().items())
        lines.append(f"problems: {found}" if found else "no problems")
        return [visible(line) for line in lines]


def validate(
    manifest: Path,
    *,
    media_root: Path | None = None,
    vocabulary: Container[str] | None = None,
    open_videos: bool = True,
    decode: bool = False,
    strict: bool = False,
    sampling: SamplingConfig | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ValidationReport:
    """Check every line of a manifest and every video it names.

    Args:
        manifest: The manifest.
        media_root: What references are relative to; None: the manifest's folder.
        vocabulary: Glosses outside of it are problems; None checks none.
        open_videos: Open every video and count its frames; a video file is decoded from end to end, of a clip of
            pictures the first one.
        decode: Decode every picture, too.
        strict: Stop at the first video that cannot be read.
        sampling: Frame cap and stride, for clips that are too short.
        progress: Wraps the lines, such as `tqdm`.

    Raises:
        SltError: the manifest itself cannot be read; with `strict`, a video cannot.
    """
    root = media_root or manifest.parent
    sampling = sampling or SamplingConfig()
    report = ValidationReport(manifest)
    first_line: dict[str, int] = {}
    glosses = GlossChecks()
    for number, raw in enumerate(progress(raw_lines(manifest)), 1):
        if not raw.strip():
            continue
        report.num_lines += 1
        try:
            clip = parse_line(raw.decode("utf-8"), "")
        except UnicodeDecodeError as error:
            report.problems.append(Problem(number, "bad-line", not_utf8(error)))
            continue
        except SltError as error:
            report.problems.append(Problem(number, "bad-line", str(error).removeprefix(": ")))
            continue
        report.num_clips[clip.split] = report.num_clips.get(clip.split, 0) + 1
        earlier = first_line.setdefault(clip.id, number)
        if earlier != number:
            message = f"the id was already used on line {earlier}"
            report.problems.append(Problem(number, "duplicate-id", message, clip.id))
        report.clips[number] = clip
        typed = typed_glosses(raw.decode())
        report.problems += [Problem(number, "characters", message, clip.id) for message in hidden_in(clip, typed)]
        report.problems += [Problem(*found) for found in glosses.look_at(number, clip.id, typed)]
        _check_labels(clip, number, vocabulary, sampling, report)
        if open_videos:
            _check_video(clip, number, root, decode, strict, report)
    report.problems += [Problem(*found) for found in glosses.look_alikes()]
    report.remarks += glosses.notes()
    if others := [name for name in report.num_clips if name not in SPLITS]:
        report.remarks.append(f"split {', '.join(others)}: training and evaluation read {', '.join(SPLITS)}")
    if not report.num_lines:
        report.problems.append(Problem(1, "no-clips", "the manifest is empty"))
    return report


def _check_labels(
    clip: Clip, line: int, vocabulary: Container[str] | None, sampling: SamplingConfig, report: ValidationReport
) -> None:
    def problem(kind: str, message: str) -> None:
        report.problems.append(Problem(line, kind, message, clip.id))

    if clip.num_frames < sampling.multiple:
        problem("too-short", f"{clip.num_frames} frames; evaluation needs at least {sampling.multiple}")
    if clip.gloss is None:
        return
    if vocabulary is not None:
        unknown = sorted({gloss for gloss in clip.gloss if gloss not in vocabulary})
        if unknown:
            problem("unknown-gloss", f"not in the vocabulary: {', '.join(unknown)}")
    cap = {"max_frames": sampling.max_frames, "stride": sampling.multiple}
    if not ctc_feasible(clip.gloss, clip.num_frames, **cap):
        steps = min(clip.num_frames, sampling.max_frames) // sampling.multiple
        needed = min_ctc_steps(clip.gloss)
        problem(
            "ctc-infeasible",
            f"{needed} steps needed for {len(clip.gloss)} glosses, {clip.num_frames} frames give {steps}",
        )
    elif not ctc_feasible(clip.gloss, half_speed(clip.num_frames, tmin=sampling.tmin, stride=sampling.multiple), **cap):
        report.num_tight += 1


def _check_video(clip: Clip, line: int, root: Path, decode: bool, strict: bool, report: ValidationReport) -> None:
    try:
        video = open_clip(clip, root)
        for _ in video.frames(range(video.num_frames)) if decode else ():
            pass
        num_frames = video.num_frames if decode else decoded_length(video)
    except UNREADABLE as error:
        if strict:
            raise SltError(f"{report.manifest}:{line}: {clip.id}: {reason_of(error)}") from None
        report.problems.append(Problem(line, "video", reason_of(error), clip.id))
        return
    report.num_videos += 1
    report.num_frames += num_frames
    if num_frames != clip.num_frames:
        message = f"the manifest says {clip.num_frames} frames, {clip.video} holds {num_frames}"
        report.problems.append(Problem(line, "frame-count", message, clip.id))
    if not any(math.isclose(clip.fps, fps, rel_tol=_SAME_RATE) for fps in (video.fps, num_frames / video.seconds)):
        message = f"the manifest says {clip.fps:g} frames a second, {clip.video} has {video.fps:g}"
        report.problems.append(Problem(line, "frame-rate", message, clip.id))
