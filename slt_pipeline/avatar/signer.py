"""Who signs: colours, proportions, placement, tempo and handedness, drawn once per signer from the seed."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Signer:
    """The look and manner of one signer. Lengths are in pixels of the 96x96 design."""

    name: str
    skin: Colour
    outline: Colour
    shirt: Colour
    hair: Colour
    background: Colour
    long_hair: bool
    scale: float
    """Size of the whole body."""
    offset: tuple[float, float]
    """Where the body stands, right and down of the middle."""
    shoulder: float
    """Half the distance between the shoulders."""
    head: tuple[float, float]
    """Half width and half height of the head."""
    hand: float
    """Palm radius."""
    tempo: float
    """Length of this signer's signs relative to the corpus."""
    left_handed: bool


_SKINS: list[Colour] = [
    (245, 205, 175),
    (224, 172, 130),
    (190, 130, 90),
    (158, 106, 72),
    (250, 220, 195),
    (132, 88, 62),
]
_SHIRTS: list[Colour] = [(30, 34, 60), (52, 58, 66), (28, 70, 62), (92, 24, 40), (72, 42, 110), (20, 20, 24)]
_DARK_SKIN_SHIRTS: list[Colour] = [(214, 214, 206), (150, 190, 226), (232, 200, 110), (170, 214, 160)]
_HAIRS: list[Colour] = [(50, 34, 24), (24, 22, 24), (150, 100, 50), (200, 170, 100), (110, 110, 115), (120, 50, 24)]
_BACKGROUNDS: list[Colour] = [
    (120, 160, 190),
    (150, 165, 150),
    (170, 160, 190),
    (110, 150, 140),
    (175, 185, 200),
    (140, 140, 160),
]


def make_signer(index: int, seed: int, name: str | None = None) -> Signer:
    """Signer number `index` of a corpus; colours differ between neighbours, the rest is drawn from the seed."""
    rng = np.random.default_rng([seed, 7_001, index])
    skin = _SKINS[(index + seed) % len(_SKINS)]
    dark = sum(skin) < 380
    shirts = _DARK_SKIN_SHIRTS if dark else _SHIRTS
    return Signer(
        name=name or f"avatar{index + 1:02d}",
        skin=skin,
        outline=(20, 12, 8) if dark else (70, 36, 24),
        shirt=shirts[int(rng.integers(len(shirts)))],
        hair=_HAIRS[(index * 5 + seed) % len(_HAIRS)],
        background=_BACKGROUNDS[(index * 5 + 2 * seed + 1) % len(_BACKGROUNDS)],
        long_hair=bool(rng.integers(2)),
        scale=float(rng.uniform(0.94, 1.03)),
        offset=(float(rng.uniform(-3, 3)), float(rng.uniform(-1, 2.5))),
        shoulder=float(rng.uniform(19, 22.5)),
        head=(float(rng.uniform(15, 16.5)), float(rng.uniform(17.5, 19))),
        hand=float(rng.uniform(5.2, 5.9)),
        tempo=float(rng.uniform(0.9, 1.12)),
        left_handed=index % 5 == 4,
    )
