"""Whether CTC can align a clip at all."""

from collections.abc import Sequence
from itertools import pairwise


def min_ctc_steps(glosses: Sequence[str]) -> int:
    """Fewest encoder steps that CTC needs: one a gloss, and a blank between two equal neighbours."""
    lowered = [gloss.lower() for gloss in glosses]
    return len(lowered) + sum(a == b for a, b in pairwise(lowered))


def ctc_feasible(glosses: Sequence[str], num_frames: int, *, max_frames: int = 400, stride: int = 4) -> bool:
    """Whether the steps of a clip (frames, capped, over the encoder's temporal stride) suffice for its glosses."""
    return min(num_frames, max_frames) // stride >= min_ctc_steps(glosses)


def half_speed(num_frames: int, *, tmin: float = 0.5, stride: int = 4) -> int:
    """Fewest frames that training draws from a clip: tmin of them, rounded up to the stride (FACTS 2.1)."""
    return -(-int(tmin * num_frames) // stride) * stride
