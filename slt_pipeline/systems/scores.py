"""Scores of what was decoded, under the protocol of the corpus, and what each number is a number of."""

from collections.abc import Sequence
from dataclasses import asdict

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.times import reference_times
from slt_pipeline.metrics.bleu import sentence_bleu
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.metrics.times import Times, time_errors
from slt_pipeline.metrics.wer import align
from slt_pipeline.text.gloss_form import caseless, gloss_form, gloss_sentence


def score_texts(protocol: str, hypotheses: Sequence[str], clips: Sequence[Clip]) -> dict[str, float]:
    """Return bleu1..bleu4 and rouge."""
    return asdict(get_protocol(protocol).score_translation(hypotheses, [clip.text or "" for clip in clips]))


def score_sentences(protocol: str, hypotheses: Sequence[str], clips: Sequence[Clip]) -> list[float]:
    """Return the smoothed BLEU-4 of each clip: for ranks, comparable with no score of a corpus."""
    rules = get_protocol(protocol)
    pair = (rules.prepare_text(hypotheses), rules.prepare_text([clip.text or "" for clip in clips]))
    return sentence_bleu(*pair, rules.level)


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
