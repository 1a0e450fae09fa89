import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.wer import align, error_counts, scores_of_counts, word_error_rate

SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=10).map(" ".join)
PAIRS = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=12)


def _plain_align(hypothesis, reference):
    """The definition, cell by cell: costs 3, 3, 4 and from the end match, substitution, insertion, deletion."""

    @functools.cache
    def cost(i, j):
        if i == 0 or j == 0:
            return 3 * (i + j)
        differs = reference[i - 1] != hypothesis[j - 1]
        return min(cost(i - 1, j - 1) + 4 * differs, cost(i - 1, j) + 3, cost(i, j - 1) + 3)

    i, j, word = len(reference), len(hypothesis), ""
    while i or j:
        if i and j and reference[i - 1] == hypothesis[j - 1]:
            word, i, j = "C" + word, i - 1, j - 1
        elif i and j and cost(i, j) == cost(i - 1, j - 1) + 4:
            word, i, j = "S" + word, i - 1, j - 1
        elif j and cost(i, j) == cost(i, j - 1) + 3:
            word, j = "I" + word, j - 1
        else:
            word, i = "D" + word, i - 1
    return word


@pytest.mark.parametrize(
    ("reference", "hypothesis", "word"),
    [
        ("a b c", "c", "DDC"),
        ("a b c d", "b c d e", "DCCCI"),
        ("a b", "c d", "SS"),
        ("a b", "", "DD"),
        ("", "a b", "II"),
        ("", "", ""),
        ("a  b ", " a b", "CC"),
    ],
)
def test_published_alignments(reference, hypothesis, word):
    assert align([hypothesis], [reference]) == [word]


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_batch_aligns_as_the_definition_does_one_by_one(pairs):
    hypotheses, references = map(list, zip(*pairs, strict=True))
    want = [_plain_align(h.split(), r.split()) for h, r in pairs]
    assert align(hypotheses, references) == want


def test_chunks_do_not_change_alignments(monkeypatch):
    rng = np.random.default_rng(0)
    hypotheses, references = (
        [" ".join(rng.choice(list("abc"), rng.integers(0, 15))) for _ in range(40)] for _ in range(2)
    )
    whole = align(hypotheses, references)
    monkeypatch.setattr("slt_pipeline.metrics.wer._CELLS", 300)
    assert align(hypotheses, references) == whole


def test_counts_follow_the_alignment_and_not_the_plain_edit_distance():
    # Two substitutions are two edits but cost 8; a deletion, a match and an insertion cost 6.
    counts = error_counts(["b a"], ["a b"])
    assert counts.tolist() == [[1, 1, 0, 1, 2]]


def test_long_hypotheses_do_not_wrap():
    scores = word_error_rate([" ".join(["x"] * 2000)], ["a b c"])
    assert (scores.num_ins, scores.num_sub, scores.num_del) == (1997, 3, 0)
    assert scores.wer == pytest.approx(100 * 2000 / 3)


def test_rate_is_summed_over_the_corpus_and_not_averaged():
    scores = word_error_rate(["a", "x b c d e f g h i"], ["b", "a b c d e f g h i"])
    assert scores.wer == pytest.approx(20)
    assert scores.sub_rate == pytest.approx(20)
    assert scores.num_ref == 10


def test_sentences_that_share_no_spelling_never_match():
    assert align(["A"], ["a"]) == ["S"]


def test_references_without_tokens_are_refused():
    with pytest.raises(SltError, match="references hold 0 tokens"):
        word_error_rate(["a"], [""])
    with pytest.raises(SltError, match="references hold 0 tokens"):
        scores_of_counts([0, 1, 0, 0, 0])


def test_unequal_numbers_of_sentences_are_refused():
    with pytest.raises(SltError, match="2 hypotheses but 3 references"):
        word_error_rate(["a"] * 2, ["a"] * 3)
