"""TensorFlow's CTC prefix beam search (FACTS 5), for many clips at once, in numpy.

A prefix keeps the log-score of all paths that spell it, separately for paths that end in a blank and in its last label.
In every step each kept prefix is first carried on (blank; repeat of its last label; what arrives from its parent, if
that is kept too). Then, best prefix first, each is extended by every label for which it has no kept child; a
candidate enters if there is room or if it beats the weakest, which it replaces. So the best `width` of all carried and
extended prefixes are kept, but for one quirk of the operator: see `_find_muted`.
Of equals, those that come first are kept: carried prefixes before extensions, better parents and better labels before
worse ones. (TensorFlow leaves the choice among equals to the layout of a heap.)

Besides the letters of the room: Q prefixes kept, the width of the beam; J labels looked at in a step, the best 2 Q;
P pairs (place in the beam, rank of a label) tried as extensions; n clips that still run.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from slt_pipeline.errors import SltError

_BLANK = 0
_NO_NODE, _NO_PARENT = -1, -2  # of an empty place; of the empty prefix. They differ, so they never match
_CHUNK_VALUES = 16_000_000  # logits searched at once: 64 MB of float32


def best_prefixes(gloss_logits: torch.Tensor, lengths: torch.Tensor, width: int) -> list[list[int]]:
    """Return the labels of the best prefix of every clip.

    Args:
        gloss_logits: (B, S, K).
        lengths: (B,) valid steps.
        width: prefixes kept, at least 1.

    Raises:
        SltError: a valid step holds NaN or +infinity.
    """
    sequences: list[list[int]] = [[] for _ in range(len(lengths))]
    lengths = lengths.cpu()
    # Longest first: the clips that still run are then always the first rows.
    order = torch.argsort(lengths, descending=True, stable=True)
    for rows in _chunks(order, lengths, gloss_logits.shape[2]):
        num_steps = lengths[rows].numpy()
        logits = gloss_logits[rows.to(gloss_logits.device), : int(num_steps[0])].detach().float().cpu()
        for row, sequence in zip(rows.tolist(), _search(logits, num_steps, width), strict=True):
            sequences[row] = sequence
    return sequences


def _chunks(order: torch.Tensor, lengths: torch.Tensor, num_classes: int) -> Iterator[torch.Tensor]:
    start = 0
    while start < len(order):
        stop = start + max(1, _CHUNK_VALUES // max(1, int(lengths[order[start]]) * num_classes))
        yield order[start:stop]
        start = stop


class _Step(NamedTuple):
    """Scores of one step of n clips: logits less `base`.

    Every path takes exactly one term from each step, so what is constant in a step (the softmax denominator) moves all
    prefixes alike and is left out; taking off the step's maximum keeps the sums small.
    """

    logits: np.ndarray  # (n, K) float32
    base: np.ndarray  # (n, 1) float64, the maximum
    top_scores: np.ndarray  # (n, J) float64, of the best labels that are not the blank, best first
    top_labels: np.ndarray  # (n, J) int64

    def of_labels(self, labels: np.ndarray) -> np.ndarray:
        """Scores (n, m) of labels (n, m)."""
        return np.take_along_axis(self.logits, labels, axis=1) - self.base


class _Prefixes(NamedTuple):
    """The kept prefixes of n clips, best first: arrays (n, Q)."""

    blank: np.ndarray  # log-score of the paths that end in a blank
    label: np.ndarray  # and in the last label
    total: np.ndarray  # and of both; -inf: the place is empty
    last: np.ndarray  # last label; the empty prefix has the blank, which no child has
    node: np.ndarray  # number in the trie; _NO_NODE: new or empty
    parent: np.ndarray  # the parent's number

    @staticmethod
    def start(num_clips: int, width: int) -> "_Prefixes":
        score = np.full((num_clips, width), -np.inf)
        score[:, 0] = 0.0
        node = np.full((num_clips, width), _NO_NODE)
        node[:, 0] = np.arange(num_clips)
        never = np.full_like(score, -np.inf)
        return _Prefixes(score, never, score.copy(), np.full_like(node, _BLANK), node, np.full_like(node, _NO_PARENT))


class _Carried(NamedTuple):
    """The kept prefixes carried on by a step, without extension: arrays (n, Q)."""

    blank: np.ndarray
    label: np.ndarray
    total: np.ndarray
    parent_kept: np.ndarray  # whether the parent is in the beam,
    parent_place: np.ndarray  # and where


def _search(logits: torch.Tensor, num_steps: np.ndarray, width: int) -> list[list[int]]:
    """Search logits (B, S, K) float32 on the CPU; num_steps (B,) never increases."""
    num_clips, max_steps, num_classes = logits.shape
    scores = logits.numpy()
    top = logits[:, :, _BLANK + 1 :].topk(min(2 * width, num_classes - 1), dim=-1)
    top_scores, top_labels = top.values.double().numpy(), top.indices.numpy() + _BLANK + 1
    base = np.maximum(scores[:, :, _BLANK, None], top_scores.max(axis=-1, initial=-np.inf, keepdims=True))
    for clip, length in enumerate(num_steps):
        if not np.isfinite(base[clip, :length]).all():
            at = int(np.isfinite(base[clip, :length, 0]).argmin())
            raise SltError(f"gloss logits hold NaN or infinity at step {at}; check the model and its input")

    prefixes = _Prefixes.start(num_clips, width)
    trie = _Trie(num_clips)
    pairs, all_pairs = _worthwhile_pairs(width, top_labels.shape[2]), _all_pairs(width, top_labels.shape[2])
    for t in range(max_steps):
        n = int((num_steps > t).sum())
        step = _Step(scores[:n, t], base[:n, t], top_scores[:n, t] - base[:n, t], top_labels[:n, t])
        old = _Prefixes(*(array[:n] for array in prefixes))
        new, kept, rows = _grow(old, step, pairs)
        if len(rows):
            old, step = _Prefixes(*(array[rows] for array in old)), _Step(*(array[rows] for array in step))
            again, _, _ = _grow(old, step, all_pairs, _find_muted(old, step, kept[rows]))
            for array, values in zip(new, again, strict=True):
                array[rows] = values
        trie.enter(new)
        for array, values in zip(prefixes, new, strict=True):
            array[:n] = values
    return [trie.labels(int(node)) for node in prefixes.node[:, 0]]


def _worthwhile_pairs(width: int, num_ranks: int) -> np.ndarray:
    """Pairs (place in the beam, rank of a label) that can survive a step in which no prefix is muted: (2, P).

    Places are sorted by total, ranks by score, both from the best (0). A pair (i, r) is beaten, or equalled by
    something that comes first, by every pair (i', r') with i' <= i and r' <= r, which are (i + 1)(r + 1) - 1 others,
    except where (i', r') repeats the last label of i' (then it starts from the blank score, not from the total; at most
    one for each i', so i + 1) and where that child is kept already (at most width - 1 in all, as some kept prefix has
    no kept parent). So at least (i + 1) r - width others come before (i, r), and if these are `width` or more, that is
    (i + 1) r >= 2 width, it is not kept. For width 10 this leaves 64 pairs, whatever the number of classes.
    """
    pairs = [(i, r) for i in range(width) for r in range(num_ranks) if (i + 1) * r < 2 * width]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


def _all_pairs(width: int, num_ranks: int) -> np.ndarray:
    """The pairs that can survive if some prefixes are muted: (2, Q * J). The argument above holds with i' = i alone."""
    return np.indices((width, num_ranks)).reshape(2, -1)


