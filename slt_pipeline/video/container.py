"""Video files (mp4, webm, mkv, gif, avi, ...) decoded by FFmpeg through PyAV."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from slt_pipeline.errors import SltError
from slt_pipeline.video.truncation import cut_short

_FORMATS = "mov,mp4,matroska,webm,gif,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,wav,mp3,aac,flac,apng,webp_anim"
"""Containers that FFmpeg may open. Playlists and scripts (HLS, concat) are not among them: they name other files."""

_KEPT_PIXELS = 2**25
"""Decoded frames of up to this many pixels in all are kept from counting to reading, to decode once."""


class ContainerVideo:
    """A video file. Frames are decoded in order, turned as the file's rotation says, and converted to RGB.

    Opening decodes the first frame. `num_frames` decodes the whole file once: no count is taken from the container.
    """

    def __init__(self, path: Path, default_fps: float = 25.0) -> None:
        self.name = str(path)
        self._path = path
        require_whole(path)
        self._num_frames: int | None = None
        self._kept: list[av.VideoFrame] | None = None
        self._rgb = VideoReformatter()
        self._pass: Iterator[av.VideoFrame] | None = self._frames()
        self.fps = default_fps
        first = next(self._pass, None)
        if first is None:
            raise SltError(f"{path}: holds no decodable video frame")
        self._first: av.VideoFrame | None = first
        self.height, self.width = _upright(self._to_rgb(first), first.rotation).shape[:2]

    @property
    def num_frames(self) -> int:
        """Number of frames that decode. Decodes the whole file the first time, unless `read()` has."""
        if self._num_frames is None:
            frames: list[av.VideoFrame] | None = []
            count = 0
            for frame in self._start():
                count += 1
                if frames is not None:
                    frames.append(frame)
                    if count * self.width * self.height > _KEPT_PIXELS:
                        frames = None
            self._num_frames, self._kept = count, frames
        return self._num_frames

    def read(self, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """The frames at these indices (any order, repeats allowed), or all: (T, H, W, 3) uint8 RGB."""
        if indices is None:
            frames = [self._picture(frame) for frame in self._start()]
            self._num_frames = len(frames)
            return np.stack(frames)
        wanted = np.asarray(indices, dtype=np.int64)
        out = np.empty((len(wanted), self.height, self.width, 3), dtype=np.uint8)
        if not len(wanted):
            return out
        rows = np.argsort(wanted, kind="stable")
        ordered = wanted[rows]
        if ordered[0] < 0:
            raise SltError(f"{self.name}: frame {ordered[0]} was asked for")
        at, num_seen = 0, 0
        for index, frame in enumerate(self._start()):
            num_seen = index + 1
            if index != ordered[at]:
                continue
            end = int(np.searchsorted(ordered, index, side="right"))
            out[rows[at:end]] = self._picture(frame)
            at = end
            if at == len(ordered):
                return out
        self._num_frames = num_seen
        raise SltError(f"{self.name}: has {self._num_frames} frames; frame {ordered[-1]} was asked for")

    def _start(self) -> Iterator[av.VideoFrame]:
        """All frames from the first: those kept from counting, the pass begun on opening, or a new one."""
        if self._kept is not None:
            yield from self._kept
            return
        first, frames = self._first, self._pass
        self._first = self._pass = None
        if first is None or frames is None:
            yield from self._frames()
            return
        yield first
        yield from frames

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Decode the file; raises SltError where it is damaged, cut short, or holds no video."""
        num_decoded = 0
        try:
            with _open(self._path) as container:
                stream = _video_stream(container, self._path)
                self.fps = float(stream.average_rate or stream.guessed_rate or stream.base_rate or self.fps)
                stream.codec_context.thread_count = 1  # data-loader workers are the parallelism
                for packet in container.demux(stream):
                    damaged = packet.is_corrupt
                    for frame in packet.decode():
                        damaged = damaged or frame.is_corrupt
                        num_decoded += 1
                        yield frame
                    if damaged:
                        raise SltError(f"{self._path}: damaged after {num_decoded} frames")
        except FFmpegError as error:
            what = f"damaged after {num_decoded} frames" if num_decoded else "not a readable video file"
            raise SltError(f"{self._path}: {what} ({error.strerror})") from None

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        picture = _upright(self._to_rgb(frame), frame.rotation)
        if picture.shape[:2] != (self.height, self.width):
            raise SltError(
                f"{self.name}: the frame size changes from {self.width}x{self.height} "
                f"to {picture.shape[1]}x{picture.shape[0]} on the way"
            )
        return picture

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        return self._rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()


def require_whole(path: Path) -> None:
    """Refuse a file that ends too early, as far as the sizes that its container states tell; nothing is decoded.

    Raises:
        SltError: what is missing.
    """
    missing = cut_short(path)
    if missing:
        raise SltError(f"{path}: the file is cut short: {missing}")


def _open(path: Path) -> InputContainer:
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    return av.open(f"file:{path.absolute()}", container_options=options)


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
        raise SltError(f"{path}: holds no video (only {kinds})")
    return streams[0]


def _upright(picture: np.ndarray, rotation: int) -> np.ndarray:
    """Turn a picture by the rotation its file asks for: degrees counter-clockwise, a multiple of 90."""
    quarter_turns = round(rotation / 90) % 4
    return np.rot90(picture, quarter_turns) if quarter_turns else picture
