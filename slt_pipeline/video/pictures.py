"""Clips stored as single pictures: a folder, numbered files, or members of a zip archive."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from slt_pipeline.errors import SltError
from slt_pipeline.video.archive import Folder, legible, open_archive, spellings
from slt_pipeline.video.base import Indices, Video, in_order
from slt_pipeline.video.paths import check_inside, frame_number_pattern, is_numbered
from slt_pipeline.video.picture import decode_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class PictureVideo(Video):
    """A clip of picture files, decoded when asked for. Every frame must have the size of the first."""

    def __init__(self, name: str, frames: list[str], load: Callable[[str], bytes | Path], fps: float) -> None:
        require_pictures(frames, name)
        self.name = name
        self.fps = fps
        self._names = frames
        self._load = load
        self._first: np.ndarray | None = self._decoded(0)
        self.height, self.width = self._first.shape[:2]

    @property
    def times(self) -> np.ndarray:
        """Seconds from the first frame to each: (T,) float64, evenly spaced."""
        return np.arange(len(self._names)) / self.fps

    @property
    def seconds(self) -> float:
        """How long the clip lasts: up to the end of its last frame."""
        return len(self._names) / self.fps

    def frames(self, indices: Indices) -> Iterator[np.ndarray]:
        """Yield the frames at these indices, which do not fall: (H, W, 3) uint8 RGB."""
        done, picture = -1, None
        for index in in_order(indices, len(self._names), self.name).tolist():
            if picture is None or index != done:
                picture = None  # makes room before the next one is there
                picture, done = self._picture(index), index
            yield picture

    def _picture(self, index: int) -> np.ndarray:
        if index == 0 and self._first is not None:
            picture, self._first = self._first, None
            return picture
        picture = self._decoded(index)
        if picture.shape[:2] != (self.height, self.width):
            height, width = picture.shape[:2]
            raise SltError(
                f"{self.name}: frame {self._names[index]} is {width}x{height}, the first frame "
                f"{self.width}x{self.height}; all frames of a clip have one size"
            )
        return picture

    def _decoded(self, index: int) -> np.ndarray:
        frame = f"{self.name}: frame {self._names[index]}"
        try:
            return decode_picture(self._load(self._names[index]), frame)
        except MemoryError:
            raise SltError(f"{frame}: not enough memory for it") from None


def require_pictures(names: Sequence[str], where: str) -> None:
    """Refuse a clip without pictures.

    Raises:
        SltError: there is none.
    """
    if not names:
        raise SltError(f"{where}: no pictures in it ({', '.join(SUFFIXES)})")


def folder_video(folder: Path, root: Path | None, fps: float) -> PictureVideo:
    """All pictures of a folder in natural order (frame2 before frame10); other files are not frames."""
    return PictureVideo(str(folder), folder_pictures(folder, root), lambda name: folder / name, fps)


def numbered_video(pattern: Path, root: Path | None, fps: float) -> PictureVideo:
    """Pictures numbered without a gap by a printf pattern, from 0 if that file exists, else from 1."""
    return PictureVideo(str(pattern), numbered_pictures(pattern, root), lambda name: pattern.parent / name, fps)


def zipped_video(archive: Path, member: str, fps: float) -> PictureVideo:
    """Pictures inside a zip, by a printf pattern or a folder of the archive."""
    folder, frames = _zipped_pictures(archive, member)
    return PictureVideo(f"{archive}!{member}", frames, folder.read, fps)


def folder_pictures(folder: Path, root: Path | None) -> list[str]:
    """Return the names of a folder's pictures in natural order."""
    return _pictures_of(_listed(folder, root))


def numbered_pictures(pattern: Path, root: Path | None) -> list[str]:
    """Return the names that a printf pattern stands for, in the order of their numbers.

    Raises:
        SltError: its folder is not there, or a picture is missing.
    """
    if not pattern.parent.is_dir():
        raise SltError(f"{pattern}: its folder {pattern.parent} does not exist")
    return _numbered(pattern.name, _listed(pattern.parent, root), str(pattern))


def zip_members(archive: Path, member: str) -> list[tuple[str, int, int]]:
    """Return name, checksum and size of a clip's pictures inside a zip, as the archive's directory says."""
    folder, frames = _zipped_pictures(archive, member)
    return [(frame, *folder.facts(frame)) for frame in frames]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts frame2 before frame10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", name)]


def _zipped_pictures(archive: Path, member: str) -> tuple[Folder, list[str]]:
    """Return the folder inside an archive, and the names of a clip's pictures in it, in order."""
    where, opened, refused = f"{archive}!{member}", open_archive(archive), "folder in the archive; it has "
    refused += legible(min(opened.folders, default="")) or "none"
    for spelled in spellings(member):
        inside, _, pattern = spelled.rpartition("/")
        if spelled in opened.folders:
            folder = opened.folder(spelled)
            return folder, _pictures_of(folder.names)
        if inside in opened.folders and is_numbered(pattern):
            folder, refused = opened.folder(inside), "numbered pictures"
            if any(map(frame_number_pattern(pattern, where)[0].fullmatch, folder.names)):
                return folder, _numbered(pattern, folder.names, where)
    raise SltError(f"{where}: no such {refused}")


def _pictures_of(names: Sequence[str]) -> list[str]:
    found = [name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return sorted(found, key=natural_key)


def _listed(folder: Path, root: Path | None) -> list[str]:
    with os.scandir(folder) as entries:
        files = [(entry.name, entry.is_symlink()) for entry in entries]
    for name, is_link in files:
        if is_link:
            check_inside(folder / name, root)
    return [name for name, _ in files]


def _numbered(name: str, candidates: list[str], where: str) -> list[str]:
    """File names in frame order; raises SltError if a number is missing between the first and the last."""
    pattern, template = frame_number_pattern(name, where)
    matches = [match for match in map(pattern.fullmatch, candidates) if match]
    present = {int(match.group(1)) for match in matches if template.format(int(match.group(1))) == match.group()}
    if not present:
        raise SltError(f"{where}: no such numbered pictures")
    start, end = (0 if 0 in present else 1), max(present)
    missing = next((number for number in range(start, end) if number not in present), None)
    if missing is not None:
        raise SltError(f"{where}: frame {template.format(missing)} is missing, later ones up to number {end} exist")
    return [template.format(number) for number in range(start, end + 1)]
