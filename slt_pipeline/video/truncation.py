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
            stated = int.from_bytes(head[4:8], "little") + 8
            return _missing("the RIFF chunk", stated, size)
        if head[:3] == b"GIF":
            file.seek(-min(size, 64), os.SEEK_END)
            return None if file.read().rstrip(b"\0").endswith(b";") else "the GIF end mark is missing"
    return None


_ISO_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"uuid"}


def _iso(file: BinaryIO, size: int) -> str | None:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or not kind.isalnum():
            return None  # length 0 = up to the end of the file; anything else is trailing padding
        missing = _missing(f"the {kind.decode('latin-1')} box", at + length, size)
        if missing:
            return missing
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


def _missing(what: str, stated_end: int, size: int) -> str | None:
    return f"{what} ends at byte {stated_end}, the file at {size}" if stated_end > size else None
