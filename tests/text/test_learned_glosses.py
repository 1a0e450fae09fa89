"""Other sentences are glossed as a corpus would: words by the glosses that stood for them, which are learned."""

import random
from collections import Counter

from learned_glosses import glossed, occurrences_of

GLOSS = {
    "morgen": "MORGEN",
    "heute": "JETZT",
    "regnet": "REGEN",
    "schneit": "SCHNEE",
    "norden": "NORD",
    "süden": "SUED",
}
PAIRS = [
    (f"{when} {what} es im {where}".split(), [GLOSS[when], GLOSS[what], GLOSS[where]])
    for when in ("morgen", "heute")
    for what in ("regnet", "schneit")
    for where in ("norden", "süden")
]


def test_each_word_has_the_glosses_that_stood_for_it():
    found = occurrences_of(PAIRS)
    assert set(found["heute"]) == {("JETZT",)} and set(found["süden"]) == {("SUED",)}
    assert set(found["schneit"]) == {("SCHNEE",)}
    assert all(len(found[word]) == 8 for word in ("es", "im")) and set(found["im"]) == {()}


def test_a_word_that_is_glossed_in_two_ways_is_glossed_in_both():
    twice = [
        *PAIRS,
        *((words, ["HEUTE" if gloss == "JETZT" else gloss for gloss in glosses]) for words, glosses in PAIRS),
    ]
    assert set(occurrences_of(twice)["heute"]) == {("JETZT",), ("HEUTE",)}
    seen = {"heute": [("JETZT",), ("HEUTE",)] * 500}
    drawn = Counter(gloss for n in range(400) for gloss in glossed(["heute"], seen, random.Random(n)))
    assert drawn.keys() >= {"JETZT", "HEUTE"} and abs(drawn["JETZT"] - drawn["HEUTE"]) < 80


def test_a_word_that_was_never_seen_is_its_own_gloss_or_has_none():
    given = [tuple(glossed(["gewitter"], occurrences_of(PAIRS), random.Random(n))) for n in range(200)]
    assert set(given) == {(), ("gewitter",)} and 120 < given.count(("gewitter",)) < 180


def test_glosses_change_places_with_near_ones_alone_and_the_same_dice_give_the_same():
    words = [str(n) for n in range(40)]
    seen = {word: [(word,)] * 10_000 for word in words}
    order = glossed(words, seen, random.Random(7))
    assert order != words and sorted(order, key=int) == words
    assert all(abs(place - int(word)) <= 2 for place, word in enumerate(order))
    assert order == glossed(words, seen, random.Random(7))
