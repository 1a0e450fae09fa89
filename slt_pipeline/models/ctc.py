"""CTC: loss, decoding and alignment of gloss sequences (FACTS 5)."""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from slt_pipeline.errors import SltError
from slt_pipeline.models.ctc_beam import best_prefixes
from slt_pipeline.models.over_processes import num_processes, summed

BLANK = 0
STRIDE = 4
"""Frames of a step (FACTS 3.1)."""
_CLIPS_AT_ONCE = 64


def ctc_loss(
    gloss_logits: torch.Tensor,
    lengths: torch.Tensor,
    gloss_labels: torch.Tensor,
    gloss_label_lengths: torch.Tensor,
    blank: int = BLANK,
) -> torch.Tensor:
    """Return the mean over clips of the negative log-likelihood of their gloss sequences: a scalar, float32.

    The sum is divided by the number of clips that have glosses, by B where all do, as published, and not by sequence
    lengths. A clip without gloss takes no part; a batch of such clips alone costs 0, with a gradient of 0. A sequence
    that cannot fit into its steps counts 0 and sends no gradient.

    Args:
        gloss_logits: (B, S, K), any float type.
        lengths: (B,) valid steps.
        gloss_labels: (B, L) classes, anything beyond their lengths.
        gloss_label_lengths: (B,); 0 is a clip in which nothing is signed, -1 one that has no gloss.
        blank: class of the blank.
    """
    each = ctc_loss_per_sample(gloss_logits, lengths, gloss_labels, gloss_label_lengths, blank)
    return each.sum() / _num_labelled(gloss_label_lengths)


def _num_labelled(gloss_label_lengths: torch.Tensor) -> torch.Tensor:
    """Clips that have glosses, at least one; of a share of a batch in training, what it would have if all were alike.

    So the mean over processes, each weighed by its clips, is that over the clips of the batch that have glosses.
    """
    labelled = (gloss_label_lengths >= 0).sum()
    if num_processes() == 1 or not torch.is_grad_enabled():
        return labelled.clamp(min=1)
    whole = summed(torch.stack((labelled, labelled.new_tensor(len(gloss_label_lengths)))).double())
    return (whole[0].clamp(min=1) * len(gloss_label_lengths) / whole[1]).float()


