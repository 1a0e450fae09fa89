"""Pictures of a video file as `ffmpeg` shows them: turned and mirrored by its display matrix, with square pixels."""

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

_TRANSPOSES = {
    (False, False): "cclock_flip",
    (True, False): "clock",
    (False, True): "cclock",
    (True, True): "clock_flip",
}
"""FFmpeg's word for rows that become columns, by whether they are then mirrored left to right, and top to bottom."""


class Upright:
    """Frames to upright RGB pictures with square pixels, by the filters that `ffmpeg` itself would put in their way."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._made_for: tuple = ()
        self._known: dict[int, tuple[bool, bool, bool]] = {}

    def size(self, frame: av.VideoFrame, aspect: Fraction) -> tuple[int, int]:
        """Return width and height of the picture that a frame becomes.

        Args:
            frame: as decoded.
            aspect: width of a stored pixel over its height.
        """
        if self._turned(frame)[0]:
            return max(1, int(frame.height / aspect)), frame.width
        return max(1, int(frame.width * aspect)), frame.height

    def mirrors(self, frame: av.VideoFrame) -> bool:
        """Whether a frame's picture is seen as in a mirror, however it is turned."""
        return sum(self._turned(frame)) % 2 == 1

    def picture(self, frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """Return a frame's picture, scaled to a size: (H, W, 3) uint8 RGB.

        Raises:
            FFmpegError: its pixels or its colours are of a kind that FFmpeg cannot convert.
        """
        kind = frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range
        made_for = (*kind, self._turned(frame), width, height)
        if self._graph is None or made_for != self._made_for:
            self._graph, self._made_for = _graph(frame, self._turned(frame), width, height), made_for
        self._graph.push(frame)
        picture = self._graph.pull()
        assert isinstance(picture, av.VideoFrame)
        return np.ascontiguousarray(picture.to_ndarray())

    def _turned(self, frame: av.VideoFrame) -> tuple[bool, bool, bool]:
        """Look at a frame's matrix where its rotation is a new one.

        Who looks at it makes the frame hold itself, so that its memory would come back much later.
        """
        if frame.rotation not in self._known:
            self._known[frame.rotation] = _turned(frame)
        return self._known[frame.rotation]


def _graph(frame: av.VideoFrame, turned: tuple[bool, bool, bool], width: int, height: int) -> Graph:
    """Filters for frames like this one. What colours mean is said at the start, so that it is not negotiated away."""
    transpose, flip_x, flip_y = turned
    graph = Graph()
    graph.threads = 1  # data-loader workers are the parallelism
    nodes = [
        graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(frame.time_base or Fraction(1, 1000)),
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
    ]
    if transpose:
        nodes.append(graph.add("transpose", _TRANSPOSES[flip_x, flip_y]))
    else:
        nodes += [graph.add(name) for name, wanted in (("hflip", flip_x), ("vflip", flip_y)) if wanted]
    nodes.append(graph.add("scale", f"{width}:{height}:flags=bicubic"))
    nodes += [graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph


def _turned(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How the display matrix lays a picture: whether transposed, then mirrored left to right, then top to bottom."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    across, down, right, below = np.frombuffer(bytes(matrix), dtype=np.int32)[[0, 1, 3, 4]].tolist()
    if abs(across) + abs(below) >= abs(down) + abs(right):
        return False, across < 0, below < 0
    return True, right < 0, down < 0
