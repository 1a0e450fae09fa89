"""Any video brought to the frame rate and frame size that an encoder was trained on."""

import numpy as np
from PIL import Image

_ROUNDING = 1e-6
"""Ticks: what floating point may lose of a time that lies half way between two."""
_MOST_CUT = 16
"""Times the wanted size that a picture is scaled to before its longer side is cut."""


def placed(times: np.ndarray, seconds: float, fps: float) -> np.ndarray:
    """The frame that is shown at each 1 / fps, as `ffmpeg -vf fps=FPS` places frames: (T',) int64, T' at least 1.

    Every time is rounded to the nearest tick, halves upwards; of several frames on one tick the last is shown, and a
    frame stays until the next. A clip of that very rate stays as it is.

    Args:
        times: seconds from the first frame to each, (T,), rising.
        seconds: where the last frame ends.
        fps: wanted rate.
    """
    ticks = np.floor(np.append(times, seconds) * fps + 0.5 + _ROUNDING).astype(np.int64)
    return np.searchsorted(ticks[:-1], np.arange(max(1, ticks[-1])), side="right") - 1


def fit_frame(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H,W,3) uint8 scaled to cover width x height, the longer side cut evenly: proportions are kept."""
    old_height, old_width, _ = picture.shape
    if (old_width, old_height) == (width, height):
        return picture
    scale = max(width / old_width, height / old_height)
    size = (max(width, round(old_width * scale)), max(height, round(old_height * scale)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    if size[0] * size[1] > _MOST_CUT * width * height:  # a strip: nearly all of it would be made only to be cut off
        middle = left / scale, top / scale, (left + width) / scale, (top + height) / scale
        box = np.minimum(middle, [old_width, old_height] * 2)
        return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR, tuple(box)))
    resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    return resized[top : top + height, left : left + width]
