"""Counts of a corpus, split by split (the counts of FACTS 1.2)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import ctc_feasible, half_speed
from slt_pipeline.text.gloss_form import caseless


@dataclass(frozen=True, slots=True)
class Spread:
    """Distribution of a length."""

    min: int
    median: float
    mean: float
    p99: float
    max: int


@dataclass(frozen=True, slots=True)
class SplitStats:
    """Counts of one split. Types are distinct tokens; `oov` ones do not occur in train."""

    num_clips: int
    num_frames: int
    hours: float
    frames: Spread
    signers: int
    gloss_tokens: int
    gloss_types: int
    gloss_length: Spread
    words: int
    word_types: int
    word_length: Spread
    char_types: int
    char_length: Spread
    texts: int
    """Distinct texts."""
    without_gloss: int
    without_text: int
    over_cap: int
    """Clips of more than 400 frames, which are cut."""
    with_repeats: int
    """Clips whose glosses contain equal neighbours."""
    ctc_infeasible: int
    """Clips whose glosses do not fit into a quarter of their frames."""
    ctc_infeasible_half: int
    """The same where training draws half of the frames."""
    texts_in_train: int
    oov_gloss_types: int
    oov_word_types: int
    oov_char_types: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def corpus_stats(clips: Iterable[Clip]) -> dict[str, SplitStats]:
    """Counts by split, train first."""
    splits: dict[str, list[Clip]] = {}
    for clip in clips:
        splits.setdefault(clip.split, []).append(clip)
    train = splits.get("train", [])
    order = {"train": 0, "dev": 1, "test": 2}
    return {s: _split_stats(splits[s], train) for s in sorted(splits, key=lambda s: (order.get(s, 3), s))}


def stats_table(stats: Mapping[str, SplitStats]) -> str:
    """A table for the terminal: one column a split."""
    rows = [["", *stats]] + [[label, *map(show, stats.values())] for label, show in _ROWS]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for label, *cells in rows:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([label.ljust(widths[0]), *right]))
    return "\n".join(lines)


def _split_stats(clips: Sequence[Clip], train: Sequence[Clip]) -> SplitStats:
    with_gloss = [clip for clip in clips if clip.gloss]
    texts = [clip.text for clip in clips if clip.text is not None]
    glosses, words, chars = _glosses(clips), _words(clips), _chars(clips)
    is_train = clips is train or not train
    lengths = [len(clip.gloss or ()) for clip in with_gloss]
    return SplitStats(
        num_clips=len(clips),
        num_frames=sum(clip.num_frames for clip in clips),
        hours=sum(clip.num_frames / clip.fps for clip in clips) / 3600,
        frames=_spread([clip.num_frames for clip in clips]),
        signers=len({clip.signer for clip in clips}),
        gloss_tokens=sum(lengths),
        gloss_types=len(glosses),
        gloss_length=_spread(lengths),
        words=sum(len(text.split()) for text in texts),
        word_types=len(words),
        word_length=_spread([len(text.split()) for text in texts]),
        char_types=len(chars),
        char_length=_spread([len(text) for text in texts]),
        texts=len(set(texts)),
        without_gloss=len(clips) - len(with_gloss),
        without_text=len(clips) - len(texts),
        over_cap=sum(clip.num_frames > 400 for clip in clips),
        with_repeats=sum(any(a == b for a, b in pairwise(c.gloss or ())) for c in clips),
        ctc_infeasible=sum(not ctc_feasible(clip.gloss or (), clip.num_frames) for clip in with_gloss),
        ctc_infeasible_half=sum(not ctc_feasible(clip.gloss or (), half_speed(clip.num_frames)) for clip in with_gloss),
        texts_in_train=0 if is_train else _texts_in(texts, train),
        oov_gloss_types=0 if is_train else len(glosses - _glosses(train)),
        oov_word_types=0 if is_train else len(words - _words(train)),
        oov_char_types=0 if is_train else len(chars - _chars(train)),
    )


def _glosses(clips: Iterable[Clip]) -> set[str]:
    return {caseless(gloss) for clip in clips for gloss in clip.gloss or ()}


def _words(clips: Iterable[Clip]) -> set[str]:
    return {word for clip in clips for word in (clip.text or "").split()}


def _chars(clips: Iterable[Clip]) -> set[str]:
    return {char for clip in clips for char in clip.text or ""}


def _texts_in(texts: Sequence[str], train: Sequence[Clip]) -> int:
    known = {clip.text for clip in train}
    return sum(text in known for text in texts)


def _spread(values: Sequence[int]) -> Spread:
    if not values:
        return Spread(0, 0.0, 0.0, 0.0, 0)
    array = np.asarray(values)
    return Spread(
        int(array.min()),
        float(np.median(array)),
        float(array.mean()),
        float(np.percentile(array, 99)),
        int(array.max()),
    )


def _show(spread: Spread) -> str:
    return f"{spread.min}/{spread.median:g}/{spread.p99:g}/{spread.max}"


_ROWS = (
    ("clips", lambda s: f"{s.num_clips}"),
    ("frames", lambda s: f"{s.num_frames}"),
    ("hours", lambda s: f"{s.hours:.2f}"),
    ("frames a clip, min/median/p99/max", lambda s: _show(s.frames)),
    ("clips over 400 frames", lambda s: f"{s.over_cap}"),
    ("signers", lambda s: f"{s.signers}"),
    ("gloss tokens / types", lambda s: f"{s.gloss_tokens} / {s.gloss_types}"),
    ("glosses a clip, min/median/p99/max", lambda s: _show(s.gloss_length)),
    ("words / types (split at spaces)", lambda s: f"{s.words} / {s.word_types}"),
    ("words a clip, min/median/p99/max", lambda s: _show(s.word_length)),
    ("character types", lambda s: f"{s.char_types}"),
    ("characters a clip, min/median/p99/max", lambda s: _show(s.char_length)),
    ("distinct texts", lambda s: f"{s.texts}"),
    ("texts also in train", lambda s: f"{s.texts_in_train}"),
    (
        "glosses / words / characters not in train",
        lambda s: f"{s.oov_gloss_types} / {s.oov_word_types} / {s.oov_char_types}",
    ),
    ("clips without gloss / text", lambda s: f"{s.without_gloss} / {s.without_text}"),
    ("clips with equal neighbouring glosses", lambda s: f"{s.with_repeats}"),
    ("CTC-infeasible / at half the frames", lambda s: f"{s.ctc_infeasible} / {s.ctc_infeasible_half}"),
)
