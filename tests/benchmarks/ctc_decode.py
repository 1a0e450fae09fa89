"""Speed of the CTC prefix beam search against the same algorithm in plain Python, side by side in one run.

    python tests/benchmarks/ctc_decode.py

prints milliseconds per clip of both decoders and their ratio. Run on request; pytest does not collect it, but
tests/models/test_ctc.py holds the fast decoder to the results of `plain_prefix_beam_search`.
"""

import argparse
import math
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
    """The published algorithm, line by line as facts.md 5 describes it. logits: T rows of K, blank first."""
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
        for node in branches:
            if not _qualifies(node.old[2], leaves, width):
                continue
            for label in range(1, len(scores)):
                child = node.children.setdefault(label, _Node(node, label))
                if child.active:
                    continue
                total = scores[label] + (node.old[0] if label == node.label else node.old[2])
                if not _qualifies(total, leaves, width):
                    child.old = child.new = (_NEVER, _NEVER, _NEVER)
                    continue
                if len(leaves) == width:
                    weakest = min(reversed(leaves), key=lambda leaf: leaf.new[2])
                    weakest.new = (_NEVER, _NEVER, _NEVER)
                    leaves.remove(weakest)
                child.new = (_NEVER, total, total)
                leaves.append(child)
    node: _Node | None = max(leaves, key=lambda leaf: leaf.new[2])
    labels = []
    while node is not None and node.parent is not None:
        labels.append(node.label)
        node = node.parent
    return labels[::-1]


def _qualifies(total: float, leaves: list[_Node], width: int) -> bool:
    return total > _NEVER and (len(leaves) < width or total > min(leaf.new[2] for leaf in leaves))


def _add(a: float, b: float) -> float:
    low, high = min(a, b), max(a, b)
    return high if low == _NEVER else high + math.log1p(math.exp(low - high))