def ctc_loss_per_sample(
    gloss_logits: torch.Tensor,
    lengths: torch.Tensor,
    gloss_labels: torch.Tensor,
    gloss_label_lengths: torch.Tensor,
    blank: int = BLANK,
) -> torch.Tensor:
    """Return the terms that `ctc_loss` averages: (B,) float32, 0 without gloss or where the sequence cannot fit."""
    log_probs = gloss_logits.float().log_softmax(dim=-1).transpose(0, 1)
    each = functional.ctc_loss(
        log_probs,
        gloss_labels,
        lengths,
        gloss_label_lengths.clamp(min=0),
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
    return each.masked_fill(gloss_label_lengths < 0, 0.0)


def infeasible(batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Count the clips of a batch whose glosses cannot fit into their steps: CTC learns nothing from them.

    A sequence needs a step for each gloss, and one for the blank between equal neighbours.

    Args:
        batch: `lengths (B,)` valid steps, or in their place `frame_lengths (B,)` valid frames; `gloss_labels (B, L)`
            and `gloss_label_lengths (B,)` as of `ctc_loss`.
    """
    steps = batch["lengths"] if "lengths" in batch else batch["frame_lengths"] // STRIDE
    labels, lengths = batch["gloss_labels"], batch["gloss_label_lengths"]
    inside = torch.arange(labels.shape[1], device=labels.device)[None, 1:] < lengths[:, None]
    needed = lengths + ((labels[:, 1:] == labels[:, :-1]) & inside).sum(dim=1)
    return {"infeasible": int((needed > steps).sum())}


def is_blank(gloss_logits: torch.Tensor) -> bool:
    """Say whether the best path of logits (S, K) names no gloss at all."""
    return bool((gloss_logits.argmax(dim=-1) == BLANK).all())


def decode(
    gloss_logits: torch.Tensor, lengths: torch.Tensor, beam_size: int, merge_repeats: bool = True
) -> list[list[int]]:
    """Return the classes of every clip of (B, S, K) with lengths (B,): greedy if beam_size is 0, else by prefix search.

    Greedy takes no `merge_repeats`: it always keeps a gloss that is repeated across a blank.
    """
    if beam_size == 0:
        return greedy_decode(gloss_logits, lengths)
    return prefix_beam_search(gloss_logits, lengths, beam_size, merge_repeats)


def decode_clips(gloss_logits: Sequence[torch.Tensor], beam_size: int, merge_repeats: bool = True) -> list[list[int]]:
    """Decode clips (S, K) that are not padded into a batch; much faster than one by one."""
    if not gloss_logits:
        return []
    # Clips of similar length together, so that little is padded; the search runs through the clips of a batch at once.
    order = sorted(range(len(gloss_logits)), key=lambda index: len(gloss_logits[index]))
    decoded: list[list[int]] = [[] for _ in order]
    for start in range(0, len(order), _CLIPS_AT_ONCE):
        indices = order[start : start + _CLIPS_AT_ONCE]
        batch = pad_sequence([gloss_logits[index] for index in indices], batch_first=True)
        lengths = torch.tensor([len(gloss_logits[index]) for index in indices])
        for index, gloss_ids in zip(indices, decode(batch, lengths, beam_size, merge_repeats), strict=True):
            decoded[index] = gloss_ids
    return decoded


def greedy_decode(gloss_logits: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
    """Return the best path: the best class of every step, runs of it merged, blanks dropped.

    Args:
        gloss_logits: (B, S, K).
        lengths: (B,) valid steps; those beyond are not looked at.
    """
    _check(gloss_logits, lengths)
    paths = gloss_logits.argmax(dim=-1).tolist()
    return [
        [label for label, _ in groupby(path[:length]) if label != BLANK]
        for path, length in zip(paths, lengths.tolist(), strict=True)
    ]


def prefix_beam_search(
    gloss_logits: torch.Tensor, lengths: torch.Tensor, beam_size: int, merge_repeats: bool = True
) -> list[list[int]]:
    """Decode as published: TensorFlow's CTC prefix beam search, then equal neighbours merged once more.

    The merging makes a truly repeated gloss impossible to output, which is how the published numbers were made.

    Args:
        gloss_logits: (B, S, K), class 0 the blank.
        lengths: (B,) valid steps.
        beam_size: prefixes kept; 1 is a prefix search too, not the best path.
        merge_repeats: whether equal neighbours are merged.

    Raises:
        SltError: beam_size is below 1, or a valid step holds NaN or infinity.
    """
    if beam_size < 1:
        raise SltError(f"beam_size is {beam_size}; a prefix beam search needs at least 1 (0 means greedy in `decode`)")
    _check(gloss_logits, lengths)
    sequences = best_prefixes(gloss_logits, lengths, beam_size)
    if merge_repeats:
        sequences = [[label for label, _ in groupby(sequence)] for sequence in sequences]
    return sequences


def align(
    gloss_logits: torch.Tensor, gloss_ids: Sequence[int], blanks: torch.Tensor | None = None
) -> list[tuple[int, int]]:
    """Return the steps of each gloss on the most probable CTC path of a given sequence, as (start, end), end exclusive.

    Spans are in order and do not overlap; steps of the path that are blank belong to no span.

    Args:
        gloss_logits: (S, K) of one clip, valid steps only.
        gloss_ids: L classes, none the blank.
        blanks: (S, L + 1) logits of the blanks before, between and behind the glosses; None: of the blank everywhere.

    Raises:
        SltError: the sequence needs more than S steps (one for each gloss and one between equal neighbours) or holds
            the blank, or the logits are not finite.
    """
    if not gloss_ids:
        return []
    num_steps = len(gloss_logits)
    num_needed = len(gloss_ids) + sum(a == b for a, b in pairwise(gloss_ids))
    if num_needed > num_steps:
        raise SltError(f"{len(gloss_ids)} glosses need at least {num_needed} steps but the clip has {num_steps}")
    if BLANK in gloss_ids:
        raise SltError(f"gloss ids hold the blank ({BLANK}) at position {list(gloss_ids).index(BLANK)}; leave it out")
    states = np.full(2 * len(gloss_ids) + 1, BLANK)  # blank, gloss, blank, gloss, ..., blank
    states[1::2] = gloss_ids
    # A path takes one score from every step, so logits rank paths as log-probabilities would.
    scores = gloss_logits.detach().double().cpu().numpy()[:, states]
    if blanks is not None:
        scores[:, 0::2] = blanks.detach().double().cpu().numpy()
    if not np.isfinite(scores).all():
        raise SltError("gloss logits hold NaN or infinity; check the model and its input")
    return _spans(_viterbi(scores, states))


def _viterbi(scores: np.ndarray, states: np.ndarray) -> list[int]:
    """Return the best path through the states of scores (S, 2 L + 1), one state index a step."""
    num_steps, num_states = scores.shape
    # The blank between two glosses may be skipped unless they are equal.
    skippable = np.zeros(num_states, dtype=bool)
    skippable[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(num_states, -np.inf)
    best[:2] = scores[0, :2]
    moves = np.zeros((num_steps, num_states), dtype=np.int64)
    for step in range(1, num_steps):
        arrivals = np.full((3, num_states), -np.inf)  # from 0, 1 and 2 states before
        arrivals[0] = best
        arrivals[1, 1:] = best[:-1]
        arrivals[2, 2:] = np.where(skippable[2:], best[:-2], -np.inf)
        moves[step] = arrivals.argmax(axis=0)
        best = arrivals.max(axis=0) + scores[step]
    state = num_states - 1 if best[-1] >= best[-2] else num_states - 2
    path = [state]
    for step in range(num_steps - 1, 0, -1):
        state -= int(moves[step, state])
        path.append(state)
    return path[::-1]


def _spans(path: list[int]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for state, run in groupby(path):
        end = start + len(list(run))
        if state % 2 == 1:
            spans.append((start, end))
        start = end
    return spans


def _check(gloss_logits: torch.Tensor, lengths: torch.Tensor) -> None:
    if gloss_logits.ndim != 3 or lengths.shape != gloss_logits.shape[:1]:
        raise SltError(
            f"decoding needs gloss_logits (B, S, K) and lengths (B,); got {tuple(gloss_logits.shape)} "
            f"and {tuple(lengths.shape)}"
        )
    if len(lengths) and int(lengths.max()) > gloss_logits.shape[1]:
        raise SltError(f"a clip has {int(lengths.max())} steps but gloss_logits only {gloss_logits.shape[1]}")
