import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.rouge import corpus_rouge, sentence_rouge

TOKENS = st.lists(st.sampled_from("abc"), min_size=1, max_size=12)


def _table_lcs(left, right):
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@settings(max_examples=100, deadline=None)
@given(TOKENS, TOKENS)
def test_score_is_the_published_formula_over_the_longest_common_subsequence(hypothesis, reference):
    common = _table_lcs(hypothesis, reference)
    precision, recall = common / len(hypothesis), common / len(reference)
    beta = precision / (recall + 1e-12)
    want = (1 + beta**2) * recall * precision / (recall + beta**2 * precision + 1e-12)
    assert sentence_rouge([" ".join(hypothesis)], [" ".join(reference)]) == pytest.approx([100 * want], abs=1e-9)


def test_umlauts_and_chinese_count():
    assert corpus_rouge(["über größe"], ["über größe"]) == pytest.approx(100)
    assert corpus_rouge(["他今年四岁。"], ["他今年四岁。"], "char") == pytest.approx(100)


def test_spaces_in_a_character_hypothesis_hurt_as_published():
    assert corpus_rouge(["他今 年四 岁。"], ["他今年四岁。"], "char") == pytest.approx(67.105, abs=5e-4)


def test_empty_hypothesis_scores_zero():
    assert sentence_rouge(["", "a"], ["a b", "a"]) == pytest.approx([0, 100])


def test_corpus_score_is_the_mean_over_sentences():
    assert corpus_rouge(["a", "x"], ["a", "b c d"]) == pytest.approx(50)


def test_unequal_numbers_of_sentences_are_refused():
    with pytest.raises(SltError, match="1 hypotheses but 3 references"):
        corpus_rouge(["a"], ["a", "b", "c"])
