"""The losses of a run as they come: read in one go, since to read a number of a GPU is to wait for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from slt_pipeline.errors import SltError
from slt_pipeline.training.runlog import Meter


@dataclass(frozen=True)
class _Pass:
    """One forward pass whose losses were not read yet."""

    where: str
    names: tuple[str, ...]
    values: torch.Tensor
    clips: Sequence[str]
    counts: Mapping[str, float]


@dataclass
class Losses:
    """Keeps the losses of forward passes where they were computed until they are asked for."""

    title: str
    waits: bool
    """Whether reading a number waits for the device; if not, each is read at once."""
    _unread: list[_Pass] = field(default_factory=list)

    def add(
        self,
        meter: Meter,
        total: torch.Tensor,
        losses: Mapping[str, torch.Tensor],
        *,
        where: str,
        clips: Sequence[str],
        counts: Mapping[str, float],
    ) -> None:
        """Take in one pass: its weighted loss, its parts, the names of its clips, and what of them is counted.

        Raises:
            SltError: as `read`.
        """
        values = torch.stack([total.detach(), *(loss.detach().to(total.dtype) for loss in losses.values())])
        self._unread.append(_Pass(where, ("loss", *losses), values, clips, counts))
        if not self.waits:
            self.read(meter)

    def read(self, meter: Meter) -> None:
        """Add what was not read yet to a meter.

        Raises:
            SltError: a loss is not finite.
        """
        for each in self._unread:
            values = dict(zip(each.names, each.values.tolist(), strict=True))
            if not math.isfinite(values["loss"]):
                shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
                raise SltError(
                    f"{self.title}: {each.where} has {shown}, and training cannot go on from there; lower "
                    "training.optimiser.lr, set training.optimiser.clip_norm, or look at its clips: "
                    f"{', '.join(each.clips)}"
                )
            total = values.pop("loss")
            meter.add(total, values, len(each.clips), each.counts)
        self._unread.clear()
