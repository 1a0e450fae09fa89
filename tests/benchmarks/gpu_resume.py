"""Training that is broken off and goes on, against training that is not, for the table of `gpu.py`."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slt_pipeline.config.encoder import EncoderConfig, HeadConfig, S3DConfig
from slt_pipeline.config.training import OptimiserConfig, TrainingConfig
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.training.checkpoint import best_checkpoint
from slt_pipeline.training.loop import train
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.trainable import Trainable


def compared(device: torch.device) -> dict[str, str]:
    """Return in a note whether the weights of both are equal, and those of two runs that are not broken off."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: _trained(Path(folder) / name, device, name == "resumed") for name in ("a", "b", "resumed")}

    def apart(one: str, other: str) -> float:
        return max(float((runs[one][k].double() - runs[other][k].double()).abs().max()) for k in runs[one])

    resumed, again = apart("a", "resumed"), apart("a", "b")
    told = "exact" if resumed == 0 else f"weights within {resumed:.1e}"
    return {"note": f"{told}; two unbroken runs: {'equal' if again == 0 else f'within {again:.1e}'}"}


class _Clips(Dataset):
    """Eight small clips of noise by (epoch, index)."""

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        return torch.from_numpy(np.random.default_rng(key).standard_normal((3, 16, 32, 32), np.float32))


def _trained(folder: Path, device: torch.device, broken: bool) -> dict[str, Tensor]:
    """Return the weights after two epochs of four steps."""

    class BreakError(Exception):
        pass

    def trainable(last: int) -> Trainable:
        torch.manual_seed(1)
        config = EncoderConfig(
            s3d=S3DConfig(width=0.25, freeze_blocks=0, norm_momentum=0.1), head=HeadConfig(hidden=64, feedforward=64)
        )
        model, steps = VisualEncoder(config, 20), iter(range(last))

        def losses(encoder: torch.nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            if next(steps, None) is None:
                raise BreakError
            taps = encoder(batch["frames"], batch["frame_lengths"])
            labels = torch.ones(2, 1, dtype=torch.long, device=taps.lengths.device)
            return {"recognition": ctc_loss(taps.gloss_logits, taps.lengths, labels, labels[:, 0])}

        return Trainable(
            model=model,
            parameter_groups={"recognition": list(model.parameters())},
            dataset=_Clips(),
            num_items=8,
            collate=lambda items: {"frames": torch.stack(items), "frame_lengths": torch.full((len(items),), 16)},
            losses=losses,
            objective=Objective({"recognition": 1.0}),
            validate=lambda model: {"none": 0.0},
            score="none",
            higher_is_better=True,
        )

    config = TrainingConfig(
        epochs=2, batch_size=2, checkpoint_minutes=1e-9, optimiser=OptimiserConfig(lr={"default": 1e-3})
    )
    for last in (5, 8) if broken else (8,):
        with suppress(BreakError):
            train(trainable(last), config, folder, seed=1, device=device, title="resume")
    return best_checkpoint(folder, made_by="").weights
