"""How a corpus glosses words, learned from its clips, and other sentences glossed so.

IBM's first model says which gloss stands for which word (Brown et al. 1993). A word of other sentences is glossed as
one of its occurrences was, drawn at random, so perhaps not at all; glosses change places with near ones (Lample et al.
2018).
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

_ITERATIONS, _NO_WORD, _ALIKE = 8, 0.3, 5.0
_UNSURE, _KEPT, _DISPLACED = 1.5, 0.75, 2.5

Pairs = Sequence[tuple[Sequence[str], Sequence[str]]]
"""Words of a sentence, and its glosses."""


def occurrences_of(pairs: Pairs) -> dict[str, list[tuple[str, ...]]]:
    """Return, of every word, by what glosses it stands in each sentence: those that are likelier of no other word."""
    weights: dict[tuple[str | None, str], float] = {}
    for _ in range(_ITERATIONS):
        counts, totals = defaultdict[tuple[str | None, str], float](float), defaultdict[str | None, float](float)
        for words, glosses in pairs:
            for gloss in glosses:
                shares = [(word, _likely(weights, word, gloss)) for word in (*words, None)]
                whole = sum(share for _, share in shares)
                for word, share in shares:
                    counts[word, gloss] += share / whole
                    totals[word] += share / whole
        weights = {(word, gloss): count / totals[word] for (word, gloss), count in counts.items()}
    found = defaultdict[str, list[tuple[str, ...]]](list)
    for words, glosses in pairs:
        stands: list[list[str]] = [[] for _ in words]
        for gloss in glosses:
            best = max(range(len(words)), key=lambda n: _likely(weights, words[n], gloss))
            if _likely(weights, words[best], gloss) >= _likely(weights, None, gloss):
                stands[best].append(gloss)
        for word, given in zip(words, stands, strict=True):
            found[word].append(tuple(dict.fromkeys(given)))
    return found


def _likely(weights: dict[tuple[str | None, str], float], word: str | None, gloss: str) -> float:
    """Return how likely a gloss is of a word, or of none; at first those are likelier that are spelt alike."""
    if weights:
        return weights[word, gloss] * (1 if word else _NO_WORD)
    return _NO_WORD if word is None else _ALIKE if word in gloss or gloss in word else 1.0


def glossed(words: Sequence[str], occurrences: Mapping[str, list[tuple[str, ...]]], dice: random.Random) -> list[str]:
    """Return glosses of a sentence; a word that was hardly seen is its own gloss, or has none."""
    found: list[tuple[str, ...]] = []
    for word in words:
        seen = occurrences.get(word, [])
        if dice.random() < len(seen) / (len(seen) + _UNSURE):
            found.append(dice.choice(seen))
        elif dice.random() < _KEPT:
            found.append((word,))
    places = [number + dice.uniform(0, _DISPLACED) for number in range(len(found))]
    return [gloss for _, given in sorted(zip(places, found, strict=True)) for gloss in given]