def _grow(
    old: _Prefixes, step: _Step, pairs: np.ndarray, muted: np.ndarray | None = None
) -> tuple[_Prefixes, np.ndarray, np.ndarray]:
    """The beam after a step.

    muted: (n, Q), prefixes that are not extended. Also returns which old prefixes were carried on and kept (n, Q), and
    the rows in which a prefix may have to be muted.
    """
    width = old.total.shape[1]
    places, ranks = pairs
    carried = _carry(old, step)
    labels = step.top_labels[:, ranks]
    extended = _extend(old, carried, places, labels) + step.top_scores[:, ranks]
    if muted is not None:
        extended[muted[:, places]] = -np.inf
    totals = np.concatenate([carried.total, extended], axis=1)
    chosen = np.argsort(-totals, axis=1, kind="stable")[:, :width]

    def choose(of_carried: np.ndarray, of_extended: np.ndarray) -> np.ndarray:
        return np.take_along_axis(np.concatenate([of_carried, of_extended], axis=1), chosen, axis=1)

    total = choose(carried.total, extended)
    empty = total == -np.inf
    new = _Prefixes(
        blank=choose(carried.blank, np.full_like(extended, -np.inf)),
        label=choose(carried.label, extended),
        total=total,
        last=choose(old.last, labels),
        node=np.where(empty, _NO_NODE, choose(old.node, np.full_like(labels, _NO_NODE))),
        parent=np.where(empty, _NO_PARENT, choose(old.parent, old.node[:, places])),
    )
    is_chosen = np.zeros(totals.shape, dtype=bool)
    np.put_along_axis(is_chosen, chosen, values=True, axis=1)
    kept = is_chosen[:, :width]
    # Muting a prefix changes the outcome only if one of its extensions was chosen.
    has_chosen_child = np.zeros_like(kept)
    row, column = np.nonzero(is_chosen[:, width:])
    has_chosen_child[row, places[column]] = True
    doubtful = ~kept & has_chosen_child & _parent_is_before(carried)
    return new, kept, np.flatnonzero(doubtful.any(axis=1))


def _carry(old: _Prefixes, step: _Step) -> _Carried:
    is_parent = old.parent[:, :, None] == old.node[:, None, :]  # (n, Q, Q): [., i, j]: j is the parent of i
    parent_kept, parent_place = is_parent.any(axis=2), is_parent.argmax(axis=2)

    def of_parent(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, parent_place, axis=1)

    arriving = np.where(old.last == of_parent(old.last), of_parent(old.blank), of_parent(old.total))
    arriving = np.where(parent_kept, arriving, -np.inf)
    label = np.logaddexp(old.label, arriving) + step.of_labels(old.last)
    blank = old.total + (step.logits[:, _BLANK, None] - step.base)
    return _Carried(blank, label, np.logaddexp(blank, label), parent_kept, parent_place)


