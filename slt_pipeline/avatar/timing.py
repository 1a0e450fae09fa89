"""When each gloss of an annotated clip is signed, read from its frame labels.

PHOENIX-2014T's `pami0` labels every frame with a state of a recogniser: 0 is silence, state s > 0 is one of the three
states of model (s - 1) // 3. A run is the stretch of one model's states, from the first to the third. Where a clip has
as many runs as glosses, they correspond one to one, and that tells which gloss a model stands for; elsewhere some
glosses take several runs, so runs are given to glosses in order, as the models already known allow.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from slt_pipeline.corpora.clip import Clip

STATES = "pami0"
_STATES_PER_MODEL = 3
_SKIPPED = 0.6  # cost of a gloss that no run belongs to
_SHORTEST = 4  # frames of silence that a gloss without labels is content with

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One model's stretch of frames, `last` excluded."""

    model: int
    first: int
    last: int


def learn_models(clips: Iterable[Clip]) -> dict[int, str]:
    """Which gloss each model stands for: the most frequent over clips that have as many runs as glosses."""
    seen: dict[int, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if clip.gloss and clip.alignments and STATES in clip.alignments:
            runs = find_runs(clip.alignments[STATES])
            if len(runs) == len(clip.gloss):
                for run, gloss in zip(runs, clip.gloss, strict=True):
                    seen[run.model][gloss] += 1
    return {model: min(counts, key=lambda gloss: (-counts[gloss], gloss)) for model, counts in seen.items()}


def aligned_spans(clip: Clip, models: dict[int, str]) -> tuple[Spans, int] | None:
    """First and last-plus-one frame of each gloss, and how many glosses have labels of their own.

    The others share the silence between their neighbours or a part of the longer neighbour. None where there are no
    labels, or where they fit less than half of the glosses or of the runs.
    """
    if not clip.gloss or not clip.alignments or STATES not in clip.alignments:
        return None
    runs = find_runs(clip.alignments[STATES])
    if not runs:
        return None
    owners = _assign(runs, clip.gloss, models)
    pairs = [(models.get(run.model), clip.gloss[owner]) for run, owner in zip(runs, owners, strict=True)]
    fitting = sum(model is None or model == word for model, word in pairs)
    num_located = len(set(owners))
    if 2 * fitting < len(runs) or 2 * num_located < len(clip.gloss):
        return None
    located: list[tuple[int, int] | None] = [None] * len(clip.gloss)
    for run, owner in zip(runs, owners, strict=True):
        span = located[owner]
        located[owner] = (span[0] if span else run.first, run.last)
    return _fill(located, clip.num_frames), num_located


def uniform_spans(num_frames: int, num_glosses: int) -> Spans:
    """Equal shares of the clip, with a little silence at both ends."""
    silence = num_frames // 20
    step = (num_frames - 2 * silence) / num_glosses
    edges = [silence + round(number * step) for number in range(num_glosses + 1)]
    return tuple(pairwise(edges))


def find_runs(states: Sequence[int]) -> list[Run]:
    """Runs of a state sequence; the same model signed twice in a row is two runs, told by the state falling back."""
    runs: list[Run] = []
    before = 0
    for frame, state in enumerate(states):
        if state > 0:
            model = (state - 1) // _STATES_PER_MODEL
            if before > 0 and runs[-1].model == model and state >= before:
                runs[-1] = Run(model, runs[-1].first, frame + 1)
            else:
                runs.append(Run(model, frame, frame + 1))
        before = state
    return runs


def _assign(runs: Sequence[Run], gloss: Sequence[str], models: dict[int, str]) -> list[int]:
    """The gloss of each run, in order, at the least cost.

    A run of another gloss's model costs 1, a gloss without a run 0.6, and a run of an unknown model 0.4 or, where no
    model of the gloss is known either, 0.1: unknown glosses take unknown models.
    """
    known = set(models.values())

    def cost(run: Run, word: str) -> float:
        if run.model in models:
            return 0.0 if models[run.model] == word else 1.0
        return 0.4 if word in known else 0.1

    best = [_SKIPPED * number + cost(runs[0], word) for number, word in enumerate(gloss)]
    back = []
    for run in runs[1:]:
        came, reach, reach_from = [], float("inf"), 0
        step = []
        for number, word in enumerate(gloss):  # reach: cheapest way from an earlier gloss to this one
            stay = best[number]
            came.append(number if stay <= reach else reach_from)
            step.append(min(stay, reach) + cost(run, word))
            if stay <= reach + _SKIPPED:
                reach, reach_from = stay, number
            else:
                reach += _SKIPPED
        best = step
        back.append(came)
    owner = min(range(len(gloss)), key=lambda number: best[number] + _SKIPPED * (len(gloss) - 1 - number))
    owners = [owner]
    for came in reversed(back):
        owner = came[owner]
        owners.append(owner)
    return owners[::-1]


def _fill(located: list[tuple[int, int] | None], num_frames: int) -> Spans:
    """Spans for the glosses that have none."""
    spans = list(located)
    number = 0
    while number < len(spans):
        if spans[number] is not None:
            number += 1
            continue
        last = number
        while last < len(spans) and spans[last] is None:
            last += 1
        missing = last - number
        before, after = spans[number - 1] if number else None, spans[last] if last < len(spans) else None
        low, high = before[1] if before else 0, after[0] if after else num_frames
        if high - low < _SHORTEST * missing:  # the longer neighbour gives up its share
            if after is None or (before is not None and before[1] - before[0] >= after[1] - after[0]):
                assert before is not None
                low = before[1] - (before[1] - before[0]) * missing // (missing + 1)
                spans[number - 1] = (before[0], low)
            else:
                high = after[0] + (after[1] - after[0]) * missing // (missing + 1)
                spans[last] = (high, after[1])
        edges = [low + (high - low) * step // missing for step in range(missing + 1)]
        spans[number:last] = list(pairwise(edges))
        number = last
    return tuple(span for span in spans if span is not None)
