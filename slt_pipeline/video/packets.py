"""The packets of a video file: what they promise of its frames, and the key frames where decoding can begin."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

_KEYED = {"h264", "hevc", "vp8", "vp9", "av1", "mpeg1video", "mpeg2video", "mpeg4"}
"""Codecs whose key frames need nothing that came before, as those do that have no other frames. (An animated PNG calls
every picture a key frame, and draws it on the one before; so does H.263 in an AVI.)"""


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of a video stream that show a frame, in the order in which they are shown; P packets, E entries."""

    stamps: np.ndarray
    """(P,) int64, in units of the time base."""
    last_duration: int | None
    """Of the packet that is shown last."""
    entries: np.ndarray
    """(E, 2) int64, rising: when each key frame is shown, and where in the file to look for it."""

    def entry(self, stamp: int) -> tuple[int, int] | None:
        """Return the last key frame up to a time stamp; None where it is the first or there is none."""
        number = int(np.searchsorted(self.entries[:, 0], stamp, "right")) - 1
        return None if number < 1 else (int(self.entries[number, 0]), int(self.entries[number, 1]))


def packets_of(packets: Iterable[Packet]) -> Packets | None:
    """Read the stamps of all packets in the order of the file; None: they are broken. Nothing is decoded."""
    shown, decoded_at, entries = [], [], []
    for packet in packets:
        if not packet.size or _hidden(packet):
            continue
        if packet.is_keyframe and packet.pts is not None:
            entries.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        if not packet.is_discard:
            shown.append((packet.pts, packet.duration))
            decoded_at.append(packet.dts)
    rising = [stamp for stamp in decoded_at if stamp is not None]
    if not shown or any(pts is None for pts, _ in shown) or rising != sorted(rising):
        return None
    shown.sort()
    stamps = np.array([pts for pts, _ in shown], dtype=np.int64)
    return Packets(stamps, shown[-1][1], np.array(sorted(entries), dtype=np.int64).reshape(-1, 2))


def packets_from(container: InputContainer, stream: VideoStream, entry: tuple[int, int]) -> Iterator[Packet]:
    """Yield the packets from a key frame on; none where the container does not lead there or the codec needs more."""
    codec = stream.codec_context.codec
    if not codec.intra_only and codec.canonical_name not in _KEYED:
        return
    shown, place = entry
    try:
        container.seek(place, stream=stream)
    except FFmpegError:
        return
    begun = False
    for packet in container.demux(stream):
        if not begun and packet.is_keyframe and packet.pts is not None:
            if packet.pts > shown:
                return
            begun = packet.pts == shown
        if begun:
            yield packet


def forgiven(packets: Iterable[Packet]) -> Iterator[Packet]:
    """Yield the packets of a transport stream; those at a joint of two recordings, put together as files, are whole.

    The stream's counters break there, which FFmpeg calls damage of the last packet but one before the key frame. Of
    packets that are truly lost the decoder still tells.
    """
    waiting: deque[Packet] = deque()
    for packet in packets:
        if packet.is_keyframe:
            for earlier in waiting:
                earlier.is_corrupt = False
        waiting.append(packet)
        if len(waiting) > _JOINT:
            yield waiting.popleft()
    yield from waiting


_JOINT = 2
"""Packets before the key frame of the next recording."""


def _hidden(packet: Packet) -> bool:
    """Whether a packet is decoded and never shown, as those are of VP8 that later frames alone refer to."""
    return packet.stream.codec_context.name in ("vp8", "libvpx") and not memoryview(packet)[0] & _VP8_SHOWN


_VP8_SHOWN = 0x10
"""Bit of the first byte of a VP8 frame."""
