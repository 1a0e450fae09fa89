"""The lexicon: every gloss is a small motion program, as data.

Coordinates are those of the hand's own side, in pixels of the 96x96 design: x = 0 is the body's axis, negative the
hand's own side, positive across the body; y grows downwards from the top. Angles are degrees from upwards, positive
towards the other side.
"""

import hashlib
from dataclasses import dataclass

from slt_pipeline.avatar.hands import SHAPES

PLACES: dict[str, tuple[float, float]] = {
    "rest": (-15, 91),
    "top": (-23, 17),
    "brow": (-19, 25),
    "ear": (-25, 33),
    "cheek": (-20, 40),
    "chin": (-5, 53),
    "shoulder": (-20, 56),
    "cross": (15, 57),
    "chest": (-5, 63),
    "mid": (-3, 70),
    "front": (-14, 68),
    "belly": (-5, 82),
    "side": (-31, 54),
    "side_high": (-31, 28),
    "side_low": (-31, 77),
    "far": (24, 70),
    "far_high": (30, 38),
}
"""Named places of the signing space."""

PATHS = ("hold", "straight", "arc", "circle", "zigzag", "tap")
"""Ways from start to end: stay, straight line, bow, one full circle at the way's middle, zigzag, there and back."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A motion program."""

    shape: str
    """Hand shape at the start."""
    start: str
    """Place where the stroke begins."""
    end: str
    """Place where it ends; the start again for a sign that stays."""
    path: str
    hands: str = "one"
    """The other hand: `one`, at rest; `mirror`, the mirror image; `parallel`, alongside; `base`, flat in front."""
    angle: float = 0.0
    """Where the fingers point at the start, degrees."""
    end_shape: str | None = None
    """Hand shape at the end, where it changes."""
    end_angle: float | None = None
    """Where the fingers point at the end, where that changes."""
    repeat: int = 1
    """How often the path is gone."""
    size: float = 7.0
    """Extent of circles, bows, zigzags and taps, design pixels."""
    tempo: float = 1.0
    """Length of the stroke relative to other signs."""


