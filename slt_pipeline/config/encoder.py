"""Sections of a recipe that describe the visual encoder: the S3D backbone and the visual head."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slt_pipeline.config.base import Config


class S3DConfig(Config):
    """The S3D backbone. The defaults are the published network (FACTS 3)."""

    recorded: ClassVar[frozenset[str]] = frozenset({"checkpoint_activations", "memory_gb"})

    use_blocks: int = Field(default=4, ge=1, le=5)
    """Number of leading blocks kept, 1 to 5. Four give T/4 steps of 832 channels; five are the classifier's trunk."""

    freeze_blocks: int = Field(default=1, ge=0, le=5)
    """Number of leading blocks that are never trained and stay in evaluation mode. 0 when training from scratch."""

    width: float = Field(default=1.0, gt=0, le=4)
    """Multiplier of every channel count, rounded to multiples of 8, at least 8. 1.0 is the published network."""

    norm_momentum: float = Field(default=0.001, gt=0, le=1)
    """Momentum of the batch norms' running statistics. 0.001 as published suits long fine-tuning of given weights; a
    run of a few hundred steps from scratch needs about 0.1, or its statistics still show the initial values."""

    checkpoint_activations: bool = False
    """Whether training keeps only what each element of S3D puts out and computes the rest once more for the backward
    pass: the same numbers in more time and less memory (tests/benchmarks/checkpointing.py)."""

    memory_gb: float = Field(default=2.5, gt=0)
    """Memory for one clip in validation, extraction and translation, in GB, about: a clip that needs more is encoded in
    windows of at least 32 frames, with 32 more on either side, and comes out the same."""

    @model_validator(mode="after")
    def _frozen_blocks_exist(self) -> "S3DConfig":
        if self.freeze_blocks > self.use_blocks:
            raise ValueError(
                f"freeze_blocks {self.freeze_blocks} exceeds use_blocks {self.use_blocks}: lower freeze_blocks"
            )
        return self


class HeadConfig(Config):
    """The visual head between the backbone and the gloss classifier. Defaults as published (FACTS 4)."""

    hidden: int = Field(default=512, ge=2, multiple_of=2)
    """Channels of the gloss representation; even, as the positional encoding pairs them."""

    feedforward: int = Field(default=2048, ge=1)
    """Channels inside the residual convolution block."""

    kernel_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(3, 3), min_length=2)
    """Kernel size in steps of each convolution of the residual block, first to last; odd."""

    positional_encoding: bool = True
    """Whether sinusoids of the step's position are added. The published code does; its paper does not mention it."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Probability of dropping an activation, after the positional encoding and after each convolution."""

    padding: Literal["masked", "published"] = "masked"
    """Where clips of a batch differ in length: `masked`, padding is zero to the temporal convolutions, as beyond the
    end of a clip alone; `published`, it is not, and reaches a clip's last steps (FACTS 4)."""

    @model_validator(mode="after")
    def _kernels_are_odd(self) -> "HeadConfig":
        if even := [k for k in self.kernel_sizes if k % 2 == 0]:
            raise ValueError(
                f"kernel_sizes {self.kernel_sizes} holds the even size {even[0]}: use odd sizes, they keep the length"
            )
        return self


class EncoderConfig(Config):
    """The whole visual encoder: frames to gloss logits, and what computes it once it is trained."""

    recorded: ClassVar[frozenset[str]] = frozenset({"engine", "precision"})  # of weights; a store's account lists them

    s3d: S3DConfig = S3DConfig()
    """The backbone."""

    head: HeadConfig = HeadConfig()
    """The visual head."""

    engine: Literal["torch", "compiled", "openvino"] = "torch"
    """What computes S3D in extraction and translation; training and its validation run the module itself. `compiled` is
    torch.compile, which needs a C++ compiler and its time; `openvino` needs the extra of that name, and a CPU."""

    precision: Literal["float32", "bf16"] = "float32"
    """Number format of S3D in extraction and translation. bf16 is faster where the processor has instructions for it
    and refused where it has none; its features are off by less than a hundredth of the largest."""
