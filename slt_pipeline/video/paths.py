"""Media references: inside the media root, inside an archive, and numbered frames."""

import os
import re
from pathlib import Path, PurePosixPath

from slt_pipeline.errors import SltError

_NUMBERED = re.compile(r"%(0\d+)?d")


def path_inside(text: str, root: Path | None) -> Path:
    """The path of a media reference.

    Args:
        text: the reference; its last part may be a printf pattern.
        root: media root that it is relative to; None, it is the user's own path and taken as it is.

    Raises:
        SltError: it leads out of the media root.
    """
    if root is None:
        return Path(text)
    if Path(text).is_absolute() or ".." in PurePosixPath(text).parts:
        raise SltError(f"{text}: a media reference is relative to the media root {root} and may not lead out of it")
    path = root / text
    check_inside(path.parent if is_numbered(path.name) and not path.exists() else path, root)
    return path


def member_inside(member: str, text: str) -> str:
    """The path of an archive's member; `text` is the whole reference, for messages.

    Raises:
        SltError: it leads out of the archive.
    """
    member = member.replace("\\", "/")
    parts = PurePosixPath(member).parts
    if not parts or ".." in parts or member.startswith("/"):
        raise SltError(f"{text}: after `!` comes a plain path inside the archive")
    return str(PurePosixPath(member))


def check_inside(path: Path, root: Path | None) -> None:
    """Refuse a path outside the media root, its symbolic links followed.

    Raises:
        SltError: it lies outside.
    """
    if root is not None and not real_path(path).is_relative_to(real_path(root)):
        raise SltError(
            f"{path}: leads out of the media root {root}; move it there or name its folder as the media root"
        )


def real_path(path: Path) -> Path:
    """Return a path with its symbolic links followed; a link to itself is no error yet."""
    return Path(os.path.realpath(path))


def is_numbered(name: str) -> bool:
    """Say whether a file name holds a frame number such as %04d."""
    return _NUMBERED.search(name) is not None


def frame_number_pattern(name: str, where: str) -> tuple[re.Pattern[str], str]:
    """Split a printf file name: a pattern whose one group is the frame number, and a str.format template for it.

    Raises:
        SltError: it holds not exactly one number.
    """
    fields = list(_NUMBERED.finditer(name))
    if len(fields) != 1 or "%" in name.replace(fields[0].group(), "", 1):
        raise SltError(f"{where}: the file name must hold exactly one frame number such as %04d")
    before, after = name[: fields[0].start()], name[fields[0].end() :]
    width = int((fields[0].group(1) or "0").lstrip("0") or 0)
    template = (
        before.replace("{", "{{").replace("}", "}}") + f"{{:0{width}d}}" + after.replace("{", "{{").replace("}", "}}")
    )
    return re.compile(re.escape(before) + r"(\d+)" + re.escape(after)), template
