"""Any video brought to the frame rate and frame size that an encoder was trained on."""

import numpy as np
from PIL import Image


def resample_indices(num_frames: int, fps: float, wanted_fps: float) -> np.ndarray:
    """The frame shown at every 1 / wanted_fps seconds: (T,) int64, frames dropped or repeated."""
    num_wanted = max(1, round(num_frames / fps * wanted_fps))
    return np.minimum(((np.arange(num_wanted) + 0.5) * fps / wanted_fps).astype(np.int64), num_frames - 1)


def fit_frames(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    """(T,H,W,3) uint8 scaled to cover width x height, the longer side cut evenly: proportions are kept."""
    _, old_height, old_width, _ = frames.shape
    if (old_width, old_height) == (width, height):
        return frames
    scale = max(width / old_width, height / old_height)
    size = (max(width, round(old_width * scale)), max(height, round(old_height * scale)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    out = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for frame, fitted in zip(frames, out, strict=True):
        picture = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        fitted[:] = picture[top : top + height, left : left + width]
    return out
