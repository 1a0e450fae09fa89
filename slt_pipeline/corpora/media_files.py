"""Folders of videos as people keep them: what is a clip in them, and what their systems left behind."""

from pathlib import Path

from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of
from slt_pipeline.errors import SltError
from slt_pipeline.video.pictures import SUFFIXES, natural_key
from slt_pipeline.video.reader import open_video

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".dv"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".flv", ".f4v", ".wmv", ".asf", ".3gp", ".3g2", ".mxf", ".ogv", ".ogg", ".swf"),
)
"""Suffixes that say that a file is a video. Whether one with another suffix is, shows when it is opened."""
_STRAY = (
    *("__macosx", "@eadir", "#recycle", "@recycle", "lost+found", "$recycle.bin", "system volume information"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
)
"""What systems leave behind, beside all that is hidden by a dot (`.git`, `.DS_Store`, `._a.mp4`)."""


def is_stray(path: Path) -> bool:
    """Whether a file or folder is a system's and not the user's, by its name."""
    return path.name.startswith(".") or path.name.lower() in _STRAY


def contents(folder: Path) -> list[Path]:
    """Return what a user has put into a folder, in natural order.

    Raises:
        OSError: it may not be read.
    """
    return sorted((path for path in folder.iterdir() if not is_stray(path)), key=lambda path: natural_key(path.name))


def is_video(path: Path) -> bool:
    """Whether something is a file that by its name is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def why_no_clip(path: Path) -> str | None:
    """Return why a file or folder is no clip; None: it is one, as far as its name or a look into it tells."""
    try:
        if path.is_dir():
            pictures = any(p.suffix.lower() in SUFFIXES for p in contents(path))
            return None if pictures else "a folder without pictures"
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return None
        if path.suffix.lower() in SUFFIXES:
            return "a picture; a clip is a video or a folder of pictures"
        open_video(path)
    except SltError as error:
        return f"neither a video nor a folder of pictures: {reason_of(error)}"
    except UNREADABLE as error:
        return reason_of(error)
    return None


def videos_by_name(folder: Path) -> dict[str, Path]:
    """Return the video files at any depth of a folder, by name without suffix; of several the first that is not empty.

    Raises:
        SltError: there is no such folder.
    """
    if not folder.is_dir():
        raise SltError(f"{folder}: no such folder of videos")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        ours = not any(map(is_stray, (path, *path.relative_to(folder).parents[:-1])))
        if ours and path.suffix.lower() in VIDEO_SUFFIXES and _size(found.get(path.stem)) == 0:
            found[path.stem] = path
    return found


def _size(path: Path | None) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path is not None and path.is_file() else 0
