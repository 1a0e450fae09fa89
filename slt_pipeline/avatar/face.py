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


def label_face(label: int, strength: float = 1.0) -> np.ndarray:
    """(6,) the face of a mouth label: neutral for 0, all different for 1 to 39."""
    neutral = FACES["neutral"]
    if label == 0:
        return neutral
    return neutral + strength * (_LABEL_FACES[(label - 1) % len(_LABEL_FACES)] - neutral)


_LABEL_FACES = [
    np.array([width, opening, corners, tongue, 0.0, 0.0])
    for width, opening, corners, tongue in [
        *(
            (width, opening, corners, 0)
            for opening in (3.5, 7.5, 12)
            for width in (9, 14, 19)
            for corners in (0, -4, 3.5)
        ),
        *((width, 0, corners, 0) for width in (9, 14, 19) for corners in (-5, 4)),
        *((4.5, opening, 0, 0) for opening in (0, 3.5, 8)),
        *((13, opening, corners, 1) for opening in (3, 8) for corners in (3, -3)),
    ]
][:39]
