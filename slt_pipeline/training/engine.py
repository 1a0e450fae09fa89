"""How a batch changes a model: autocast, loss scaling, and gradients over all processes."""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.training import distributed
from slt_pipeline.training.devices import require_precision

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Engine:
    """A model and its optimiser on one device, in step with those of the other processes."""

    def __init__(
        self, model: torch.nn.Module, optimiser: torch.optim.Optimizer, config: TrainingConfig, device: torch.device
    ):
        """Take a model that is on the device already.

        Raises:
            SltError: the device cannot compute in the precision.
        """
        require_precision(device, config.precision)
        self.bare, self.optimiser, self.device = model, optimiser, device
        self._dtype = _DTYPES.get(config.precision)
        self._clip_norm = config.optimiser.clip_norm
        self._scaler = torch.amp.GradScaler(device.type) if config.precision == "fp16" else None
        self._average = _average(model, config.averaging) if config.averaging else None
        self.model: torch.nn.Module = model
        if distributed.world() > 1:
            self.model = _in_step(model, device)

    @property
    def result(self) -> torch.nn.Module:
        """The model that is validated and saved: the running mean of the weights, or the trained ones themselves."""
        return self._average.module if self._average else self.bare

    def autocast(self) -> AbstractContextManager:
        """Return the number format of the forward pass."""
        return torch.autocast(self.device.type, self._dtype) if self._dtype else nullcontext()

    def apart(self) -> AbstractContextManager:
        """Return a block in which gradients stay in this process: those of a later pass bring them along."""
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a scalar loss to what is there."""
        (self._scaler.scale(loss) if self._scaler else loss).backward()

    def step(self, *, measure: bool) -> float | None:
        """Update the parameters and forget their gradients.

        Args:
            measure: whether to return the norm of the gradient, before it is clipped.
        """
        norm, parameters = None, [p for group in self.optimiser.param_groups for p in group["params"]]
        if measure or self._clip_norm is not None:
            if self._scaler:
                self._scaler.unscale_(self.optimiser)
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            if self._clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, self._clip_norm, norm)
        if self._scaler:
            self._scaler.step(self.optimiser)
            self._scaler.update()
        else:
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self._average:
            self._average.update_parameters(self.bare)
        return float(norm) if measure and norm is not None else None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it beside the weights."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "scaler": self._scaler.state_dict() if self._scaler else None,
            **({"trained": self.bare.state_dict(), "averaged": int(self._average.n_averaged)} if self._average else {}),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned; `result` holds the weights that were saved beside it already."""
        if self._average:
            self.bare.load_state_dict(state["trained"])
            self._average.n_averaged.fill_(state["averaged"])
        self.optimiser.load_state_dict(dict(state["optimiser"]))
        if self._scaler and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])


def _average(model: torch.nn.Module, decay: float) -> AveragedModel:
    """Return the running mean of a model's weights: a copy, to which the weights after every step are added."""

    @torch.no_grad()
    def add(means: PARAM_LIST, values: PARAM_LIST, steps: torch.Tensor | int) -> None:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        for mean, value in zip(means, values, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - kept)
            else:
                mean.copy_(value)

    average = AveragedModel(model, multi_avg_fn=add, use_buffers=True)
    average.n_averaged.fill_(1)  # the weights that training starts from count: the mean is one from the first step on
    return average


def _in_step(model: torch.nn.Module, device: torch.device) -> DistributedDataParallel:
    """Wrap a model whose buffers are the same everywhere without being sent: batch norms share their statistics."""
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")  # of 1x1x1 kernels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the option has another name from torch 2.14 on
        return DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
        )


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, a mapping, with those that lie in lists."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, list):
        return [to_device(value, device) for value in batch]
    if isinstance(batch, Mapping):
        return {name: to_device(value, device) for name, value in batch.items()}
    return batch
