"""Speed of the CTC prefix beam search against the same algorithm in plain Python, side by side in one run.

    python tests/benchmarks/ctc_decode.py [NUM_CLIPS]

prints milliseconds per clip of both decoders, on one thread, and their ratio; fails if their results differ. The logits
are like a trained model's: blanks with a few confident glosses. Run on request; pytest does not collect it, but
tests/models/test_ctc.py holds the fast decoder to the results of `plain_prefix_beam_search`.
"""

import math
import sys
import time
from collections.abc import Sequence

import torch

from slt_pipeline.models.ctc import prefix_beam_search

_NEVER = -math.inf


class _Node:
    """A prefix: old and new log-probabilities of paths ending in a blank, in its last label, and of both."""

    def __init__(self, parent: "_Node | None", label: int) -> None:
        self.parent, self.label = parent, label
        self.children: dict[int, _Node] = {}
        self.old = self.new = (_NEVER, _NEVER, _NEVER)  # blank, label, total

    @property
    def active(self) -> bool:
        return self.new[2] > _NEVER


def plain_prefix_beam_search(logits: Sequence[Sequence[float]], width: int) -> list[int]:
    """The published algorithm, line by line as FACTS 5 describes it. logits: T rows of K, blank first."""
    root = _Node(None, 0)
    root.new = (0.0, _NEVER, 0.0)
    leaves = [root]
    for row in logits:
        highest = max(row)
        normaliser = highest + math.log(sum(math.exp(value - highest) for value in row))
        scores = [value - normaliser for value in row]
        leaves = sorted(leaves, key=lambda node: -node.new[2])
        for node in leaves:
            node.old = node.new
        active = {id(node) for node in leaves}
        for node in leaves:
            label = node.old[1]
            if node.parent is not None:
                if id(node.parent) in active:
                    arriving = node.parent.old[0] if node.label == node.parent.label else node.parent.old[2]
                    label = _add(label, arriving)
                label += scores[node.label]
            blank = node.old[2] + scores[0]
            node.new = (blank, label, _add(blank, label))
        branches, leaves = leaves, list(leaves)
        threshold = _threshold(leaves, width)
        for node in branches:
            blank, _, node_total = node.old
            for label in range(1, len(scores)) if node_total > threshold else ():
                child = node.children.get(label)
                if child is not None and child.active:
                    continue
                total = scores[label] + (blank if label == node.label else node_total)
                if total <= threshold:
                    if child is not None:
                        child.old = child.new = (_NEVER, _NEVER, _NEVER)
                    continue
                if child is None:
                    child = node.children[label] = _Node(node, label)
                if len(leaves) == width:
                    weakest = min(reversed(leaves), key=lambda leaf: leaf.new[2])
                    weakest.new = (_NEVER, _NEVER, _NEVER)
                    leaves.remove(weakest)
                child.new = (_NEVER, total, total)
                leaves.append(child)
                threshold = _threshold(leaves, width)
    node: _Node | None = max(leaves, key=lambda leaf: leaf.new[2])
    labels = []
    while node is not None and node.parent is not None:
        labels.append(node.label)
        node = node.parent
    return labels[::-1]


def _threshold(leaves: list[_Node], width: int) -> float:
    """What a candidate's total has to exceed."""
    return _NEVER if len(leaves) < width else min(leaf.new[2] for leaf in leaves)


def _add(a: float, b: float) -> float:
    low, high = min(a, b), max(a, b)
    return high if low == _NEVER else high + math.log1p(math.exp(low - high))


def _logits(num_clips: int, num_steps: int, num_classes: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(num_clips, num_steps, num_classes, generator=generator)
    logits[:, :, 0] += 8
    glosses = torch.randint(1, num_classes, (num_clips, num_steps // 3, 2), generator=generator)
    logits[:, 2 : 3 * (num_steps // 3) : 3].scatter_add_(2, glosses, torch.full(glosses.shape, 9.0))
    return logits


def _main(num_clips: int) -> None:
    torch.set_num_threads(1)
    print(f"{num_clips} clips; ms per clip")
    print(f"{'steps':>6}{'classes':>9}{'beam':>6}{'plain':>10}{'ours':>8}{'ratio':>8}")
    for num_steps, num_classes, width in [(28, 1094, 1), (28, 1094, 5), (28, 1094, 10), (100, 2004, 10)]:
        logits = _logits(num_clips, num_steps, num_classes)
        lengths = torch.full((num_clips,), num_steps)
        start = time.perf_counter()
        ours = prefix_beam_search(logits, lengths, width, merge_repeats=False)
        middle = time.perf_counter()
        num_plain = min(num_clips, 4)  # it is slow, and clips are alike
        plain = [plain_prefix_beam_search(clip.tolist(), width) for clip in logits[:num_plain]]
        end = time.perf_counter()
        if ours[:num_plain] != plain:
            sys.exit("the decoders disagree")
        ms_ours, ms_plain = 1000 * (middle - start) / num_clips, 1000 * (end - middle) / num_plain
        ratio = ms_plain / ms_ours
        print(f"{num_steps:>6}{num_classes:>9}{width:>6}{ms_plain:>10.1f}{ms_ours:>8.2f}{ratio:>8.1f}")


if __name__ == "__main__":
    _main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
