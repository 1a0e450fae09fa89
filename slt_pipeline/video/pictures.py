"""Clips stored as single pictures: a folder, numbered files, or members of a zip archive."""

import io
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from slt_pipeline.errors import SltError
from slt_pipeline.video.paths import check_inside, frame_number_pattern

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_MAX_PICTURE_BYTES = 256 * 2**20
"""A zip member that unpacks to more is refused before it is unpacked."""


class PictureVideo:
    """A clip of picture files, decoded when read. Every frame must have the size of the first."""

    def __init__(self, name: str, frames: list[str], load: Callable[[str], bytes | Path], fps: float) -> None:
        require_pictures(frames, name)
        self.name = name
        self.fps = fps
        self._frames = frames
        self._load = load
        first = self._decode(0, None)
        self.height, self.width = first.shape[:2]
        self._first: np.ndarray | None = first

    @property
    def num_frames(self) -> int:
        """Number of pictures."""
        return len(self._frames)

    def read(self, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """The frames at these indices (any order, repeats allowed), or all: (T, H, W, 3) uint8 RGB."""
        wanted = np.arange(self.num_frames) if indices is None else np.asarray(indices, dtype=np.int64)
        outside = wanted[(wanted < 0) | (wanted >= self.num_frames)]
        if outside.size:
            raise SltError(f"{self.name}: has {self.num_frames} frames; frame {outside[0]} was asked for")
        out = np.empty((len(wanted), self.height, self.width, 3), dtype=np.uint8)
        done: dict[int, int] = {}
        for row, index in enumerate(wanted.tolist()):
            if index in done:
                out[row] = out[done[index]]
            else:
                out[row] = self._decode(index, (self.height, self.width))
                done[index] = row
        return out

    def _decode(self, index: int, size: tuple[int, int] | None) -> np.ndarray:
        if index == 0 and size is not None and self._first is not None:
            return self._first
        frame = self._frames[index]
        try:
            source = self._load(frame)
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
        except SltError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
            raise SltError(f"{self.name}: frame {frame} is not a readable picture: {_one_line(error)}") from None
        if size is not None and pixels.shape[:2] != size:
            (height, width), (got_height, got_width) = size, pixels.shape[:2]
            raise SltError(
                f"{self.name}: frame {frame} is {got_width}x{got_height}, the first frame {width}x{height}; "
                "all frames of a clip have one size"
            )
        return pixels


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
