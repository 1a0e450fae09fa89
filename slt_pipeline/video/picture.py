"""One picture file to upright RGB in 8 bits, with its own brightness; what Pillow warns about reaches nobody."""

import contextlib
import io
import re
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from slt_pipeline.errors import SltError
from slt_pipeline.video.base import require_pixels

_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "TIFF", "GIF")
"""What Pillow may take a picture for, whatever its name. Others run programs, such as PostScript."""
_BITS_OF_TIFF, _MEANING_OF_TIFF, _BLACK_IS_ZERO = 258, 262, 1
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_DEEPER = ("I", "F")


def decode_picture(source: bytes | Path, what: str) -> np.ndarray:
    """Decode a picture: (H, W, 3) uint8 RGB. Transparency is left out.

    Args:
        source: a file's bytes, or its path.
        what: which picture, for messages.

    Raises:
        SltError: it is no picture that can be read, or too large.
    """
    try:
        # By a name Pillow would map the file into memory, where it forgets to turn some.
        file = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with _UNWARNED, file, Image.open(file, formats=_FORMATS) as picture:
            require_pixels(*picture.size, what)
            return _rgb(_upright(picture))
    except SltError:
        raise
    except Image.DecompressionBombError as error:  # more than twice the limit: Pillow raises before the size is known
        pixels = re.search(r"\d+", str(error))
        raise SltError(
            f"{what} has {pixels[0] if pixels else 'too many'} pixels, at most {Image.MAX_IMAGE_PIXELS} are read; "
            "scale it down"
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise SltError(f"{what} is not a readable picture: {' '.join(str(error).split())}") from None


class _Unwarned:
    """A block without warnings that several threads may be in: filters are put back when the last one leaves."""

    def __init__(self):
        self._lock, self._inside, self._filters = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)


_UNWARNED = _Unwarned()


def _upright(picture: Image.Image) -> Image.Image:
    """Turn and mirror a picture as its EXIF orientation says; one that nobody can read turns nothing."""
    picture.load()
    with contextlib.suppress(Exception):  # what Pillow raises over damaged EXIF shares no base class
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode in _SIXTEEN_BITS:
        tags = getattr(picture, "tag_v2", {})
        bits, meaning = tags.get(_BITS_OF_TIFF, (16,)), tags.get(_MEANING_OF_TIFF, _BLACK_IS_ZERO)
        if tuple(bits) != (16,) or meaning != _BLACK_IS_ZERO:
            raise ValueError(f"grey of {bits[0]} bits, kind {meaning}, that is not read; save it in 8 bits")
        grey = (np.asarray(picture).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode in _DEEPER:
        raise ValueError(f"pixels of more than 16 bits (mode {picture.mode})")
    if picture.mode in ("P", "PA") and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.asarray(picture.convert("RGB"))
