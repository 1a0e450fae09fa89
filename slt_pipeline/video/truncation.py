"""Notice a video file that ends too early, from the sizes its container states; FFmpeg often just stops at the end."""

import os
from pathlib import Path
from typing import BinaryIO


def cut_short(path: Path) -> str | None:
    """What is missing at the end of the file, or None where it is whole or its container states no sizes.

    Knows ISO media (mp4, mov), Matroska (mkv, webm), RIFF (avi) and GIF.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in _ISO_BOXES:
            return _iso(file, size)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return _matroska(file, size)
        if head[:4] == b"RIFF":
            stated = int.from_bytes(head[4:8], "little")
            return None if stated == _UNKNOWN else _missing("the RIFF chunk", stated + 8, size)
        if head[:3] == b"GIF":
            return _gif(file)
    return None


_UNKNOWN = 0xFFFFFFFF
"""The size of a RIFF file that was written where nobody could go back to fill it in."""
_ISO_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"uuid"}
_ISO_MEDIA = {b"moov", b"mdat", b"moof"}
"""Boxes that hold the video; what else seems to end behind the file is padding, or a text that a tool put there."""


def _iso(file: BinaryIO, size: int) -> str | None:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return None  # length 0 = up to the end of the file; anything else is trailing padding
        if kind in _ISO_MEDIA and at + length > size:
            return _missing(f"the {kind.decode()} box", at + length, size)
        at += length
    return None


def _matroska(file: BinaryIO, size: int) -> str | None:
    file.seek(4)
    header = _vint(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return None
    segment = _vint(file)
    return None if segment is None else _missing("the Matroska segment", file.tell() + segment, size)


def _vint(file: BinaryIO) -> int | None:
    """An EBML variable-length size; None for 'unknown' (live recordings) or at the end of the file."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    num_more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> (num_more + 1))]) + file.read(num_more), "big")
    return None if value == (1 << 7 * (num_more + 1)) - 1 else value


def _gif(file: BinaryIO) -> str | None:
    """Walk the blocks of a GIF; one without its end mark, but with all its pictures, is whole."""
    file.seek(10)
    file.seek(13 + _gif_colours(file.read(1)))
    while (kind := file.read(1)) in _GIF_HEADS:
        head = file.read(_GIF_HEADS[kind])
        if kind == b",":
            file.seek(_gif_colours(head[8:9]) + 1, os.SEEK_CUR)
        while length := file.read(1):
            if length == b"\0":
                break
            if len(file.read(length[0])) < length[0]:
                return "a block of the GIF ends behind the file"
        if not length:
            return "a block of the GIF has no end"
    return None


_GIF_HEADS = {b"!": 1, b",": 9}
"""Extensions and pictures, and the bytes before their parts. Anything else is the end, or a note behind it."""


def _gif_colours(flags: bytes) -> int:
    """Bytes of the colour table that flags announce."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _missing(what: str, stated_end: int, size: int) -> str | None:
    return f"{what} ends at byte {stated_end}, the file at {size}" if stated_end > size else None
