"""Outputs that say nothing of what was signed: empty, always the same, in loops, or what training said most often.

A score hides them: a system that always says the commonest sentence of its training has a BLEU, too. Shares are in
percent of the sentences; sentences are lists of tokens.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LONGEST_LOOP = 6
_SOME, _MANY = 1.0, 10.0
_LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Degenerate:
    """Shares of a corpus of outputs, in percent, beside what is right."""

    empty: float
    """Outputs without a token."""
    repeated: float
    """Outputs in which one token stands four times in a row, or two to six tokens three times, and not so in the
    reference."""
    constant: float
    """Outputs that are the most frequent one of them; empty ones are none."""
    constant_references: float
    """References that are their own most frequent one: so much sameness there is in the corpus itself."""
    constant_text: str
    """The most frequent output."""
    training: float | None = None
    """Outputs that are the most frequent sentence of the training split; None: it has none that comes twice."""
    training_references: float | None = None
    """References that are it."""
    training_text: str | None = None
    """The most frequent training sentence."""

    def notable(self) -> list[str]:
        """What is worth saying, in words; nothing is said of a healthy system."""
        told = []
        if self.empty:
            told.append(f"{self.empty:.1f} % of the outputs are empty")
        if self.repeated >= _SOME:
            told.append(f"{self.repeated:.1f} % of the outputs run in loops")
        if self.constant >= _MANY and self.constant >= 2 * self.constant_references:
            told.append(f"{self.constant:.1f} % of the outputs are one and the same: {_shown(self.constant_text)!r}")
        if (
            self.training is not None
            and self.training >= _MANY
            and self.training >= 2 * (self.training_references or 0)
        ):
            told.append(
                f"{self.training:.1f} % of the outputs are the most frequent training sentence, which "
                f"{self.training_references:.1f} % of the references are: {_shown(self.training_text or '')!r}"
            )
        return told


def degenerate(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]], train: Iterable[Sequence[str]] = ()
) -> Degenerate:
    """Count the outputs that say nothing of what was signed.

    Args:
        hypotheses: tokens of every output.
        references: tokens of what is right.
        train: tokens of the training sentences.
    """
    outputs, right = ([" ".join(tokens) for tokens in side] for side in (hypotheses, references))
    looping = [loops(found) and not loops(wanted) for found, wanted in zip(hypotheses, references, strict=True)]
    constant, constant_text = _most_frequent(filter(None, outputs))
    often, often_text = _most_frequent(filter(None, (" ".join(tokens) for tokens in train)))
    percent = 100 / max(len(outputs), 1)
    found = often > 1
    return Degenerate(
        empty=percent * outputs.count(""),
        repeated=percent * sum(looping),
        constant=percent * constant,
        constant_references=percent * _most_frequent(right)[0],
        constant_text=constant_text,
        training=percent * outputs.count(often_text) if found else None,
        training_references=percent * right.count(often_text) if found else None,
        training_text=often_text if found else None,
    )


def loops(tokens: Sequence[str]) -> bool:
    """Whether one token stands four times in a row, or two to six tokens three times."""
    for length in range(1, _LONGEST_LOOP + 1):
        needed, run = length * (3 if length == 1 else 2), 0
        for token, later in zip(tokens, tokens[length:], strict=False):
            run = run + 1 if token == later else 0
            if run == needed:
                return True
    return False


def _shown(text: str) -> str:
    """Return as much of a sentence as a line has room for."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _most_frequent(sentences: Iterable[str]) -> tuple[int, str]:
    """How often the most frequent sentence comes, and which it is."""
    ((sentence, times),) = Counter(sentences).most_common(1) or [("", 0)]
    return times, sentence
