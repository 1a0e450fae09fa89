"""Video files (mp4, webm, mkv, gif, avi, ...) decoded by FFmpeg through PyAV."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import islice, repeat
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.stream import Disposition
from av.video.stream import VideoStream

from slt_pipeline.errors import SltError
from slt_pipeline.video.base import Indices, Video, in_order, require_pixels
from slt_pipeline.video.packets import Packets, forgiven, packets_from, packets_of
from slt_pipeline.video.timing import LONGEST, LONGEST_OF_STREAMS, Timing, timing_of, timing_of_decoded
from slt_pipeline.video.truncation import cut_short
from slt_pipeline.video.upright import Upright

_FORMATS = (
    "mov,mp4,matroska,webm,gif,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,wav,mp3,aac,flac,apng,webp_anim,"
    "mxf,dv,swf,rm,ivf,obu,m4v,nut,yuv4mpegpipe,wtv"
)
"""Containers that FFmpeg may open. Playlists and scripts (HLS, concat) are not among them: they name other files."""

_DEFAULT = 5_000_000
"""Pixels by which `ffmpeg`, of several video streams, takes the default one for larger than it is."""

_DEFERRED = ("h264", "hevc")
"""Codecs of which FFmpeg cannot tell when a frame of an AVI is shown, if that is another order than they come in."""

_NO_RATE = 1000
"""Frames per second from which a rate is but the unit of the time stamps, which FFmpeg gives for want of a rate."""


class ContainerVideo(Video):
    """A video file, decoded in order from the key frame before what is asked for. Opening decodes the first frame.

    Times are those of the packets, for which nothing is decoded. What then decodes is compared with them: the frames
    that are asked for are those shown at the promised times, and after the last of them `times` and `num_frames` are
    what was decoded. Where the first frames already differ, all are decoded to count them.
    """

    def __init__(self, path: Path, default_fps: float = 25.0) -> None:
        self.name = str(path)
        self._path = path
        require_whole(path)
        self._nominal, self._longest = default_fps, LONGEST
        self._reordered = False  # whether stamps say when frames are decoded, and they are shown in another order
        self._aspect = Fraction(1)
        self._time_base = 0.0
        self._upright = Upright()
        self._timing: Timing | None = None
        self._packets: Packets | None = None
        self._pass = self._decoded()
        first = next(self._pass, None)
        if first is None:
            raise SltError(f"{path}: holds no decodable video frame")
        self._begun = [first]
        self.width, self.height = self._upright.size(first, self._aspect)
        self._mirrored = self._upright.mirrors(first)
        require_pixels(self.width, self.height, self.name)
        self.fps = self._timed().rate(self._nominal)

    @property
    def times(self) -> np.ndarray:
        """Seconds from the first frame to each: (T,) float64, rising."""
        return self._timed().times

    @property
    def seconds(self) -> float:
        """How long the video lasts: up to the end of its last frame."""
        return self._timed().seconds

    @property
    def plain(self) -> bool:
        """Whether its packets are its frames, its pixels square and its pictures not mirrored: turned they may be."""
        return self._timed().stamped and self._aspect == 1 and not self._mirrored

    def frames(self, indices: Indices) -> Iterator[np.ndarray]:
        """Yield the frames at these indices, which do not fall: (H, W, 3) uint8 RGB.

        Raises:
            SltError: the file holds no frame that can be decoded, or is cut short.
        """
        timing = self._timed()
        wanted = in_order(indices, len(timing.keys), self.name)
        if not len(wanted):
            return
        keys, to_the_end = timing.keys[wanted], wanted[-1] == len(timing.keys) - 1
        begun = 0
        for picture in self._sought(keys, timing):
            yield picture
            begun += 1
        keys = keys[begun:]
        if not len(keys):
            return
        at, key, before, stamps = 0, -1, None, []
        for number, frame in enumerate(self._start()):
            stamps.append((frame.pts, frame.dts))
            stamp = frame.pts if timing.stamped else number
            key = stamp if stamp is not None and (number == 0 or stamp > key) else key + 1
            earlier, until = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
            for shown, end in ((before or frame, int(earlier)), (frame, int(until))):
                if end > at:
                    yield from repeat(self._picture(shown), end - at)
                    at = end
            if at == len(keys) and not to_the_end:
                return
            before = frame
        if before is None:
            raise SltError(f"{self.name}: holds no decodable video frame")
        if at < len(keys):
            yield from repeat(self._picture(before), len(keys) - at)
        if len(stamps) != len(timing.keys) or (timing.stamped and [pts for pts, _ in stamps] != timing.keys.tolist()):
            self._timing = timing_of_decoded(stamps, before.duration, *self._units)

    def _timed(self) -> Timing:
        """Return the timing that the packets promise, where the first frames keep it; else that of all frames."""
        if self._timing is None:
            self._begun += islice(self._pass, 1)
            promised = self._promised()
            kept = self._reordered or (promised and promised.keys[:2].tolist() == [frame.pts for frame in self._begun])
            self._timing = promised if promised and kept else self._counted()
        return self._timing

    def _promised(self) -> Timing | None:
        """Return the timing by the packets' stamps; None: they are broken. Nothing is decoded."""
        state = self._path.stat()
        self._packets = _packets(self._path, state.st_size, state.st_mtime_ns)
        if self._packets is None:
            return None
        stamps = self._packets.stamps.tolist()
        timing = timing_of(stamps, self._packets.last_duration, *self._units)
        if self._reordered:
            return replace(timing, keys=np.arange(len(stamps)), stamped=False)
        return timing if timing.stamped else None

    def _sought(self, keys: np.ndarray, timing: Timing) -> Iterator[np.ndarray]:
        """Yield pictures of the frames with these keys from the last key frame before them, where that spares work.

        They are those of a pass from the first frame: as soon as another frame comes than was promised there are no
        more, and the rest is for such a pass.
        """
        entry = self._packets.entry(int(keys[0])) if self._packets and timing.stamped else None
        if entry is None:
            return
        expected = timing.keys[np.searchsorted(timing.keys, entry[0]) :].tolist()
        try:
            shown = (frame for frame in self._decoded(entry) if frame.pts is None or frame.pts >= entry[0])
            for number, (frame, key) in enumerate(zip(shown, expected, strict=False)):
                if frame.pts != key or (number == 0 and not frame.key_frame):
                    return
                times = int(np.searchsorted(keys, key, "right") - np.searchsorted(keys, key, "left"))
                yield from repeat(self._picture(frame), times) if times else ()
                if key >= keys[-1]:
                    return
        except SltError:  # a pass from the first frame says what is wrong, and where
            return

    def _counted(self) -> Timing:
        """Decode all frames and return their timing."""
        stamps, duration = [], None
        for frame in self._start():
            stamps.append((frame.pts, frame.dts))
            duration = frame.duration
        return timing_of_decoded(stamps, duration, *self._units)

    @property
    def _units(self) -> tuple[float, float, float]:
        """Seconds of a unit of time stamps, nominal rate, and the longest step that is believed."""
        return self._time_base, self._nominal, self._longest

    def _start(self) -> Iterator[av.VideoFrame]:
        """All frames from the first, by the pass begun on opening or a new one."""
        if not self._begun:
            self._pass = self._decoded()
        begun, self._begun = self._begun, []
        frames, self._pass = self._pass, iter(())
        while begun:
            yield begun.pop(0)
        yield from frames

    def _decoded(self, entry: tuple[int, int] | None = None) -> Iterator[av.VideoFrame]:
        """Decode the file, from a key frame on; raises SltError where it is damaged, cut short, or holds no video."""
        num_decoded = 0
        try:
            with _open(self._path) as container:
                stream = _video_stream(container, self._path)
                self.stream_index = stream.index
                require_pixels(stream.codec_context.width, stream.codec_context.height, self.name)
                rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
                self._nominal = next((float(rate) for rate in rates if rate and rate < _NO_RATE), self._nominal)
                begins_anew = bool(container.format.flags & Flags.ts_discont.value)
                self._longest = LONGEST_OF_STREAMS if begins_anew else LONGEST
                deferred = stream.codec_context.has_b_frames and stream.codec_context.codec.canonical_name in _DEFERRED
                self._reordered = container.format.name == "avi" and deferred
                self._aspect = stream.sample_aspect_ratio or Fraction(1)
                self._time_base = float(stream.time_base or 1 / self._nominal)
                stream.codec_context.thread_count = 1  # data-loader workers are the parallelism
                packets = packets_from(container, stream, entry) if entry else container.demux(stream)
                for packet in forgiven(packets) if begins_anew else packets:
                    damaged = packet.is_corrupt
                    for frame in packet.decode():
                        before = entry is not None and frame.pts is not None and frame.pts < entry[0]
                        damaged = damaged or (frame.is_corrupt and not before)
                        num_decoded += 1
                        yield frame
                    if damaged:
                        raise SltError(f"{self._path}: damaged after {num_decoded} frames")
        except FFmpegError as error:
            what = f"damaged after {num_decoded} frames" if num_decoded else "not a readable video file"
            raise SltError(f"{self._path}: {what} ({error.strerror})") from None

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        """Return a frame's picture; where the frame size changes on the way, at that of the first, as `ffmpeg` does."""
        try:
            return self._upright.picture(frame, self.width, self.height)
        except MemoryError:
            raise SltError(f"{self.name}: not enough memory for a frame of {self.width}x{self.height}") from None
        except FFmpegError as error:
            what = f"{frame.format.name}, colour matrix {int(frame.colorspace)}"
            raise SltError(f"{self.name}: its pixels ({what}) cannot be converted: {error.strerror}") from None


@lru_cache(maxsize=8)
def _packets(path: Path, size: int, changed: int) -> Packets | None:
    """Return what a file's packets promise: of a long video that many clips are parts of, read once."""
    with _open(path) as container:
        return packets_of(container.demux(_video_stream(container, path)))


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
        kinds = {"a cover picture" if s.type == "video" else s.type for s in container.streams}
        raise SltError(f"{path}: holds no video (only {', '.join(sorted(kinds)) or 'no streams'})")
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise SltError(f"{path}: its video is of a codec that FFmpeg does not know")
    return max(known, key=lambda s: s.width * s.height + bool(s.disposition & Disposition.default) * _DEFAULT)
