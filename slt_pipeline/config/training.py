"""How a model is trained: the part every training stage shares."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slt_pipeline.config.base import Config

Rate = Annotated[float, Field(ge=0, le=100)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimiserConfig(Config):
    """Adam as published (FACTS 8.1): one parameter group per part of the model."""

    name: Literal["adam", "adamw"] = "adam"
    """`adam` applies weight decay as an L2 term of the gradient (as published), `adamw` decouples it."""
    lr: dict[str, Rate] = Field(default={"default": 1e-3}, min_length=1)
    """Learning rate by part (`recognition`, `mapper`, `translation`, ...); `default` serves the parts not named."""
    betas: tuple[Decay, Decay] = (0.9, 0.998)
    """Decay rates of Adam's two moments."""
    eps: float = Field(default=1e-8, gt=0, le=1)
    """Adam's denominator floor."""
    weight_decay: float = Field(default=1e-3, ge=0, le=100)
    """Weight decay of every parameter, biases and norms included (as published)."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest gradient norm; None: no clipping (as published)."""


class ScheduleConfig(Config):
    """Learning rate over time."""

    name: Literal["cosine-epoch", "cosine-step", "constant"] = "cosine-epoch"
    """`cosine-epoch`: as published, epoch e (from 0) runs at (1 + cos(pi (e + 1) / t_max)) / 2, so the last of
    t_max epochs runs at rate 0. `cosine-step`: falls from 1 to 0 over all steps, after a linear warm-up."""
    t_max: int | None = Field(default=None, ge=1)
    """Epochs to reach rate 0 with `cosine-epoch`, behind which it rises again; None: the number of epochs."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear warm-up, with `cosine-step` and `constant`."""

    @model_validator(mode="after")
    def _warms_up_by_steps(self) -> "ScheduleConfig":
        if self.name == "cosine-epoch" and self.warmup_steps:
            raise ValueError(
                f"name is cosine-epoch, which has no warm-up, and warmup_steps is {self.warmup_steps}: "
                "set it to 0, or choose cosine-step"
            )
        return self


class TrainingConfig(Config):
    """One training run."""

    recorded: ClassVar[frozenset[str]] = frozenset(
        {"num_workers", "log_every", "checkpoint_minutes", "keep_last", "gate"}
    )

    epochs: int = Field(default=40, ge=1)
    """Passes over the training split."""
    batch_size: int = Field(default=8, ge=1)
    """Clips of one forward pass, which share the statistics of batch norms. Several processes share them out: the
    machine does not decide the experiment."""
    accumulate: int = Field(default=1, ge=1)
    """Forward passes summed into one optimiser step: the gradient of one batch of all their clips, but for the
    statistics of batch norms, which are those of each forward pass."""
    bucket: bool = False
    """Put clips of similar length in one batch: less padding, slightly less random order."""
    optimiser: OptimiserConfig = OptimiserConfig()
    """Adam and its rates."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Learning rate over time."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Number format of the forward pass; `fp16` and `bf16` by autocast, `fp16` also scales the loss."""
    averaging: float | None = Field(default=None, gt=0, lt=1)
    """Decay of the running mean of the weights, such as 0.999 a step: that mean is what is validated, kept and opened.
    Its first steps decay faster, as (1 + step) / (10 + step). None: the weights as they are trained (as published)."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations; the last epoch is always validated."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Longest time between two checkpoints; one is also written after every validation and on Ctrl-C."""
    keep_last: int = Field(default=1, ge=1)
    """Newest checkpoints kept beside the best one."""
    num_workers: int | None = Field(default=None, ge=0, le=1024)
    """Processes that prepare batches; 0: the training process does it. None: where video is decoded as many as keep a
    GPU busy (at most 8), or one beside a CPU that has two cores or more; else 0."""
    log_every: int = Field(default=10, ge=1)
    """Optimiser steps between two lines of metrics.jsonl."""
    gate: float | None = Field(default=None, ge=0)
    """Dev score that a run should reach before the next stage builds on it: what a run ends with is told beside it."""
