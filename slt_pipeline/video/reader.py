"""One way to read frames, whatever holds them: a folder of images, numbered images, a zip of them, or a video file.

Nothing here needs torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slt_pipeline.errors import SltError
from slt_pipeline.video.base import Video
from slt_pipeline.video.by_torchcodec import TorchcodecVideo
from slt_pipeline.video.container import ContainerVideo, require_whole
from slt_pipeline.video.paths import is_numbered, member_inside, path_inside
from slt_pipeline.video.pictures import (
    folder_pictures,
    folder_video,
    numbered_pictures,
    numbered_video,
    require_pictures,
    zip_members,
    zipped_video,
)


def open_video(
    reference: str | Path, root: Path | None = None, fps: float = 25.0, decode_on: str | None = None
) -> Video:
    """Open a clip by its media reference.

    Args:
        reference: `videos/a.mp4` (video file), `frames/a` (folder of images, natural order), `frames/a/images%04d.png`
            (numbered images, from 0 if that file exists, else from 1), `archive.zip!images/a/images%04d.png` or
            `archive.zip!images/a` (the same inside a zip).
        root: media root. A reference is then relative to it and may not lead out of it, by `..`, as an absolute path or
            over a symbolic link. None: the user's own path, taken as it is.
        fps: frames per second of images; a video file says its own.
        decode_on: device on which torchcodec decodes a video file; None: PyAV does.

    Raises:
        SltError: what is missing, empty, corrupt, truncated or holds no video; the path is named.
    """
    with _named(reference):
        place = _found(reference, root)
        if isinstance(place, tuple):
            return zipped_video(*place, fps)
        if place.is_dir():
            return folder_video(place, root, fps)
        if not place.is_file():
            return numbered_video(place, root, fps)
        return TorchcodecVideo(place, fps, decode_on) if decode_on else ContainerVideo(place, fps)


def require_media(reference: str | Path, root: Path | None = None) -> None:
    """Require that there is something to decode behind a media reference, by names and sizes: nothing is decoded.

    Args:
        reference: as of `open_video`.
        root: media root.

    Raises:
        SltError: what is missing, empty or cut short; the path is named.
    """
    with _named(reference):
        place = _found(reference, root)
        if isinstance(place, tuple):
            names = [name for name, _, _ in zip_members(*place)]
        elif place.is_file():
            require_whole(place)
            return
        else:
            names = folder_pictures(place, root) if place.is_dir() else numbered_pictures(place, root)
        require_pictures(names, str(reference))


@contextmanager
def _named(reference: str | Path) -> Iterator[None]:
    """Turn what the operating system refuses (a name too long, no permission, a broken disk) into one line."""
    try:
        yield
    except SltError:
        raise
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SltError(" ".join(f"{reference}: cannot be read: {reason}".split())) from None


def _found(reference: str | Path, root: Path | None) -> Path | tuple[Path, str]:
    """Return the file or folder of a reference, a printf pattern, or an archive and what is meant inside it."""
    text = str(reference)
    if not text or "\0" in text:
        raise SltError(f"{text!r} is no path of a video")
    archive, bang, member = text.partition("!")
    if bang and archive.lower().endswith(".zip"):
        return path_inside(archive, root), member_inside(member, text)
    path = path_inside(text, root)
    if path.is_dir() or (is_numbered(path.name) and not path.exists()):
        return path
    if not path.exists():
        raise SltError(f"{path}: no such video file or folder of frames")
    if path.suffix.lower() == ".zip":
        raise SltError(f"{path} is an archive; name the folder of pictures in it: '{text}!FOLDER'")
    if not path.is_file():
        raise SltError(f"{path}: neither a file nor a folder")
    if path.stat().st_size == 0:
        raise SltError(f"{path}: the file is empty (0 bytes)")
    return path
