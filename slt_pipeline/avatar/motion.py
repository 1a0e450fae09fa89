"""From a sequence of signs to a pose for every frame.

A hand's state is 18 numbers: x, y (design pixels on its own side, see lexicon.py), pointing angle (degrees) and the
15 of its shape. Letters: T frames; hand 0 is the dominant one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slt_pipeline.avatar.face import face
from slt_pipeline.avatar.hands import NUM_SHAPE_VALUES, SHAPES
from slt_pipeline.avatar.lexicon import PLACES, Sign
from slt_pipeline.config.synth import SynthConfig

NUM_HAND_VALUES = 3 + NUM_SHAPE_VALUES


@dataclass(frozen=True, slots=True)
class Motion:
    """Everything that moves in one clip."""

    hands: np.ndarray
    """(T, 2, 18) hand states."""
    faces: np.ndarray
    """(T, 6) mouth and brows, see face.py."""
    spans: tuple[tuple[int, int], ...]
    """First and last-plus-one frame of each sign's stroke; the transitions lie between."""


def plan(
    signs: Sequence[Sign],
    mouths: Sequence[str],
    config: SynthConfig,
    rng: np.random.Generator,
    tempo: float = 1.0,
) -> Motion:
    """Poses of a sentence that starts and ends at rest.

    `mouths` names the face held during each sign; it starts with the hand's way to the sign and fades after it.
    """
    strokes = [stroke(sign, _stroke_length(sign, config, rng, tempo), jitter=config.jitter, rng=rng) for sign in signs]
    parts, spans, time = [_still(rest(), int(rng.integers(1, 4)))], [], 0
    for states in strokes:
        low, high = config.transition_frames
        length = rng.uniform(low, high) * tempo + _distance(parts[-1][-1], states[0]) / 40
        parts += [transition(parts[-1][-1], states[0], max(2, round(length))), states]
        time = sum(map(len, parts))
        spans.append((time - len(states), time))
    parts.append(transition(parts[-1][-1], rest(), int(rng.integers(4, 6))))
    parts.append(_still(rest(), int(rng.integers(1, 3))))
    hands = np.concatenate(parts)
    faces = face_track(spans, [face(mouth, config.nonmanual_strength) for mouth in mouths], len(hands))
    return Motion(hands, faces, tuple(spans))


def stroke(sign: Sign, num_frames: int, *, jitter: float = 0.0, rng: np.random.Generator | None = None) -> np.ndarray:
    """(num_frames, 2, 18) one sign from start to end, without the ways to and from it."""
    time = (np.arange(num_frames) + 0.5) / num_frames
    start, end = np.array(PLACES[sign.start], float), np.array(PLACES[sign.end], float)
    angle = sign.angle
    if jitter and rng is not None:
        start, end = start + jitter * rng.normal(0, 1.2, 2), end + jitter * rng.normal(0, 1.2, 2)
        angle = angle + jitter * rng.normal(0, 5)
    position, progress = _path(sign, start, end, angle, time)
    hand = np.empty((num_frames, NUM_HAND_VALUES))
    hand[:, :2] = position
    hand[:, 2] = angle + progress * ((sign.angle if sign.end_angle is None else sign.end_angle) - sign.angle)
    first, last = SHAPES[sign.shape], SHAPES[sign.end_shape or sign.shape]
    hand[:, 3:] = first + progress[:, None] * (last - first)
    return np.stack([hand, _other_hand(sign, hand)], axis=1)


def transition(before: np.ndarray, after: np.ndarray, num_frames: int) -> np.ndarray:
    """(num_frames, 2, 18) minimum-jerk movement strictly between two states (2, 18)."""
    weight = min_jerk(np.arange(1, num_frames + 1) / (num_frames + 1))[:, None, None]
    return before + weight * (after - before)


def rest() -> np.ndarray:
    """(2, 18) both hands down."""
    hand = np.concatenate([PLACES["rest"], [160.0], SHAPES["relaxed"]])
    return np.stack([hand, hand])


def face_track(spans: Sequence[tuple[int, int]], faces: Sequence[np.ndarray], num_frames: int) -> np.ndarray:
    """(num_frames, 6) each face over its span and two frames before, eased over a frame; neutral elsewhere."""
    track = np.tile(face("neutral"), (num_frames, 1))
    for (first, last), values in zip(spans, faces, strict=True):
        track[max(0, first - 2) : last] = values
    eased = track.copy()
    eased[1:-1] = 0.2 * track[:-2] + 0.6 * track[1:-1] + 0.2 * track[2:]
    return eased


def min_jerk(time: np.ndarray) -> np.ndarray:
    """The smoothest way from 0 to 1 (Flash and Hogan 1985)."""
    return time**3 * (10 - 15 * time + 6 * time**2)


def _path(
    sign: Sign, start: np.ndarray, end: np.ndarray, angle: float, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, 2) and how far the shape and angle have changed (T,)."""
    progress = min_jerk(time) if sign.repeat == 1 else np.sin(np.pi * sign.repeat * time / 2) ** 2
    line = start + progress[:, None] * (end - start)
    way = end - start
    length = np.hypot(*way)
    across = np.array([-way[1], way[0]]) / length if length > 1 else np.array([1.0, 0.0])
    if sign.path == "arc":
        line = line + np.sin(np.pi * progress)[:, None] * sign.size * across
    elif sign.path == "zigzag":
        line = line + np.sin(2 * np.pi * (1 + 0.5 * sign.repeat) * time)[:, None] * sign.size * across
    elif sign.path == "circle":
        turn = 2 * np.pi * sign.repeat * min_jerk(time)
        line = line + sign.size * np.stack([np.sin(turn), 1 - np.cos(turn)], axis=1)
        line[:, 1] -= sign.size
    elif sign.path == "tap":
        progress = np.sin(np.pi * sign.repeat * time) ** 2
        towards = np.array([np.sin(np.radians(angle)), -np.cos(np.radians(angle))])
        line = line + progress[:, None] * sign.size * towards
    return line, progress


def _other_hand(sign: Sign, hand: np.ndarray) -> np.ndarray:
    if sign.hands == "mirror":
        return hand
    if sign.hands == "one":
        return _still(rest(), len(hand))[:, 1]
    other = hand.copy()
    if sign.hands == "parallel":  # beside the dominant hand, so on the far side of the axis in its own coordinates
        other[:, 0] = -(hand[:, 0] + 22)
        other[:, 2] = -hand[:, 2]
    else:
        other[:, :2] = (-7, 79)
        other[:, 2] = 70
        other[:, 3:] = SHAPES["flat"]
    return other


def _stroke_length(sign: Sign, config: SynthConfig, rng: np.random.Generator, tempo: float) -> int:
    repeats = 1.15 if sign.repeat > 1 else 1.0
    return max(3, round(rng.uniform(*config.stroke_frames) * tempo * sign.tempo * repeats))


def _still(state: np.ndarray, num_frames: int) -> np.ndarray:
    return np.repeat(state[None], num_frames, axis=0)


def _distance(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.hypot(*(after[0, :2] - before[0, :2])))
