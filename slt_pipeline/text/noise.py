"""The noise of denoising: spans of words behind one mask each, and sentences in another order (BART, mBART)."""

from collections.abc import Sequence

import numpy as np

Words = Sequence[Sequence[int]]
"""A sentence: its words, each as ids of its pieces."""


def spans(num_words: int, masked: float, mean: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw the spans that are masked, as (first word, words), in their order.

    Together they have the share `masked` of the words, in the mean exactly; the last one drawn is cut to that. A span
    of no words is a mask that nothing hides behind. Spans do not touch, and there are no more of them than masked
    words, so that what is read is never longer than what is written.

    Args:
        num_words: of the text.
        masked: share of the words.
        mean: of the words of a span (Poisson), before the last one is cut.
        rng: all that is drawn comes from it.
    """
    left = todo = min(num_words, int(num_words * masked + rng.random()))
    lengths: list[int] = []
    while left:
        lengths.append(min(int(rng.poisson(mean)), left))
        left -= lengths[-1]
    kept = num_words - todo
    full = [length for length in lengths if length]
    empty = [length for length in lengths if not length][: todo - len(full)]
    full, rest = full[: kept + 1], full[kept + 1 :]
    if rest:  # nearly all is masked, and spans that touched would be one
        full[-1] += sum(rest)
    lengths = (full + empty)[: kept + 1]
    before = rng.permutation(kept + 1)[: len(lengths)]  # how many of the other words stand before each span
    found, hidden = [], 0
    for words, length in sorted(zip(before.tolist(), lengths, strict=True)):
        found.append((words + hidden, length))
        hidden += length
    return found


def infill(sentences: Sequence[Words], found: Sequence[tuple[int, int]], mask: int, end: int) -> list[int]:
    """Return the ids of a text whose spans are replaced by one `mask` each; between sentences stands `end`.

    A span goes over the end of a sentence as over any other place: what lies within is gone.

    Args:
        sentences: of the text.
        found: spans over the words of all sentences, as `spans` draws them.
        mask: id of `<mask>`.
        end: id of `</s>`.
    """
    starts = dict(found)
    ids: list[int] = []
    number = hidden_until = 0
    for place, words in enumerate(sentences):
        if place and number >= hidden_until:
            ids.append(end)
        for word in words:
            if number in starts:
                ids.append(mask)
                hidden_until = number + starts[number]
            if number >= hidden_until:
                ids.extend(word)
            number += 1
    return [*ids, mask] if number in starts else ids


def join(sentences: Sequence[Words], end: int) -> list[int]:
    """Return the ids of a text as it is, between sentences `end`."""
    return infill(sentences, [], end, end)
