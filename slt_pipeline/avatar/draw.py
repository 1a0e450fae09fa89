"""Draw the signer: everything at a multiple of the frame's size, then reduced, so that edges come out smooth."""

import math

import numpy as np
from PIL import Image, ImageDraw

from slt_pipeline.avatar.motion import Motion
from slt_pipeline.avatar.signer import Colour, Signer

_DESIGN = 96.0
_ARM = 47.0  # upper arm and forearm together
_ARM_WIDTH = 8.5
_FINGER_WIDTH = 3.3
_SHOULDER_Y = 53.0
_HEAD_Y = 25.0
_FINGER_BASES = ((0.75, 0.15), (0.62, -0.7), (0.2, -0.9), (-0.22, -0.85), (-0.62, -0.65))  # palm radii, thumb first


def render(
    motion: Motion, signer: Signer, width: int, height: int, *, background: str = "plain", seed: int = 0
) -> np.ndarray:
    """(T, height, width, 3) uint8 RGB frames of one clip; `seed` draws the noisy background."""
    stage = Stage(signer, width, height, background=background, seed=seed)
    frames = np.empty((len(motion.hands), height, width, 3), np.uint8)
    for time, (hands, mouth) in enumerate(zip(motion.hands, motion.faces, strict=True)):
        frames[time] = stage.draw(hands, mouth)
    return frames