LEXICON: dict[str, Sign] = {
    # days
    "HEUTE": Sign("index", "front", "front", "tap", "mirror", 175, repeat=2, size=8),
    "MORGEN": Sign("thumb", "cheek", "side_high", "arc", angle=-20, end_angle=20, size=6),
    "MONTAG": Sign("spread", "chest", "chest", "circle", angle=70, size=9),
    "DIENSTAG": Sign("l", "side_low", "side_low", "zigzag", angle=-10, size=8),
    "MITTWOCH": Sign("w", "cheek", "cheek", "tap", angle=50, repeat=2, size=6),
    "DONNERSTAG": Sign("claw", "side_high", "side_low", "straight", angle=0),
    "FREITAG": Sign("v", "shoulder", "side", "arc", angle=20, end_angle=-50, size=8),
    "SAMSTAG": Sign("y", "front", "front", "hold", angle=-50, end_angle=50, repeat=2),
    "SONNTAG": Sign("flat", "chest", "chest", "tap", "mirror", 20, size=8, repeat=2),
    "WOCHENENDE": Sign("fist", "cross", "side_low", "arc", angle=-30, size=-10),
    # times of day
    "FRUEH": Sign("beak", "belly", "shoulder", "straight", angle=0, end_shape="spread"),
    "MITTAG": Sign("three", "side_high", "side_high", "tap", "mirror", 0, repeat=2, size=7),
    "ABEND": Sign("flat", "top", "cross", "arc", angle=10, end_angle=120, size=8),
    "NACHT": Sign("two", "side_high", "mid", "straight", "mirror", 40, end_angle=110),
    # regions
    "NORD": Sign("index", "front", "top", "straight", angle=0),
    "SUED": Sign("index", "shoulder", "side_low", "straight", angle=180),
    "WEST": Sign("w", "chest", "side", "straight", angle=-70),
    "OST": Sign("o", "mid", "far", "straight", angle=60),
    "MITTE": Sign("horns", "mid", "mid", "circle", "base", 175, size=6),
    "ALPEN": Sign("flat", "side_low", "chest", "straight", "mirror", 30),
    "KUESTE": Sign("four", "far", "side_low", "zigzag", angle=90, size=7),
    "DEUTSCHLAND": Sign("horns", "top", "top", "circle", angle=20, size=6),
    # weather
    "REGEN": Sign("spread", "shoulder", "front", "tap", "mirror", 175, repeat=2, size=14),
    "SCHNEE": Sign("spread", "side_high", "side_low", "zigzag", "mirror", 165, size=6),
    "GEWITTER": Sign("index", "side_high", "belly", "zigzag", angle=130, size=12),
    "NEBEL": Sign("spread", "front", "front", "circle", "mirror", 10, size=9),
    "WIND": Sign("flat", "side", "side", "tap", "parallel", 100, repeat=1, size=26),
    "STURM": Sign("claw", "side_low", "mid", "circle", "parallel", 30, repeat=2, size=8),
    "SCHAUER": Sign("beak", "ear", "shoulder", "tap", end_shape="spread", angle=170, repeat=2, size=10),
    "FROST": Sign("claw", "belly", "belly", "hold", "mirror", 20, end_shape="fist"),
    "HAGEL": Sign("o", "side_high", "side_low", "tap", "mirror", 175, repeat=2, size=12),
    "WOLKE": Sign("c", "top", "top", "circle", "mirror", 20, size=6),
    "SONNE": Sign("fist", "side_high", "side_high", "hold", angle=60, end_shape="spread", end_angle=120),
    # properties
    "KALT": Sign("fist", "shoulder", "shoulder", "zigzag", "mirror", 20, size=5, repeat=2),
    "WARM": Sign("flat", "belly", "chin", "arc", angle=90, size=-8, tempo=1.1),
    "HEISS": Sign("claw", "chin", "side_low", "arc", angle=90, end_angle=-60, size=6),
    "TROCKEN": Sign("hook", "chin", "shoulder", "straight", angle=80, end_angle=0),
    "NASS": Sign("beak", "front", "front", "tap", "mirror", 0, end_shape="spread", repeat=2, size=6),
    "KLAR": Sign("o", "mid", "side", "straight", "mirror", 0, end_shape="spread"),
    "GLATT": Sign("flat", "cross", "side_low", "straight", "base", 90),
    # temperature
    "GRAD": Sign("o", "top", "top", "circle", angle=0, size=5),
    "TEMPERATUR": Sign("index", "mid", "mid", "tap", "base", 60, repeat=2, size=10),
    "MINUS": Sign("index", "far", "side", "straight", angle=90),
    "NULL": Sign("o", "side", "side", "hold", angle=0),
    "FUENF": Sign("spread", "side", "side", "hold", angle=0),
    "ZEHN": Sign("spread", "side", "side", "tap", "mirror", 0, size=5),
    "FUENFZEHN": Sign("spread", "side", "side_high", "straight", angle=-20, end_shape="fist"),
    "ZWANZIG": Sign("l", "side", "belly", "arc", angle=-40, end_shape="fist", size=-6),
    "DREISSIG": Sign("three", "side", "side", "circle", angle=0, size=8),
    # pressure, movement, change
    "HOCH": Sign("c", "side_low", "side_high", "straight", "mirror", 10),
    "TIEF": Sign("c", "ear", "belly", "straight", angle=150),
    "KOMMEN": Sign("hook", "side_low", "chest", "arc", "mirror", 60, size=6),
    "BLEIBEN": Sign("y", "mid", "belly", "straight", "mirror", 20, tempo=1.1),
    "STEIGEN": Sign("thumb", "side_low", "shoulder", "zigzag", angle=-75, size=5),
    "SINKEN": Sign("four", "side", "side_low", "zigzag", "parallel", 160, size=6),
    "WECHSEL": Sign("v", "front", "front", "hold", "mirror", -60, end_angle=90, repeat=2),
    "ZIEHEN": Sign("three", "far", "side", "arc", angle=80, end_angle=-60, size=8),
    # sentence words
    "DANN": Sign("l", "shoulder", "far", "arc", angle=30, end_angle=90, size=8, tempo=0.9),
    "ABER": Sign("little", "side_high", "side", "arc", angle=-10, size=5, tempo=0.9),
    "BIS": Sign("two", "side", "mid", "straight", "base", 90, tempo=0.9),
    "AUCH": Sign("v", "far", "far", "tap", angle=20, repeat=2, size=7, tempo=0.9),
}
"""The glosses of the weather grammar."""


def sign_of(gloss: str) -> Sign:
    """The motion program of a gloss: the lexicon's own, or one derived from its name, the same in every process."""
    return LEXICON[gloss] if gloss in LEXICON else _invent(gloss)


def _invent(gloss: str) -> Sign:
    digest = hashlib.sha256(gloss.encode()).digest()

    def pick(byte: int, options: list) -> str:
        return options[(digest[byte] * 256 + digest[byte + 1]) % len(options)]

    shapes = [name for name in SHAPES if name != "relaxed"]
    places = [name for name in PLACES if name != "rest"]
    path = pick(4, [name for name in PATHS if name != "hold"])
    hands = pick(6, ["one", "one", "one", "mirror", "mirror", "parallel", "base"])
    start = pick(2, places)
    end = pick(8, [name for name in places if name != start]) if path in ("straight", "arc", "zigzag") else start
    return Sign(
        shape=pick(0, shapes),
        start=start,
        end=end,
        path=path,
        hands=hands,
        angle=float(pick(10, list(range(-60, 181, 30)))),
        repeat=int(pick(12, [1, 2])) if path in ("tap", "circle") else 1,
        size=float(pick(14, [7, 9, 11])),
    )
