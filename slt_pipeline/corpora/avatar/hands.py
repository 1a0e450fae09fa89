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
    "flat": _shape(thumb=(18, 0.9, 0), index=(3, 1.75, 0), middle=(1, 1.9, 0), ring=(-1, 1.8, 0), little=(-3, 1.5, 0)),
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
    "o": _shape(thumb=(50, 1.7, -75), index=(18, 2.1, 95), middle=(2, 0.5, 0)),
    "c": _shape(thumb=(80, 1.7, -50), index=(12, 2.0, 60), middle=(4, 2.1, 60), ring=(0, 0.4, 0)),
    "claw": _shape(
        thumb=(70, 1.4, -75), index=(34, 1.7, -75), middle=(10, 1.8, -60), ring=(-14, 1.7, 60), little=(-42, 1.6, 75)
    ),
    "beak": _shape(
        thumb=(24, 1.5, -35), index=(-4, 1.8, 14), middle=(-5, 1.8, 6), ring=(-4, 1.7, 0), little=(-2, 1.4, -10)
    ),
}
"""Every hand shape by name."""
