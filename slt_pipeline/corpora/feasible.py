"""What CTC can learn of clips: whether it can align them at all, and whether it knows their glosses."""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_form import caseless, gloss_form
from slt_pipeline.text.gloss_vocab import GlossVocabulary

log = logging.getLogger(__name__)


def min_ctc_steps(glosses: Sequence[str]) -> int:
    """Fewest encoder steps that CTC needs: one a gloss, and a blank between two equal neighbours."""
    classes = [caseless(gloss_form(gloss)) for gloss in glosses]
    return len(classes) + sum(a == b for a, b in pairwise(classes))


def ctc_feasible(glosses: Sequence[str], num_frames: int, *, max_frames: int = 400, stride: int = 4) -> bool:
    """Whether the steps of a clip (frames, capped, over the encoder's temporal stride) suffice for its glosses."""
    return min(num_frames, max_frames) // stride >= min_ctc_steps(glosses)


def half_speed(num_frames: int, *, tmin: float = 0.5, stride: int = 4) -> int:
    """Fewest frames that training draws from a clip: tmin of them, rounded up to the stride (FACTS 2.1)."""
    return -(-int(tmin * num_frames) // stride) * stride


def check_feasible(clips: Sequence[Clip], most: float, max_frames: int) -> None:
    """Warn of training clips that CTC cannot align.

    Args:
        clips: those that it is trained on; one without glosses takes no part.
        most: largest share of them that may be so.
        max_frames: frames that enter the encoder at most.

    Raises:
        SltError: there are more.
    """
    signed = [(clip, clip.gloss) for clip in clips if clip.gloss]
    bad = [clip for clip, glosses in signed if not ctc_feasible(glosses, clip.num_frames, max_frames=max_frames)]
    if len(bad) > most * len(signed):
        raise SltError(
            f"{len(bad)} of {len(signed)} training clips have more glosses than a quarter of their frames, such as "
            f"{bad[0].id}; CTC cannot learn them (visual_train.max_infeasible is {most})"
        )
    if bad:
        log.warning("%d training clips have too few frames for their glosses; their CTC loss counts 0", len(bad))


def with_glosses(clips: Sequence[Clip], split: str, what: str, without: str = "are left out") -> list[Clip]:
    """Return the clips that have glosses, and say how many have none, so that they take no part: absent is not empty.

    Args:
        clips: of one split.
        split: its name.
        what: is learned of them or scored on them.
        without: what becomes of the others.

    Raises:
        SltError: none has.
    """
    signed = [clip for clip in clips if clip.gloss]
    if not signed:
        raise SltError(f"none of {len(clips)} {split} clips has a gloss, and {what} needs some; add glosses to them")
    if len(signed) < len(clips):
        bare = len(clips) - len(signed)
        log.warning("%s: %d of %d %s clips have no gloss and %s", what, bare, len(clips), split, without)
    return signed


def tell_what_ctc_cannot_learn(clips: Sequence[Clip], dev: Sequence[Clip], classes: GlossVocabulary) -> None:
    """Say how many clips have no gloss, and which glosses of the training clips are no classes."""
    bare = sum(not clip.gloss for clip in clips)
    if bare:
        log.info("%d of %d training clips have no gloss and take no part in CTC", bare, len(clips))
    if bare := sum(not clip.gloss for clip in dev):
        log.info("%d of %d dev clips have no gloss: WER is that of the others", bare, len(dev))
    unknown = Counter(gloss for clip in clips for gloss in clip.gloss or () if gloss not in classes)
    if unknown:
        some = ", ".join(list(unknown)[:5])
        log.warning("%d glosses of training clips are no classes and become <unk>: %s", unknown.total(), some)
