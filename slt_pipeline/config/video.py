"""Which frames of a clip are used, and what is done to their pixels."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slt_pipeline.config.base import Config

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=1, le=16_384)]
Triple = tuple[Fraction, Fraction, Fraction]
Scale = Annotated[float, Field(ge=1e-3, le=10)]


class SamplingConfig(Config):
    """Frame selection, as published (FACTS 2.1)."""

    max_frames: int = Field(default=400, ge=1)
    """Longest clip kept, in frames: evaluation takes the middle ones, training never draws more."""
    tmin: Positive = 0.5
    """Training: shortest length drawn, as a fraction of the clip."""
    tmax: Positive = 1.5
    """Training: longest length drawn, as a fraction of the clip."""
    multiple: int = Field(default=4, ge=1)
    """Lengths are multiples of this many frames, the temporal stride of the encoder: evaluation cuts the tail, training
    rounds up."""

    @model_validator(mode="after")
    def _consistent(self) -> "SamplingConfig":
        if self.tmin > self.tmax:
            raise ValueError(f"tmin {self.tmin} is above tmax {self.tmax}")
        if self.max_frames % self.multiple:
            raise ValueError(f"max_frames {self.max_frames} is no multiple of {self.multiple}")
        return self


class TransformConfig(Config):
    """From RGB bytes to the tensor that enters S3D, as published (FACTS 2.2 and 2.3)."""

    pre_crop_top: int = Field(default=0, ge=0)
    """Rows cut off the top of each frame before anything else, in pixels."""
    pre_resize: tuple[Side, Side] | None = None
    """(width, height) that frames are first resized to, as pictures (bicubic, antialiased). CSL-Daily 320x320."""
    max_pixels: int | None = Field(default=110_000, ge=256)
    """Frames of more pixels than this, after that, are made smaller as they are decoded, with their proportions
    (bilinear, antialiased): what bounds the memory. Above PHOENIX's 210x260 and CSL-Daily's 320x320. None: no limit."""
    center_crop: int | None = Field(default=224, ge=1, le=16_384)
    """Evaluation: side of the square cut from the middle before resizing, in pixels; a smaller frame gets black bars.
    PHOENIX 224, CSL-Daily 270. None: the whole frame."""
    image_size: int = Field(default=224, ge=16, le=4096)
    """Side of the square frames that enter the encoder, in pixels."""
    antialias: bool = False
    """Antialias that resize. The published systems did not."""
    color_order: Literal["bgr", "rgb"] = "bgr"
    """Channel order that enters the encoder. The published systems feed BGR; so must anyone who loads their weights."""
    mean: Triple = (0.5, 0.5, 0.5)
    """Subtracted from each channel, in `color_order`, of pixels in [0, 1]."""
    std: tuple[Scale, Scale, Scale] = (0.5, 0.5, 0.5)
    """Each channel is divided by this after the mean is subtracted."""
    jitter_probability: Fraction = 0.3
    """Training: chance that the colours of a clip are jittered."""
    brightness: Fraction = 0.4
    """Jitter: brightness is multiplied by a factor from [1 - x, 1 + x]."""
    contrast: Fraction = 0.4
    """Jitter: the same for contrast."""
    saturation: Fraction = 0.4
    """Jitter: the same for saturation."""
    hue: float = Field(default=0.1, ge=0, le=0.5)
    """Jitter: hue is shifted by up to this part of the colour circle, either way."""
    crop_area: tuple[Fraction, Fraction] = (0.7, 1.0)
    """Training: range of the area of the random crop, as a fraction of the frame."""
    crop_aspect: tuple[Positive, Positive] = (0.75, 1.3)
    """Training: range of the crop's width / height, drawn evenly in its logarithm."""

    @model_validator(mode="after")
    def _consistent(self) -> "TransformConfig":
        for name, (low, high) in (("crop_area", self.crop_area), ("crop_aspect", self.crop_aspect)):
            if not 0 < low <= high:
                raise ValueError(f"{name} must rise from above 0, found {low}, {high}")
        return self


class VideoConfig(Config):
    """Frame selection and pixel transforms of a recipe."""

    recorded: ClassVar[frozenset[str]] = frozenset({"decoder"})  # of weights; a store's account lists it

    sampling: SamplingConfig = SamplingConfig()
    """Which frames."""
    transform: TransformConfig = TransformConfig()
    """What is done to their pixels."""
    decoder: Literal["pyav", "torchcodec", "auto"] = "pyav"
    """What decodes video files in extraction and translation; training and its validation use PyAV. `torchcodec` needs
    the extra `gpu`, and decodes where features are computed; `auto` is torchcodec where that is a GPU that it decodes
    on, else PyAV. A store is made by one of them: their pixels may differ on a GPU."""
