"""Batch norms over several processes: the statistics, gradients and running values of the whole batch."""

import json
from pathlib import Path

import pytest
import torch
from several import run
from torch.nn.parallel import DistributedDataParallel

from slt_pipeline.config.encoder import EncoderConfig
from slt_pipeline.models.batch_norm import BatchNorm1d, BatchNorm3d
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.training import distributed

pytestmark = pytest.mark.long

EXACT = torch.float64
SHAPES = {"1": (7, 4), "3": (5, 4, 3, 2, 2)}


def write(folder: str, data) -> None:
    path = Path(folder) / f"found-{distributed.rank()}-of-{distributed.world()}.json"
    path.write_text(json.dumps(data), encoding="utf-8")


def found(folder: Path, world: int) -> list:
    return [json.loads((folder / f"found-{rank}-of-{world}.json").read_text()) for rank in range(world)]


def normalise(folder: str) -> None:
    """Outputs and gradients of this process's share, and what it has learnt."""
    distributed.join()
    told = {}
    for kind, shape in SHAPES.items():
        generator = torch.Generator().manual_seed(4)
        x, target = (torch.randn(shape, generator=generator, dtype=EXACT) for _ in range(2))
        norm = (BatchNorm1d if kind == "1" else BatchNorm3d)(4).to(EXACT)
        mine = x[distributed.rank() :: distributed.world()].clone().requires_grad_()
        y = norm(mine)
        ((y - target[distributed.rank() :: distributed.world()]) ** 2).sum().backward()
        assert mine.grad is not None
        told[kind] = {
            "y": y.detach().flatten(1).tolist(),
            "dx": mine.grad.flatten(1).tolist(),
            "weight": sum(distributed.gathered(norm.weight.grad)).tolist(),
            "bias": sum(distributed.gathered(norm.bias.grad)).tolist(),
            "mean": norm.running_mean.tolist(),
            "var": norm.running_var.tolist(),
            "tracked": int(norm.num_batches_tracked),
        }
    write(folder, told)


def train_encoder(folder: str) -> None:
    """Five steps of S3D and the visual head with CTC, in double precision, on batches of three clips."""
    distributed.join()
    rank, world = distributed.rank(), distributed.world()
    torch.manual_seed(0)
    head = {"hidden": 16, "feedforward": 16, "dropout": 0.0}
    config = {"s3d": {"width": 0.03, "norm_momentum": 0.1, "freeze_blocks": 0}, "head": head}
    encoder = VisualEncoder(EncoderConfig.model_validate(config), 7).to(EXACT)
    model = DistributedDataParallel(encoder, broadcast_buffers=False) if world > 1 else encoder
    optimiser = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    lengths, labels = torch.tensor([24, 16, 20]), torch.tensor([[4, 5], [6, 4], [5, 5]])
    told = []
    for _ in range(5):
        frames = torch.rand(3, 3, 24, 32, 32, generator=generator, dtype=EXACT)
        mine = list(range(rank, 3, world))
        taps = model(frames[mine], lengths[mine])
        loss = ctc_loss(taps.gloss_logits, taps.lengths, labels[mine], torch.tensor([2, 2, 2])[mine])
        (loss * len(mine) * world / 3).backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in encoder.parameters() if p.grad is not None])
        optimiser.step()
        optimiser.zero_grad()
        told.append([sum(distributed.gathered(float(loss) * len(mine))) / 3, float(norm)])
    write(folder, told)


def lose(folder: str) -> None:
    """The part of this process in the CTC loss of five clips, of which some have no gloss."""
    distributed.join()
    rank, world = distributed.rank(), distributed.world()
    logits = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(1))
    told = []
    for lengths in ([2, -1, -1, -1, 2], [2, 2, 2, 2, 2], [-1, -1, -1, -1, -1], [-1, 0, -1, -1, -1]):
        mine = list(range(rank, 5, world))
        labels = torch.tensor([[4, 5]] * len(mine))
        loss = ctc_loss(logits[mine], torch.full((len(mine),), 6), labels, torch.tensor(lengths)[mine])
        told.append(float(loss) * len(mine) / 5)
    write(folder, told)


@pytest.mark.parametrize("world", [2, 3])
def test_ctc_is_the_mean_over_the_clips_of_the_batch_that_have_glosses(tmp_path, world):
    for each in (1, world):
        ended = run(each, tmp_path, lose, str(tmp_path))
        assert ended.codes == [0] * each, ended.log
    (one,), several = found(tmp_path, 1), found(tmp_path, world)
    assert [sum(parts) for parts in zip(*several, strict=True)] == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("world", [2, 3])
def test_norms_compute_over_all_processes_what_one_computes(tmp_path, world):
    for each in (1, world):
        ended = run(each, tmp_path, normalise, str(tmp_path))
        assert ended.codes == [0] * each, ended.log
    (one,), several = found(tmp_path, 1), found(tmp_path, world)
    for kind in SHAPES:
        for rank, own in enumerate(several):
            for name in ("y", "dx"):
                expected = torch.tensor(one[kind][name], dtype=EXACT)[rank::world]
                torch.testing.assert_close(torch.tensor(own[kind][name], dtype=EXACT), expected, rtol=1e-9, atol=1e-9)
            for name in ("weight", "bias", "mean", "var", "tracked"):
                assert own[kind][name] == pytest.approx(one[kind][name], rel=1e-9, abs=1e-9), name


def test_the_visual_encoder_trains_as_in_one_process(tmp_path):
    for world in (1, 2):
        ended = run(world, tmp_path, train_encoder, str(tmp_path))
        assert ended.codes == [0] * world, ended.log
    (one,), (two, other) = found(tmp_path, 1), found(tmp_path, 2)
    assert two == other
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, rel=1e-5)  # CTC itself is in float32
