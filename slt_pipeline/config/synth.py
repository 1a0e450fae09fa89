"""Settings of the synthetic signer (`slt data synth`)."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from slt_pipeline.config.base import Config
from slt_pipeline.config.paths import Location

Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class AnnotationsConfig(Config):
    """Which clips of an existing manifest are re-enacted (`source: annotations`)."""

    manifest: Location
    """Path of the manifest with glosses, relative to the working folder."""
    choose: Literal["first", "shortest", "random"] = "first"
    """Which clips of a split are taken when more are eligible than asked for: in file order, the ones with fewest
    frames, or a seeded draw."""
    max_frames: PositiveInt = 400
    """Longer clips are not eligible. Frames."""
    num_glosses: PositiveInt | None = None
    """Only clips made wholly of this many most frequent glosses of the training split are eligible, in every split;
    None takes all."""
    known_glosses_only: bool = False
    """Dev and test clips are eligible only if each of their glosses comes in a chosen training clip."""
    isolated_min_count: PositiveInt = 1
    """One-sign clips are made of glosses that come at least this often in the chosen training clips."""


class SynthConfig(Config):
    """The synthetic corpus: how many clips, of what, and how they look."""

    source: Literal["grammar", "annotations"] = "grammar"
    """Sentences from the built-in weather grammar, or those of an annotated corpus re-enacted."""
    num_train: int = Field(400, ge=0)
    """Training sentences."""
    num_dev: int = Field(60, ge=0)
    """Development sentences; no text of theirs is in the training split (grammar)."""
    num_test: int = Field(60, ge=0)
    """Test sentences; no text of theirs is in the training or development split (grammar)."""
    isolated_per_gloss: int = Field(10, ge=0)
    """Training clips of one sign, for each gloss."""
    isolated_dev_per_gloss: int = Field(2, ge=0)
    """Development clips of one sign, for each gloss."""
    width: int = Field(96, ge=32, le=2048)
    """Pixels; even for mp4."""
    height: int = Field(96, ge=32, le=2048)
    """Pixels; even for mp4."""
    fps: float = Field(25.0, ge=1, le=240)
    """Frames per second written into the video; the motion is planned in frames."""
    container: Literal["mp4", "frames"] = "mp4"
    """H.264 files, or a folder of PNG images for each clip."""
    crf: int = Field(18, ge=0, le=51)
    """H.264 quality, lower is better."""
    gop: PositiveInt = 12
    """H.264 key frame interval in frames."""
    signers: int = Field(6, ge=1, le=100)
    """Number of different signers (grammar; annotations bring their own)."""
    background: Literal["plain", "noisy"] = "plain"
    """One colour a signer, or blobs of colour with camera noise."""
    stroke_frames: Range = (5.5, 7.5)
    """Length of one sign, lowest and highest, before the signer's and the sign's own speed. Frames."""
    transition_frames: Range = (2.5, 4.0)
    """Length of the movement between two signs, lowest and highest. Frames."""
    jitter: float = Field(1.0, ge=0, le=3)
    """How far places, angles and hand shapes stray from one instance of a sign to the next; 0 repeats exactly."""
    nonmanual_strength: float = Field(1.0, ge=0, le=1.5)
    """How far mouth and brows leave neutral; 0 hides the adverbs."""
    annotations: AnnotationsConfig | None = None
    """The corpus to re-enact; required by `source: annotations`, refused by `source: grammar`."""

    @model_validator(mode="after")
    def _consistent(self) -> "SynthConfig":
        if (self.source == "annotations") != (self.annotations is not None):
            raise ValueError("the section `annotations` goes with `source: annotations`, and only with it")
        if self.container == "mp4" and (self.width % 2 or self.height % 2):
            raise ValueError(f"mp4 needs even sizes, got {self.width}x{self.height}; use container: frames")
        for name in ("stroke_frames", "transition_frames"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: lowest {low} is above highest {high}")
        return self
