"""TensorFlow's CTC prefix beam search (facts.md 5), for many clips at once, in numpy.

A prefix keeps the log-probabilities of all paths that spell it, separately for paths that end in a blank and in its last
label. In every step each kept prefix is first carried on (blank; repeat of its last label; what arrives from its parent
prefix, if that is kept too), then each is extended by every label for which it has no kept child. The best `width` of
all these are kept; of equals, those that come first: carried prefixes before extensions, better parents and better
labels before worse ones. (TensorFlow leaves the choice among equals to the layout of a heap.)

B: clips. W: beam width. P: pairs (prefix, label) tried as extensions in a step. K: gloss classes, class 0 the blank.
"""

from collections.abc import Iterator

import numpy as np
import torch

from slt_pipeline.errors import SltError

_BLANK = 0
_NO_NODE, _NO_PARENT = -1, -2  # of an empty place; of the empty prefix. They differ, so they never match
_CHUNK_VALUES = 16_000_000  # logits searched at once: 64 MB of float32


def best_prefixes(gloss_logits: torch.Tensor, lengths: torch.Tensor, width: int) -> list[list[int]]:
    """Labels of the most probable prefix of every clip.

    gloss_logits: (B, T, K); lengths: (B,); width >= 1. Raises SltError for NaN or +infinity in a valid step.
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


def _search(logits: torch.Tensor, num_steps: np.ndarray, width: int) -> list[list[int]]:
    """logits: (B, T, K) float32 on the CPU; num_steps: (B,), never increasing."""
    places, ranks = _worthwhile_extensions(width, logits.shape[2] - 1)
    num_ranks = int(ranks.max(initial=-1)) + 1
    top_scores, top_labels = logits[:, :, _BLANK + 1 :].topk(num_ranks, dim=-1)
    scores = logits.numpy()
    best = scores[:, :, _BLANK] if num_ranks == 0 else np.maximum(scores[:, :, _BLANK], top_scores[:, :, 0].numpy())
    for clip, length in enumerate(num_steps):
        bad = ~np.isfinite(best[clip, :length])
        if bad.any():
            raise SltError(f"gloss logits hold NaN or infinity at step {int(bad.argmax())}; check the model and its input")
    # Every path takes exactly one term from each step. What is constant in a step (the softmax denominator) moves all
    # prefixes alike and is left out; the step's maximum is taken off to keep the sums small.
    best = best.astype(np.float64)
    extension_scores = top_scores.numpy()[:, :, ranks] - best[:, :, None]
    extension_labels = top_labels.numpy()[:, :, ranks] + _BLANK + 1
    beam = _Beam(len(num_steps), width, places, num_classes=logits.shape[2])
    for step in range(scores.shape[1]):
        n = int((num_steps > step).sum())
        beam.advance(
            n,
            blank_scores=scores[:n, step, _BLANK] - best[:n, step],
            last_scores=np.take_along_axis(scores[:n, step], beam.last[:n], axis=1) - best[:n, step, None],
            extension_scores=extension_scores[:n, step],
            extension_labels=extension_labels[:n, step],
        )
    return [beam.best_labels(clip) for clip in range(len(num_steps))]


def _worthwhile_extensions(width: int, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (place in the beam, rank of the label in the step) that can survive a step: two arrays (P,).

    Places are sorted by total, labels by score, both from the best (0). A pair (i, r) is beaten, or equalled by
    something that comes first, by every pair (i', r') with i' <= i and r' <= r, which are (i + 1)(r + 1) - 1 others,
    except where (i', r') repeats the last label of i' (then it starts from the blank score, lower than the total; at
    most one for each i', so i + 1) and where that child is kept already (at most width - 1 in all, as some kept prefix
    has no kept parent). So at least (i + 1) r - width others come before (i, r), and if these are `width` or more,
    that is (i + 1) r >= 2 width, it is never kept. For width 10 this leaves 64 pairs, whatever the number of labels.
    """
    pairs = [
        (place, rank)
        for place in range(width)
        for rank in range(min(num_labels, -(-2 * width // (place + 1))))
    ]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


class _Beam:
    """The kept prefixes of all clips, best first: arrays (B, W)."""

    def __init__(self, num_clips: int, width: int, places: np.ndarray, num_classes: int) -> None:
        shape = (num_clips, width)
        self.blank = np.full(shape, -np.inf)  # log-score of the paths that end in a blank
        self.label = np.full(shape, -np.inf)  # and in the last label
        self.total = np.full(shape, -np.inf)  # and of both; -inf: the place is empty
        self.last = np.zeros(shape, dtype=np.int64)  # last label; the empty prefix has the blank, which no child has
        self.node = np.full(shape, _NO_NODE)  # number in the trie
        self.parent = np.full(shape, _NO_PARENT)
        self.blank[:, 0] = self.total[:, 0] = 0.0
        self.node[:, 0] = np.arange(num_clips)
        self._places = places
        self._num_classes = num_classes
        # The trie of all prefixes ever kept: a prefix that returns is the same node, so its children find it again.
        self._trie: list[tuple[int, int]] = [(_NO_PARENT, _BLANK)] * num_clips  # (parent node, label)
        self._number: dict[int, int] = {}  # parent node * K + label -> node

    def advance(
        self,
        n: int,
        blank_scores: np.ndarray,
        last_scores: np.ndarray,
        extension_scores: np.ndarray,
        extension_labels: np.ndarray,
    ) -> None:
        """One step of the first n clips.

        Scores of the step: blank_scores (n,); last_scores (n, W), of every prefix's last label; extension_scores and
        extension_labels (n, P), of the pairs that are tried.
        """
        width, places = self.total.shape[1], self._places
        total, blank, last, node, parent = (a[:n] for a in (self.total, self.blank, self.last, self.node, self.parent))

        is_parent = parent[:, :, None] == node[:, None, :]  # (n, W, W): [., i, j]: j is the parent of i
        parent_kept, parent_place = is_parent.any(axis=2), is_parent.argmax(axis=2)

        def from_parent(values: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values, parent_place, axis=1)

        arriving = np.where(last == from_parent(last), from_parent(blank), from_parent(total))
        label = np.logaddexp(self.label[:n], np.where(parent_kept, arriving, -np.inf)) + last_scores
        carried_blank = total + blank_scores[:, None]
        carried_total = np.logaddexp(carried_blank, label)

        start = np.where(extension_labels == last[:, places], blank[:, places], total[:, places])
        child_kept = (
            parent_kept[:, :, None]
            & (parent_place[:, :, None] == places)
            & (last[:, :, None] == extension_labels[:, None, :])
        ).any(axis=1)
        extended = np.where(child_kept, -np.inf, start + extension_scores)

        totals = np.concatenate([carried_total, extended], axis=1)
        chosen = np.argsort(-totals, axis=1, kind="stable")[:, :width]

        def choose(carried: np.ndarray, new: np.ndarray) -> np.ndarray:
            return np.take_along_axis(np.concatenate([carried, new], axis=1), chosen, axis=1)

        new_total = np.take_along_axis(totals, chosen, axis=1)
        new_last = choose(last, extension_labels)
        new_parent = choose(parent, node[:, places])
        new_node = choose(node, np.full_like(extension_labels, _NO_NODE))
        self._enter_new_nodes(new_node, new_parent, new_last, (chosen >= width) & (new_total > -np.inf))
        empty = new_total == -np.inf
        self.blank[:n] = choose(carried_blank, np.full_like(extended, -np.inf))
        self.label[:n] = choose(label, extended)
        self.total[:n] = new_total
        self.last[:n] = new_last
        self.node[:n] = np.where(empty, _NO_NODE, new_node)
        self.parent[:n] = np.where(empty, _NO_PARENT, new_parent)

    def best_labels(self, clip: int) -> list[int]:
        """Labels of the best prefix of a clip."""
        labels = []
        parent, label = self._trie[self.node[clip, 0]]
        while parent != _NO_PARENT:
            labels.append(label)
            parent, label = self._trie[parent]
        return labels[::-1]

    def _enter_new_nodes(self, node: np.ndarray, parent: np.ndarray, last: np.ndarray, is_new: np.ndarray) -> None:
        numbers = []
        for up, label in zip(parent[is_new].tolist(), last[is_new].tolist(), strict=True):
            number = self._number.setdefault(up * self._num_classes + label, len(self._trie))
            if number == len(self._trie):
                self._trie.append((up, label))
            numbers.append(number)
        node[is_new] = numbers
