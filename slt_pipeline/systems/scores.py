"""Scores of what was decoded, under the protocol of the corpus, and what each number is a number of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.times import reference_times
from slt_pipeline.metrics.degenerate import Degenerate, degenerate
from slt_pipeline.metrics.lengths import by_length, weak_bins
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.metrics.times import Times, time_errors
from slt_pipeline.metrics.wer import align
from slt_pipeline.text.gloss_form import caseless, gloss_form, gloss_sentence


def score_texts(protocol: str, hypotheses: Sequence[str], clips: Sequence[Clip]) -> dict[str, float]:
    """Return bleu1..bleu4, rouge and chrf."""
    return asdict(get_protocol(protocol).score_translation(hypotheses, [clip.text or "" for clip in clips]))


def score_sentences(protocol: str, hypotheses: Sequence[str], clips: Sequence[Clip]) -> list[float]:
    """Return the smoothed BLEU-4 of each clip: for ranks, comparable with no score of a corpus."""
    return get_protocol(protocol).sentence_bleu(hypotheses, [clip.text or "" for clip in clips])


def score_glosses(protocol: str, hypotheses: Sequence[Sequence[str]], clips: Sequence[Clip]) -> dict[str, float]:
    """Return wer, its kinds of errors in percent, and their counts."""
    pair = [gloss_sentence(glosses) for glosses in hypotheses], [gloss_sentence(clip.gloss or ()) for clip in clips]
    return asdict(get_protocol(protocol).score_recognition(*pair))


def score_times(hypotheses: Sequence[Sequence[str]], found: Sequence[Times], clips: Sequence[Clip]) -> dict[str, float]:
    """Return how far starts and ends are off, in seconds, over the glosses that are recognised right.

    Glosses are compared as they are written, but for case: a clean-up would leave some without a time.

    Args:
        hypotheses: glosses of each clip.
        found: their times.
        clips: with the right glosses; those without reference times take no part.
    """
    rows = [
        (_one_word_each(glosses), _one_word_each(clip.gloss or ()), times, right)
        for glosses, times, clip in zip(hypotheses, found, clips, strict=True)
        if (right := reference_times(clip)) is not None
    ]
    if not rows:
        return {}
    hypothesis, reference, times, right = zip(*rows, strict=True)
    errors = time_errors(align(hypothesis, reference), times, right)
    return asdict(errors) if errors else {}


def _one_word_each(glosses: Sequence[str]) -> str:
    return " ".join(caseless(gloss_form(gloss)) for gloss in glosses)


def score_recognised(
    protocol: str, found: Sequence[tuple[Sequence[str], bool]], clips: Sequence[Clip]
) -> dict[str, float]:
    """Return what is worth knowing of a recogniser while it is trained: wer, its kinds of errors, blank_only, percent.

    Args:
        protocol: of the corpus.
        found: of each clip its glosses, and whether its best path is blank from end to end, as it is before CTC has
            learned anything.
        clips: with the right glosses.
    """
    scores = score_glosses(protocol, [glosses for glosses, _ in found], clips)
    rates = {name: scores[name] for name in ("wer", "sub_rate", "del_rate", "ins_rate")}
    return {**rates, "blank_only": 100 * sum(blank for _, blank in found) / len(found)}


@dataclass(frozen=True)
class Look:
    """What a score alone does not tell of outputs."""

    lengths: Sequence[Mapping[str, Any]]
    """Scores by the length of the reference."""
    flags: Degenerate
    """Outputs that say nothing of what was signed."""
    also_in_train: Mapping[str, Any] | None
    """Share of the references that are training sentences, too, in percent, the number of the others, and `without`:
    the scores of those. None: there is no training split, or it is the one that is scored."""

    def row(self) -> dict[str, Any]:
        """Return it as it stands in a row of scores."""
        row = {"lengths": list(self.lengths), "flags": asdict(self.flags)}
        return row if self.also_in_train is None else {**row, "also_in_train": self.also_in_train}

    def notable(self, scores: Mapping[str, float]) -> list[str]:
        """Return what is worth saying beside the scores, in words."""
        told = [*self.flags.notable(), *weak_bins(self.lengths, scores)]
        if self.also_in_train and self.also_in_train["share"]:
            without = self.also_in_train["without"]
            name = "wer" if "wer" in scores else "bleu4"
            others = f"; {name} without them {without[name]:.2f}, with them {scores[name]:.2f}" if without else ""
            told.append(f"{self.also_in_train['share']:.1f} % of the references are training sentences, too{others}")
        return told


def look_at(
    protocol: str, hypotheses: Sequence[str], references: Sequence[str], train: Sequence[str] = (), *, glosses: bool
) -> Look:
    """Look at outputs as they are scored.

    Args:
        protocol: of the corpus.
        hypotheses: texts, or gloss sentences.
        references: what is right.
        train: what is right of the training split.
        glosses: whether they are gloss sentences.
    """
    rules = get_protocol(protocol)
    split = rules.gloss_tokens if glosses else rules.tokens
    found, right, trained = split(hypotheses), split(references), split(train)

    def score(part: Sequence[int]) -> dict[str, float]:
        pair = [hypotheses[i] for i in part], [references[i] for i in part]
        if not glosses:
            scores = asdict(rules.score_translation(*pair))
            return {name: scores[name] for name in ("bleu4", "rouge", "chrf")}
        return {"wer": rules.score_recognition(*pair).wer} if any(right[i] for i in part) else {}

    also_in_train = None
    if trained:
        known = {tuple(tokens) for tokens in trained}
        others = [number for number, tokens in enumerate(right) if tuple(tokens) not in known]
        share = 100 * (len(right) - len(others)) / len(right)
        also_in_train = {"share": share, "others": len(others), "without": score(others) if others else {}}
    return Look(by_length([len(tokens) for tokens in right], score), degenerate(found, right, trained), also_in_train)