class Stage:
    """One signer before one background: `draw` gives a frame."""

    def __init__(self, signer: Signer, width: int, height: int, *, background: str = "plain", seed: int = 0):
        """Draws all that does not move."""
        self._signer = signer
        self._factor = 3 if min(width, height) <= 128 else 2
        self._rng = np.random.default_rng([seed, 7_002]) if background == "noisy" else None
        design = min(width, height) / _DESIGN * self._factor
        self._unit = design * signer.scale
        # The feet of the design stand on the frame's lower edge, so that taller frames get room above the head.
        self._x0 = width * self._factor / 2 + signer.offset[0] * design
        self._y0 = height * self._factor - _DESIGN * self._unit * 1.0 + signer.offset[1] * design
        if height > width:
            self._y0 -= (height - width) * self._factor * 0.35
        self._size = (width * self._factor, height * self._factor)
        self._still = self._draw_still()

    def draw(self, hands: np.ndarray, mouth: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 RGB for hand states (2, 18) and a face (6,)."""
        image = self._still.copy()
        pen = ImageDraw.Draw(image)
        self._draw_face(pen, mouth)
        self._draw_arm(pen, hands[1], dominant=False)
        self._draw_arm(pen, hands[0], dominant=True)
        frame = np.asarray(image.reduce(self._factor))
        if self._rng is None:
            return frame
        noise = self._rng.integers(-7, 8, frame.shape[:2], dtype=np.int16)[..., None]
        return np.clip(frame + noise, 0, 255).astype(np.uint8)

    def _draw_still(self) -> Image.Image:
        signer, unit = self._signer, self._unit
        image = self._draw_background()
        pen = ImageDraw.Draw(image)
        half_width, half_height = signer.head
        x0, y0 = self._x0, self._y0 + _HEAD_Y * unit
        if signer.long_hair:
            pen.rounded_rectangle(
                self._box(0, _HEAD_Y + 5, half_width + 3, half_height + 6), 12 * unit, fill=signer.hair
            )
        pen.rectangle(self._box(0, _HEAD_Y + half_height + 4, 5, 8), fill=signer.outline)
        pen.rectangle(self._box(0, _HEAD_Y + half_height + 4, 4.4, 8), fill=signer.skin)
        shoulder = signer.shoulder
        torso = [(-shoulder - 3, _SHOULDER_Y), (-shoulder + 2, _SHOULDER_Y - 5), (-6, _SHOULDER_Y - 7.5)]
        torso += [(-x, y) for x, y in reversed(torso)] + [(shoulder - 2, 200), (-shoulder + 2, 200)]
        pen.polygon([self._point(x, y) for x, y in torso], fill=signer.shirt)
        pen.ellipse(self._box(0, _SHOULDER_Y - 7.5, 6, 3), fill=signer.skin)
        pen.ellipse(self._box(0, _HEAD_Y - 2, half_width + 1.6, half_height + 1.8), fill=signer.hair)
        pen.ellipse(self._box(0, _HEAD_Y, half_width + 0.6, half_height + 0.6), fill=signer.outline)
        pen.ellipse(self._box(0, _HEAD_Y, half_width, half_height), fill=signer.skin)
        pen.chord(
            (x0 - half_width * unit, y0 - (half_height + 0.5) * unit, x0 + half_width * unit, y0 + half_height * unit),
            222,
            318,
            fill=signer.hair,
        )
        for side in (-1, 1):
            pen.ellipse(self._box(side * 6.2, 22.5, 2.7, 2.1), fill=(250, 250, 250))
            pen.ellipse(self._box(side * 6.2, 22.7, 1.4, 1.8), fill=(25, 20, 20))
        pen.line(
            [self._point(0, 23), self._point(1.4, 28.3), self._point(-0.8, 28.6)],
            fill=signer.outline,
            width=self._width(0.9),
        )
        return image

    def _draw_background(self) -> Image.Image:
        if self._rng is None:
            return Image.new("RGB", self._size, self._signer.background)
        blobs = np.array(self._signer.background) + self._rng.normal(0, 22, (7, 7, 3))
        return Image.fromarray(np.clip(blobs, 0, 255).astype(np.uint8)).resize(self._size, Image.Resampling.BICUBIC)

    def _draw_face(self, pen: ImageDraw.ImageDraw, values: np.ndarray) -> None:
        width, opening, corners, tongue, brow, slant = values.tolist()
        y = 34.5
        steps = [-1 + i / 5 for i in range(11)]
        half = width / 2
        arc = [opening / 2 * math.sqrt(max(0.0, 1 - t * t)) for t in steps]
        line = [y - corners * (t * t - 0.4) for t in steps]
        for grow, colour in ((1.2, _lips(self._signer.skin)), (0.0, (40, 6, 10))):
            reach = half + grow
            top = [self._point(t * reach, c - a - grow) for t, c, a in zip(steps, line, arc, strict=True)]
            bottom = [self._point(t * reach, c + a + grow) for t, c, a in zip(steps, line, arc, strict=True)]
            if grow or opening > 0.6:
                pen.polygon(top + bottom[::-1], fill=colour)
        if opening > 3 and width > 9:
            deep = 0.32 if opening > 8 else 0.75
            teeth = [(t * half * 0.86, c - a + 0.3) for t, c, a in zip(steps, line, arc, strict=True)]
            teeth += [(t * half * 0.86, c - a + 0.3 + deep * 2 * a) for t, c, a in zip(steps, line, arc, strict=True)][
                ::-1
            ]
            pen.polygon([self._point(x, y) for x, y in teeth], fill=(250, 250, 245))
        if tongue > 0.3:
            pen.ellipse(self._box(0, y + 2.5 + 1.5 * tongue, 3.6, 1.5 + 3 * tongue), fill=(140, 30, 50))
            pen.ellipse(self._box(0, y + 2.5 + 1.5 * tongue, 2.8, 0.8 + 3 * tongue), fill=(240, 110, 130))
        for side in (-1, 1):
            inner, outer = 17.6 - brow + slant / 2, 17.2 - brow - slant / 2
            pen.line(
                [self._point(side * 2.8, inner), self._point(side * 10.2, outer)],
                fill=(20, 14, 10),
                width=self._width(2.2),
            )

    def _draw_arm(self, pen: ImageDraw.ImageDraw, state: np.ndarray, *, dominant: bool) -> None:
        signer = self._signer
        side = 1.0 if dominant != signer.left_handed else -1.0
        x, y, angle, *fingers = state.tolist()
        elbow = _elbow((-signer.shoulder, _SHOULDER_Y), (x, y))
        points = [self._point(side * a, b) for a, b in ((-signer.shoulder, _SHOULDER_Y), elbow, (x, y))]
        edge = _edge(signer.shirt)
        for extra, colour in ((0.9, edge), (0.0, signer.shirt)):
            self._limb(pen, points[0], points[1], _ARM_WIDTH + 2 * extra, colour)
            self._limb(pen, points[1], points[2], _ARM_WIDTH - 1.2 + 2 * extra, colour)
        self._draw_hand(pen, x, y, angle, fingers, side)

    def _draw_hand(
        self, pen: ImageDraw.ImageDraw, x: float, y: float, angle: float, fingers: list[float], side: float
    ) -> None:
        signer, palm = self._signer, self._signer.hand
        sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))

        def place(across: float, up: float) -> tuple[float, float]:
            return self._point(side * (x + across * cosine + up * sine), y + across * sine - up * cosine)

        centre = place(0, 0)
        bones = []
        for number, (base_x, base_y) in enumerate(_FINGER_BASES):
            direction, length, bend = fingers[3 * number : 3 * number + 3]
            ax, ay = base_x * palm, -base_y * palm
            first, second = math.radians(direction), math.radians(direction + bend)
            half = length * palm / 2
            bx, by = ax + half * math.sin(first), ay + half * math.cos(first)
            cx, cy = bx + half * math.sin(second), by + half * math.cos(second)
            bones.append((place(ax, ay), place(bx, by), place(cx, cy)))
        for grow, colour in ((1.0, signer.outline), (0.0, signer.skin)):
            self._dot(pen, centre, palm + grow, colour)
            for a, b, c in bones:
                self._limb(pen, a, b, _FINGER_WIDTH + 2 * grow, colour)
                self._limb(pen, b, c, _FINGER_WIDTH + 2 * grow, colour)

    def _limb(
        self, pen: ImageDraw.ImageDraw, a: tuple[float, float], b: tuple[float, float], width: float, colour: Colour
    ) -> None:
        pen.line((a, b), fill=colour, width=self._width(width))
        self._dot(pen, b, width / 2, colour)

    def _dot(self, pen: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        reach = radius * self._unit
        pen.ellipse((centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach), fill=colour)

    def _point(self, x: float, y: float) -> tuple[float, float]:
        return self._x0 + x * self._unit, self._y0 + y * self._unit

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
        return (*self._point(x - half_width, y - half_height), *self._point(x + half_width, y + half_height))

    def _width(self, value: float) -> int:
        return max(1, round(value * self._unit))


def _elbow(shoulder: tuple[float, float], hand: tuple[float, float]) -> tuple[float, float]:
    """Where the elbow goes: down and outwards.

    The picture is flat, so an arm whose hand is near the shoulder comes towards the camera and looks shorter, and one
    whose hand is out of reach grows, as cartoons allow.
    """
    dx, dy = hand[0] - shoulder[0], hand[1] - shoulder[1]
    distance = max(math.hypot(dx, dy), 1e-6)
    bone = max(min(_ARM, 0.75 * distance + 10), 1.01 * distance) / 2
    away = math.sqrt(bone * bone - distance * distance / 4)
    middle_x, middle_y = shoulder[0] + dx / 2, shoulder[1] + dy / 2
    first = (middle_x - away * dy / distance, middle_y + away * dx / distance)
    second = (middle_x + away * dy / distance, middle_y - away * dx / distance)
    return min(first, second, key=lambda point: 0.7 * point[0] - point[1])


def _edge(shirt: Colour) -> Colour:
    """Line around the sleeves: darker than a light shirt, lighter than a dark one."""
    if sum(shirt) > 330:
        return int(shirt[0] * 0.45), int(shirt[1] * 0.45), int(shirt[2] * 0.45)
    return shirt[0] + 75, shirt[1] + 75, shirt[2] + 75


def _lips(skin: Colour) -> Colour:
    """Red that stands out from the skin in brightness too, not in hue alone: encoders halve the colour's resolution."""
    return (100, 12, 26) if sum(skin) < 380 else (150, 30, 40)