def _extend(old: _Prefixes, carried: _Carried, places: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Scores that paths bring to the children (places, labels): (n, P); -inf where that child is kept already.

    places: (P,); labels: (n, P).
    """
    start = np.where(labels == old.last[:, places], old.blank[:, places], old.total[:, places])
    is_kept = (
        carried.parent_kept[:, :, None]
        & (carried.parent_place[:, :, None] == places)
        & (old.last[:, :, None] == labels[:, None, :])
    )
    return np.where(is_kept.any(axis=1), -np.inf, start)


def _parent_is_before(carried: _Carried) -> np.ndarray:
    return carried.parent_kept & (carried.parent_place < np.arange(carried.total.shape[1]))


def _find_muted(old: _Prefixes, step: _Step, kept: np.ndarray) -> np.ndarray:
    """Prefixes that the operator does not extend in this step: (n, Q).

    Prefixes are extended one after the other, best first, and the labels of each by class number. If a carried prefix x
    is pushed out of the beam before its parent comes to the label of x, the parent tries x as a new child. x never gets
    back in (what arrives from the parent is part of the score with which it was pushed out), but in being refused it
    loses its old scores, and so is not extended when its own turn comes. x is out by then if `width` or more of the
    candidates so far are better than x.

    kept: (n, Q), whether the prefix stays if none is muted. If it does, it is not pushed out.
    """
    carried = _carry(old, step)
    num_rows, width = old.total.shape
    places, ranks = _all_pairs(width, step.top_labels.shape[1])
    labels = step.top_labels[:, ranks]
    extended = _extend(old, carried, places, labels) + step.top_scores[:, ranks]
    muted = np.zeros((num_rows, width), dtype=bool)
    suspects = _parent_is_before(carried) & ~kept
    for place in range(1, width):
        rows = np.flatnonzero(suspects[:, place])
        parent = carried.parent_place[rows, place]
        rows, parent = rows[~muted[rows, parent]], parent[~muted[rows, parent]]
        if not len(rows):
            continue
        total, label = carried.total[rows, place, None], old.last[rows, place, None]
        num_better = (carried.total[rows] > total).sum(axis=1) + (carried.total[rows, :place] == total).sum(axis=1)
        # Of earlier prefixes the best labels are enough: where more are better than x, `width` of these are.
        num_better += ((extended[rows] > total) & (places < parent[:, None])).sum(axis=1)
        # Of the parent every label with a smaller number counts.
        num_better += _num_better_children(
            _Prefixes(*(array[rows] for array in old)),
            _Step(*(array[rows] for array in step)),
            _Carried(*(array[rows] for array in carried)),
            parent,
            total,
            label,
        )
        muted[rows, place] = num_better >= width
        extended[muted[:, places] & (places == place)] = -np.inf
    return muted


def _num_better_children(
    old: _Prefixes, step: _Step, carried: _Carried, parent: np.ndarray, total: np.ndarray, label: np.ndarray
) -> np.ndarray:
    """How many extensions of the prefix at place `parent` (n,) by a label below `label` (n, 1) beat `total` (n, 1)."""
    rows = np.arange(len(parent))
    scores = step.logits - step.base
    is_better = scores + old.total[rows, parent, None] > total
    last = old.last[rows, parent]
    is_better[rows, last] = scores[rows, last] + old.blank[rows, parent] > total[:, 0]
    row, place = np.nonzero(carried.parent_kept & (carried.parent_place == parent[:, None]))
    is_better[row, old.last[row, place]] = False
    labels = np.arange(scores.shape[1])
    return (is_better & (labels > _BLANK) & (labels < label)).sum(axis=1)


class _Trie:
    """All prefixes ever kept, numbered. One that returns is the same node, so that its children find it again."""

    def __init__(self, num_clips: int) -> None:
        self._nodes: list[tuple[int, int]] = [(_NO_PARENT, _BLANK)] * num_clips  # (parent, label); an empty one a clip
        self._number: dict[tuple[int, int], int] = {}

    def enter(self, prefixes: _Prefixes) -> None:
        """Number the new prefixes, in place."""
        is_new = (prefixes.node == _NO_NODE) & (prefixes.parent != _NO_PARENT)
        numbers = []
        for key in zip(prefixes.parent[is_new].tolist(), prefixes.last[is_new].tolist(), strict=True):
            number = self._number.setdefault(key, len(self._nodes))
            if number == len(self._nodes):
                self._nodes.append(key)
            numbers.append(number)
        prefixes.node[is_new] = numbers

    def labels(self, node: int) -> list[int]:
        """The prefix that a number stands for."""
        labels = []
        parent, label = self._nodes[node]
        while parent != _NO_PARENT:
            labels.append(label)
            parent, label = self._nodes[parent]
        return labels[::-1]
