"""The one table of taps: what a V-L mapper can read of the visual stack, and how that follows from what is stored."""

from dataclasses import dataclass
from typing import Literal

Stream = Literal["s3d", "gloss_rep", "gloss_logits"]
"""What a store holds of every step. (Elsewhere in the field a stream is a modality; on disk the word stays.)"""
TapName = Literal["gloss_rep", "gloss_logits", "gloss_probs", "s3d"]


@dataclass(frozen=True)
class Tap:
    """One place where the mapper can tap the visual stack."""

    stream: Stream
    """The stored stream that it is made of, and whose width it has."""
    activation: Literal["softmax"] | None = None
    """What is applied to the stream, over its width."""


TAPS: dict[TapName, Tap] = {
    "gloss_rep": Tap("gloss_rep"),
    "gloss_logits": Tap("gloss_logits"),
    "gloss_probs": Tap("gloss_logits", "softmax"),
    "s3d": Tap("s3d"),
}
STREAMS: tuple[Stream, ...] = ("s3d", "gloss_rep", "gloss_logits")
