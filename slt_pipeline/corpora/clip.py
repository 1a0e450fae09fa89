"""One video clip with everything a corpus says about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clip:
    """A signing clip: what every importer produces and every stage reads."""

    id: str
    """Unique within a manifest; may contain slashes (PHOENIX names carry their split: `train/...`)."""
    video: str
    """Media reference relative to the manifest's folder: a video file, a folder of images, a printf pattern of
    image files, or `archive.zip!pattern`."""
    num_frames: int
    """Number of video frames."""
    fps: float
    """Frames per second."""
    signer: str
    """Who signs."""
    gloss: tuple[str, ...] | None
    """Glosses in sign order, or None where nobody wrote them down."""
    text: str | None
    """Spoken-language sentence, or None."""
    split: str
    """`train`, `dev` or `test`."""
    alignments: dict[str, tuple[int, ...]] | None = None
    """Per-frame integer labels by name, each num_frames long (PHOENIX: `pami0` gloss states, `pami1` mouth,
    `pami2` hand shape)."""
    frames: tuple[int, int] | None = None
    """Where the clip is a part of the video only: its first frame, from 0, and the one behind its last; num_frames lie
    between them. None: the whole video, or `start` to `end` of it."""
    start: float | None = None
    """Where the clip is a span of a longer video: seconds from the video's first frame. None: from there."""
    end: float | None = None
    """Seconds at which the span ends; frames that begin to be shown there are none of it. None: the video's end."""
    extra: dict | None = None
    """Anything else a corpus knows, as JSON values."""
