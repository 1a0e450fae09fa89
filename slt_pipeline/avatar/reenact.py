"""Motion that follows an annotated clip frame by frame: when each gloss is signed, which hand shape, which mouth."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from slt_pipeline.avatar.face import NUM_FACE_VALUES, face, label_face
from slt_pipeline.avatar.hands import SHAPES, label_shape
from slt_pipeline.avatar.lexicon import Sign
from slt_pipeline.avatar.motion import Motion, rest, stroke, transition

_ONSET_SHARE, _LONGEST_ONSET = 0.3, 5  # how much of a sign's span its approach may take; frames
_LONGEST_RETURN = 8  # frames of the way back to rest


def reenact(
    signs: Sequence[Sign],
    spans: Sequence[tuple[int, int]],
    num_frames: int,
    *,
    hand_labels: Sequence[int] | None = None,
    mouth_labels: Sequence[int] | None = None,
    strength: float = 1.0,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Motion:
    """Poses for exactly `num_frames` frames; spans are first and last-plus-one frame of each sign, in order.

    Where hand labels (one a frame, 0 = none) are given, they replace the signs' own hand shapes; mouth labels
    (0 = neutral) make the face, which is neutral without them.
    """
    hands = np.empty((num_frames, *rest().shape))
    done, before = 0, rest()
    for sign, (first, last) in zip(signs, spans, strict=True):
        length = last - first
        onset = max(0, min(round(_ONSET_SHARE * length), _LONGEST_ONSET - (first - done), length - 1))
        states = stroke(sign, length - onset, jitter=jitter, rng=rng)
        hands[done : first + onset] = transition(before, states[0], first + onset - done)
        hands[first + onset : last] = states
        done, before = last, states[-1]
    back = min(num_frames - done, _LONGEST_RETURN)
    hands[done : done + back] = transition(before, rest(), back)
    hands[done + back :] = rest()
    if hand_labels is not None:
        _shape_hands(hands, hand_labels, _follows(signs, spans, num_frames))
    return Motion(hands, _faces(mouth_labels, num_frames, strength), tuple(spans))


def _shape_hands(hands: np.ndarray, labels: Sequence[int], follows: np.ndarray) -> None:
    """Give the labelled shapes to the dominant hand, and to the other one where it does the same."""
    shapes = _smooth(
        _between([SHAPES[label_shape(label)[0]] if label else None for label in labels], SHAPES["relaxed"])
    )
    turns = _smooth(_between([np.array([label_shape(label)[1]]) if label else None for label in labels], np.zeros(1)))
    weight = _smooth(follows[:, None])
    hands[:, 0, 3:] = shapes
    hands[:, 1, 3:] += weight * (shapes - hands[:, 1, 3:])
    hands[:, 0, 2] += turns[:, 0]
    hands[:, 1, 2] += weight[:, 0] * turns[:, 0]


def _between(values: Sequence[np.ndarray | None], default: np.ndarray) -> np.ndarray:
    """(T, n) with straight lines from one given value to the next; before the first and after the last, `default`."""
    given = [frame for frame, value in enumerate(values) if value is not None]
    filled = np.tile(np.asarray(default, float), (len(values), 1))
    for frame in given:
        filled[frame] = values[frame]
    for left, right in pairwise(given):
        for frame in range(left + 1, right):
            filled[frame] = filled[left] + (frame - left) / (right - left) * (filled[right] - filled[left])
    return filled


def _follows(signs: Sequence[Sign], spans: Sequence[tuple[int, int]], num_frames: int) -> np.ndarray:
    """(T,) 1 where the other hand has the dominant hand's shape."""
    follows = np.zeros(num_frames)
    for sign, (first, last) in zip(signs, spans, strict=True):
        follows[first:last] = sign.hands in ("mirror", "parallel")
    return follows


def _faces(labels: Sequence[int] | None, num_frames: int, strength: float) -> np.ndarray:
    if labels is None:
        return np.tile(face("neutral"), (num_frames, 1))
    faces = np.empty((num_frames, NUM_FACE_VALUES))
    for frame, label in enumerate(labels):
        faces[frame] = label_face(label, strength)
    return _smooth(faces, 0.15)


def _smooth(track: np.ndarray, share: float = 0.25) -> np.ndarray:
    """(T, n) with `share` of each neighbour mixed in, so that nothing jumps."""
    padded = np.concatenate([track[:1], track, track[-1:]])
    return share * padded[:-2] + (1 - 2 * share) * track + share * padded[2:]
