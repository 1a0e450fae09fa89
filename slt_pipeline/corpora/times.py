"""When each gloss of a clip is signed, where its manifest says so."""

from slt_pipeline.corpora.clip import Clip

SPANS = "spans"
"""Key of a clip's `extra`: first and last-plus-one frame of each gloss."""


def reference_times(clip: Clip) -> list[tuple[float, float]] | None:
    """Return start and end of each gloss in seconds; None where `extra` does not hold two frames for each."""
    spans = (clip.extra or {}).get(SPANS)
    if not clip.gloss or not isinstance(spans, list) or len(spans) != len(clip.gloss):
        return None
    if not all(isinstance(span, list) and len(span) == 2 and _are_frames(*span) for span in spans):
        return None
    return [(start / clip.fps, end / clip.fps) for start, end in spans]


def _are_frames(start: object, end: object) -> bool:
    return isinstance(start, int | float) and isinstance(end, int | float) and 0 <= start <= end
