"""Which media a reference leads to, told by content and not by name; nothing is decoded."""

import hashlib
import os
from pathlib import Path

from slt_pipeline.config.provenance import ABSENT
from slt_pipeline.errors import SltError
from slt_pipeline.video.paths import is_numbered, member_inside, path_inside
from slt_pipeline.video.pictures import folder_pictures, numbered_pictures, zip_members

_EDGE = 65536
"""Bytes that are read at the head and at the tail of a file: where containers keep their tables."""


def media_identity(reference: str, root: Path | None) -> str:
    """Return a short name of the bytes behind a media reference, `ABSENT` where there is nothing to read.

    A video file is known by its size and the hash of its head and tail; a folder or a series of pictures by their
    number and by their first, middle and last picture; members of a zip by their own checksums. Time stamps and the
    path do not count, so that a corpus can be copied.

    Args:
        reference: as in a manifest (`video.reader.open_video`).
        root: media root.
    """
    archive, bang, member = reference.partition("!")
    try:
        if bang and archive.lower().endswith(".zip"):
            members = zip_members(path_inside(archive, root), member_inside(member, reference))
            return _short(members) if members else ABSENT
        path = path_inside(reference, root)
        if path.is_dir():
            return _pictures(path, folder_pictures(path, root))
        if is_numbered(path.name) and not path.exists():
            return _pictures(path.parent, numbered_pictures(path, root))
        return _file(path) if path.is_file() else ABSENT
    except (OSError, UnicodeError, SltError):  # whoever opens it says what is wrong
        return ABSENT


def _pictures(folder: Path, names: list[str]) -> str:
    if not names:
        return ABSENT
    some = dict.fromkeys((names[0], names[len(names) // 2], names[-1]))
    return _short([len(names), *((name, _file(folder / name)) for name in some)])


def _file(path: Path) -> str:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        edges = file.read(_EDGE)
        file.seek(max(len(edges), size - _EDGE))
        edges += file.read(_EDGE)
    return _short([size, hashlib.sha256(edges).hexdigest()])


def _short(facts: list) -> str:
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
