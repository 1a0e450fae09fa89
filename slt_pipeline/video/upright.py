"""Pictures of a video file as `ffmpeg` shows them: turned and mirrored by its display matrix, with square pixels."""

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter


class Upright:
    """Frames to upright RGB pictures with square pixels."""

    def __init__(self) -> None:
        self._reformat = VideoReformatter()
        self._known: dict[int, tuple[bool, bool, bool]] = {}

    def size(self, frame: av.VideoFrame, aspect: Fraction) -> tuple[int, int]:
        """Return width and height of the picture that a frame becomes.

        Args:
            frame: as decoded.
            aspect: width of a stored pixel over its height.
        """
        width, height = _stored_size(frame, aspect, self._turned(frame)[0])
        return (height, width) if self._turned(frame)[0] else (width, height)

    def picture(self, frame: av.VideoFrame, aspect: Fraction) -> np.ndarray:
        """Return a frame's picture, (H, W, 3) uint8 RGB; arguments as of `size`."""
        transpose, flip_x, flip_y = self._turned(frame)
        width, height = _stored_size(frame, aspect, transpose)
        if (width, height) == (frame.width, frame.height):
            rgb = self._reformat.reformat(frame, format="rgb24", threads=1)
        else:
            rgb = self._reformat.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1)
        picture = rgb.to_ndarray()
        if transpose:
            picture = picture.swapaxes(0, 1)
        if flip_x:
            picture = picture[:, ::-1]
        if flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)

    def _turned(self, frame: av.VideoFrame) -> tuple[bool, bool, bool]:
        """Look at a frame's matrix where its rotation is a new one.

        Who looks at it makes the frame hold itself, so that its memory would come back much later.
        """
        if frame.rotation not in self._known:
            self._known[frame.rotation] = _turned(frame)
        return self._known[frame.rotation]


def _stored_size(frame: av.VideoFrame, aspect: Fraction, turned: bool) -> tuple[int, int]:
    """Width and height before turning, so that pixels are square: as `scale=iw*sar:ih` makes them after turning."""
    if aspect == 1:
        return frame.width, frame.height
    if turned:
        return frame.width, max(1, int(frame.height / aspect))
    return max(1, int(frame.width * aspect)), frame.height


def _turned(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How the display matrix lays a picture: whether transposed, then mirrored left to right, then top to bottom."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    across, down, right, below = np.frombuffer(bytes(matrix), dtype=np.int32)[[0, 1, 3, 4]].tolist()
    if abs(across) + abs(below) >= abs(down) + abs(right):
        return False, across < 0, below < 0
    return True, right < 0, down < 0
