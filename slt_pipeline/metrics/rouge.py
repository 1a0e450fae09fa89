"""ROUGE-L as the published code computes it (FACTS 10.2).

Sentence-level F over the longest common subsequence, averaged over sentences, in percent. Its beta is
precision / recall, not the usual 1.2. The rouge-score package is no substitute: it drops umlauts and all Chinese.
"""

from collections.abc import Sequence

from slt_pipeline.metrics.pairs import Level, check_level, check_pairs, spaced

_EPSILON = 1e-12  # as published: keeps the divisions finite, and takes 5e-11 off a perfect score


def corpus_rouge(hypotheses: Sequence[str], references: Sequence[str], level: str = "word") -> float:
    """Mean of `sentence_rouge` over a corpus, in percent.

    Raises:
        SltError: unequal or zero numbers of sentences.
    """
    scores = sentence_rouge(hypotheses, references, level)
    return sum(scores) / len(scores)


def sentence_rouge(hypotheses: Sequence[str], references: Sequence[str], level: str = "word") -> list[float]:
    """ROUGE-L F of every sentence, in percent.

    level "char" differs from BLEU's: a white-space character in a sentence counts as two or more empty tokens, which
    is published behaviour and lowers the score of texts with spaces. An empty hypothesis scores 0 at level "word".
    """
    check_pairs(hypotheses, references)
    level = check_level(level)
    return [
        _f_score(_tokens(hypothesis, level), _tokens(reference, level))
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]


def _tokens(sentence: str, level: Level) -> list[str]:
    return spaced(sentence, level).split(" ") if level == "char" else sentence.split()


def _f_score(hypothesis: list[str], reference: list[str]) -> float:
    if not hypothesis or not reference:
        return 0.0
    common = _longest_common_subsequence(hypothesis, reference)
    precision, recall = common / len(hypothesis), common / len(reference)
    beta_squared = (precision / (recall + _EPSILON)) ** 2
    return 100 * (1 + beta_squared) * recall * precision / (recall + beta_squared * precision + _EPSILON)


def _longest_common_subsequence(left: list[str], right: list[str]) -> int:
    """Length of the longest common subsequence, one integer operation per token of `right`.

    Bit-parallel (Hyyrö 2004): bit i of `row` is 0 where the textbook table grows from column i to i + 1.
    """
    positions: dict[str, int] = {}
    for index, token in enumerate(left):
        positions[token] = positions.get(token, 0) | 1 << index
    full = (1 << len(left)) - 1
    row = full
    for token in right:
        matched = row & positions.get(token, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(left) - row.bit_count()
