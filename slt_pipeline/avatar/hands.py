"""Hand shapes as numbers, so that one shape can turn into another smoothly.

A shape is 15 numbers: for thumb, index, middle, ring and little finger its direction (degrees from where the hand
points, positive towards the thumb), its length (in palm radii), and how far its second half bends (degrees, same
sense). A folded finger is a short one.
"""

import numpy as np

NUM_SHAPE_VALUES = 15

_FOLDED = {
    "thumb": (-25, 0.55, 0),
    "index": (4, 0.3, 0),
    "middle": (1, 0.35, 0),
    "ring": (-1, 0.35, 0),
    "little": (-4, 0.3, 0),
}


def _shape(**fingers: tuple[float, float, float]) -> np.ndarray:
    return np.array([value for name in _FOLDED for value in fingers.get(name, _FOLDED[name])], dtype=np.float64)


SHAPES: dict[str, np.ndarray] = {
    "fist": _shape(),
    "relaxed": _shape(
        thumb=(30, 0.8, -20), index=(6, 1.0, -15), middle=(2, 1.1, 0), ring=(-2, 1.0, 5), little=(-6, 0.8, 10)
    ),
    "flat": _shape(thumb=(16, 1.0, 0), index=(3, 2.1, 0), middle=(1, 2.3, 0), ring=(-1, 2.2, 0), little=(-3, 1.8, 0)),
    "spread": _shape(
        thumb=(72, 1.3, 0), index=(27, 1.8, 0), middle=(6, 2.0, 0), ring=(-15, 1.9, 0), little=(-38, 1.6, 0)
    ),
    "index": _shape(index=(0, 2.3, 0)),
    "two": _shape(index=(2, 2.2, 0), middle=(-2, 2.3, 0)),
    "v": _shape(index=(20, 2.2, 0), middle=(-16, 2.2, 0)),
    "three": _shape(thumb=(80, 1.6, 0), index=(22, 2.1, 0), middle=(-12, 2.2, 0)),
    "w": _shape(index=(26, 2.0, 0), middle=(0, 2.2, 0), ring=(-26, 2.0, 0)),
    "four": _shape(index=(24, 1.9, 0), middle=(7, 2.1, 0), ring=(-10, 2.0, 0), little=(-28, 1.8, 0)),
    "thumb": _shape(thumb=(75, 1.9, 0)),
    "l": _shape(thumb=(85, 1.8, 0), index=(0, 2.2, 0)),
    "y": _shape(thumb=(75, 1.8, 0), little=(-45, 2.1, 0)),
    "little": _shape(little=(-8, 2.2, 0)),
    "horns": _shape(index=(14, 2.1, 0), little=(-22, 2.0, 0)),
    "hook": _shape(index=(0, 1.9, 100)),
    "o": _shape(thumb=(75, 2.4, -75), index=(22, 2.7, 95), middle=(-2, 0.5, 0), ring=(-6, 0.4, 0)),
    "c": _shape(thumb=(95, 2.0, -55), index=(18, 2.5, 65), middle=(6, 2.6, 60), ring=(-2, 0.5, 0)),
    "claw": _shape(
        thumb=(88, 2.0, -70), index=(40, 2.3, -75), middle=(13, 2.4, -55), ring=(-14, 2.3, 55), little=(-46, 2.1, 70)
    ),
    "beak": _shape(
        thumb=(-6, 2.4, -8), index=(-10, 2.2, -8), middle=(-3, 2.3, -2), ring=(5, 2.2, 3), little=(13, 1.9, 8)
    ),
}
"""Every hand shape by name."""

_LABEL_SHAPES = tuple(name for name in SHAPES if name != "relaxed")
_LABEL_TURNS = (0.0, 45.0, -45.0, 90.0)


def label_shape(label: int) -> tuple[str, float]:
    """Shape and extra pointing angle (degrees) of a hand-shape label 1, 2, ...; the first 76 labels all differ."""
    turn, number = divmod(label - 1, len(_LABEL_SHAPES))
    return _LABEL_SHAPES[number], _LABEL_TURNS[turn % len(_LABEL_TURNS)]
