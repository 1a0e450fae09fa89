"""Clips stored as single pictures: a folder, numbered files, or members of a zip archive."""

import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from slt_pipeline.errors import SltError
from slt_pipeline.video.base import Indices, Video, in_order
from slt_pipeline.video.paths import check_inside, frame_number_pattern
from slt_pipeline.video.picture import decode_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_MAX_PICTURE_BYTES = 256 * 2**20
"""A zip member that unpacks to more is refused before it is unpacked."""


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
    """Pictures inside a zip, by a printf pattern or a folder of the archive. The archive is opened once per process."""
    prefix, frames = _zipped_pictures(archive, member)
    return PictureVideo(f"{archive}!{member}", frames, lambda frame: _open_zip(archive).read(prefix + frame), fps)


def folder_pictures(folder: Path, root: Path | None) -> list[str]:
    """Return the names of a folder's pictures in natural order."""
    return _pictures_of(_listed(folder, root))


def numbered_pictures(pattern: Path, root: Path | None) -> list[str]:
    """Return the names that a printf pattern stands for, in the order of their numbers."""
    if not pattern.parent.is_dir():
        raise SltError(f"{pattern}: its folder {pattern.parent} does not exist")
    return _numbered(pattern.name, _listed(pattern.parent, root), str(pattern))


def zip_members(archive: Path, member: str) -> list[tuple[str, int, int]]:
    """Return name, checksum and size of a clip's pictures inside a zip, as the archive's directory says."""
    prefix, frames = _zipped_pictures(archive, member)
    return [(frame, *_open_zip(archive).facts(prefix + frame)) for frame in frames]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts frame2 before frame10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", name)]


def _zipped_pictures(archive: Path, member: str) -> tuple[str, list[str]]:
    """Return the folder inside an archive, `/` at its end, and the names of a clip's pictures in it, in order."""
    folders = _open_zip(archive).folders
    if member in folders:
        return f"{member}/", _pictures_of(folders[member])
    folder, _, pattern = member.rpartition("/")
    return f"{folder}/" if folder else "", _numbered(pattern, folders.get(folder, []), f"{archive}!{member}")


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


class _Zip:
    """An open archive and its member names by folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise SltError(f"{path}: no such zip archive")
        try:
            self._file = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise SltError(f"{path}: not a readable zip archive: {_one_line(error)}") from None
        self.folders: dict[str, list[str]] = {}
        for member in self._file.namelist():
            folder, _, name = member.rpartition("/")
            if name:
                self.folders.setdefault(folder, []).append(name)

    def facts(self, member: str) -> tuple[int, int]:
        """Return checksum and size of a file, as the archive's directory says."""
        info = self._file.getinfo(member)
        return info.CRC, info.file_size

    def read(self, member: str) -> bytes:
        """Unpacked bytes of a member."""
        try:
            info = self._file.getinfo(member)
            if info.file_size > _MAX_PICTURE_BYTES:
                raise SltError(f"{self.path}!{member}: unpacks to {info.file_size} bytes, more than a picture would")
            return self._file.read(info)
        except (KeyError, zipfile.BadZipFile, OSError, RuntimeError, EOFError, NotImplementedError) as error:
            raise SltError(f"{self.path}!{member}: cannot be unpacked: {_one_line(error)}") from None
        except Exception as error:  # zlib.error and its kin in other compressors share no base class
            raise SltError(f"{self.path}!{member}: cannot be unpacked: {_one_line(error)}") from None


_OPEN: dict[tuple[int, str, int, int], _Zip] = {}
_MAX_OPEN = 8


def _open_zip(path: Path) -> _Zip:
    """The archive, opened once per process: a file position shared over a fork would mix up the readers."""
    try:
        status = path.stat()
    except OSError:
        raise SltError(f"{path}: no such zip archive") from None
    key = (os.getpid(), str(path), status.st_mtime_ns, status.st_size)
    if key not in _OPEN:
        while len(_OPEN) >= _MAX_OPEN:
            _OPEN.pop(next(iter(_OPEN)))
        _OPEN[key] = _Zip(path)
    return _OPEN[key]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
