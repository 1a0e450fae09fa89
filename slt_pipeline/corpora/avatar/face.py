"""What mouth and brows say: a face is six numbers, in pixels of the 96x96 design.

mouth width, mouth opening, mouth corners (positive = up), tongue (0..1), brow height (positive = up), brow slant
(positive = inner ends down, a frown).
"""

import numpy as np

NUM_FACE_VALUES = 6

FACES: dict[str, np.ndarray] = {
    "neutral": np.array([11, 0.0, 0.0, 0, 0.0, 0.0]),
    "stark": np.array([14, 12.0, 0.5, 0, -1.5, 3.5]),
    "leicht": np.array([4.5, 3.5, 0.0, 0, 3.5, -1.0]),
    "sehr": np.array([20, 4.5, 1.5, 0, 3.5, 2.5]),
    "vielleicht": np.array([15, 0.0, -5.0, 0, 1.0, -4.0]),
    "wieder": np.array([13, 3.0, 3.0, 1, -1.5, 0.0]),
}
"""The non-manual of the built-in lexicon by name: what the mouth does during a sign so modified."""


def face(name: str, strength: float = 1.0) -> np.ndarray:
    """(6,) the named face; `strength` scales its distance from neutral."""
    neutral = FACES["neutral"]
    return neutral + strength * (FACES[name] - neutral)
