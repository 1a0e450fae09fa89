"""Clips that cannot be read: which errors say so, in what words, and what can be seen before anything is decoded."""

from pathlib import Path

from slt_pipeline.config.video import SamplingConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError
from slt_pipeline.video.reader import require_media

UNREADABLE = (SltError, OSError, MemoryError)
"""What reading a clip raises for the clip's own sake: it is damaged, away, closed to the user, or too large."""


def reason_of(error: BaseException) -> str:
    """Return one line on why a clip could not be read."""
    if isinstance(error, MemoryError):
        return "not enough memory to read it"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def require_a_step(num_frames: int, sampling: SamplingConfig, name: str) -> None:
    """Refuse a clip that is too short for a single step of the encoder.

    Raises:
        SltError: both lengths.
    """
    if num_frames < sampling.multiple:
        frames = "frame" if num_frames == 1 else "frames"
        raise SltError(f"{name}: {num_frames} {frames}, at least {sampling.multiple} are needed; leave the clip out")


def why_unusable(clip: Clip, root: Path | None, sampling: SamplingConfig) -> str | None:
    """Return why a clip is of no use, as far as the manifest and a look at names and sizes tell; None: try it."""
    try:
        require_a_step(clip.num_frames, sampling, clip.video)
        require_media(clip.video, root)
    except UNREADABLE as error:
        return reason_of(error)
    return None
