"""Optimiser groups and learning-rate schedules (FACTS 8.1)."""

import difflib
import math
from collections.abc import Mapping, Sequence

import torch

from slt_pipeline.config.training import OptimiserConfig, ScheduleConfig
from slt_pipeline.errors import SltError

BLOCKS = tuple(f"s3d.{number}" for number in range(1, 6))
"""Parameter groups of the blocks of the backbone."""
GROUPS = ("s3d", *BLOCKS, "recognition", "mapper", "translation", "variational")
"""Parameter groups of the systems here: a rate for one that a model lacks is no mistake, recipes share their rates."""
LIKE = {"variational": "translation", **dict.fromkeys(BLOCKS, "s3d"), "s3d": "recognition"}
"""The group whose rate one without a rate of its own has (FACTS 8.1, 9.2)."""


def build_optimiser(
    config: OptimiserConfig, parameter_groups: Mapping[str, Sequence[torch.nn.Parameter]]
) -> torch.optim.Optimizer:
    """Return Adam with a rate for each parameter group; of their parameters it takes those that are not frozen.

    Args:
        config: kind, rates and the rest.
        parameter_groups: parameters by group, such as `recognition`, `mapper`, `translation`.

    Raises:
        SltError: a rate is for a group that no model has, or a group has none.
    """
    known = ["default", *dict.fromkeys((*parameter_groups, *GROUPS))]
    for name in config.lr:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise SltError(
                f"training.optimiser.lr names {name}, but the model's parameter groups are "
                f"{', '.join(parameter_groups)}; the nearest name is {nearest}"
            )
    groups = []
    for name, parameters in parameter_groups.items():
        rate = next((config.lr[key] for key in (*_likes(name), "default") if key in config.lr), None)
        if rate is None:
            raise SltError(f"training.optimiser.lr has no rate for {name} and no `default`")
        trained = [p for p in parameters if p.requires_grad]
        if trained:
            groups.append({"params": trained, "lr": rate, "base_lr": rate, "name": name})
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    # fused: one pass over all parameters, 3 to 4 times as fast on a CPU, the same update
    return kind(groups, lr=0.0, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True)


def _likes(name: str) -> list[str]:
    """Return a group and those whose rates it may have, nearest first."""
    return [name, *_likes(LIKE[name])] if name in LIKE else [name]


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its base rate times `factor`."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor


def rate_factor(config: ScheduleConfig, *, epoch: int, step: int, epochs: int, total_steps: int) -> float:
    """Return the factor on the base rates while optimiser step `step` (from 0) of epoch `epoch` (from 0) runs.

    A closed form of the position, so that there is no scheduler state to lose.
    """
    if config.name == "cosine-epoch":
        t_max = config.t_max or epochs
        return (1 + math.cos(math.pi * (epoch + 1) / t_max)) / 2
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.name == "constant":
        return warm
    if step < config.warmup_steps:
        return warm
    span = max(1, total_steps - config.warmup_steps)
    return (1 + math.cos(math.pi * (step - config.warmup_steps) / span)) / 2


def unfinished(config: ScheduleConfig, epochs: int, steps: int) -> list[str]:
    """Return what to say of a schedule with which a run of so many epochs and optimiser steps comes to nothing.

    That is one that ends within its warm-up, or has rate 0 all the time.
    """
    factors = (rate_factor(config, epoch=epoch, step=0, epochs=epochs, total_steps=steps) for epoch in range(epochs))
    if config.name == "cosine-epoch" and max(factors) == 0:
        return [
            f"schedule.name is cosine-epoch, and the run has {epochs} epoch, which is the last and has rate 0: it "
            "learns nothing; set schedule.name=cosine-step, or more epochs"
        ]
    if config.warmup_steps < steps or not config.warmup_steps:
        return []
    return [
        f"schedule.warmup_steps is {config.warmup_steps}, and the run has {steps} steps: it ends warming up; lower it"
    ]
