"""CV-SLT in the one loop: killed in the middle of the warm-up it goes on bit for bit, and two processes train as one.

Run as a program this file forks: one process trains and kills itself, two train together over gloo.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file
from test_second_translator import CLIPS, MBART, TEXTS, TOKENIZER, decode, make_store
from torch import nn

from cache import FeatureStore
from slt_pipeline.config.objective import Ramp
from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.config.translator import CVSLTConfig, MapperConfig
from slt_pipeline.corpora.features import FeatureDataset, as_it_is
from slt_pipeline.corpora.labels import TextLabels
from slt_pipeline.files import read_json_lines
from slt_pipeline.models.build import build_translator
from slt_pipeline.models.cvslt import CVSLT
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import StoredTap
from slt_pipeline.training.checkpoint import list_checkpoints
from slt_pipeline.training.loop import train
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.trainable import Trainable

WARM_UP = 12
WEIGHTS = {
    "prior": 1.0,
    "posterior": 1.0,
    "gaussian_kl": Ramp(to=0.05, over=WARM_UP),
    "output_kl": Ramp(to=1.0, over=WARM_UP),
}
KILLED_AT, EPOCHS_TOGETHER = 7, 3


def train_cvslt(root: Path, store: FeatureStore, before: Callable[[dict], None] = lambda losses: None, **changes):
    """Train, calling `before` with the losses of every forward pass."""
    torch.manual_seed(2)
    mbart = MBART.model_copy(update={"dropout": changes.pop("dropout", 0.03)})
    config = CVSLTConfig(mbart=mbart, mapper=MapperConfig(input="s3d"), latent=4, label_smoothing=0.0)
    model = SignToText(StoredTap("s3d"), build_translator(config, TOKENIZER, in_features=7))
    objective = Objective(WEIGHTS)

    def losses(network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = network(batch, objective.parts)
        before(found)
        return found

    trainable = Trainable(
        model=model,
        parameter_groups=model.parameter_groups(objective.parts),
        dataset=FeatureDataset(store, "s3d", CLIPS, TextLabels(TOKENIZER)),
        num_items=len(CLIPS),
        collate=as_it_is,
        losses=losses,
        objective=objective,
        validate=lambda _: {"right": sum(a == b for a, b in zip(decode(model, store), TEXTS, strict=True))},
        score="right",
        higher_is_better=True,
    )
    settings = {"epochs": 12, "batch_size": 3, "log_every": 1, "validate_every": 12}
    settings |= {"optimiser": {"lr": {"mapper": 0.003, "translation": 0.01}}, "schedule": {"name": "constant"}}
    config = TrainingConfig.model_validate(settings | changes)
    train(trainable, config, root, seed=1, device=torch.device("cpu"), title="cvslt")
    return model.eval()


TOGETHER = {"epochs": EPOCHS_TOGETHER, "batch_size": 1, "dropout": 0.0}
"""Six clips an epoch: batch 0 and 1, 2 and 3, 4 and 5 are a step, of one process that accumulates or of two."""


def noise_by_shape(model: CVSLT, like: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Both noises as a function of the batch alone: in training every process draws its own."""
    if not model.training:
        return None, None
    generator = torch.Generator().manual_seed(like.shape[1])
    return torch.randn(like.shape, generator=generator), torch.randn(like.shape, generator=generator)


def train_with_that_noise(root: Path, store: FeatureStore, **changes) -> list[dict[str, float]]:
    """Train; the losses of every forward pass of this process."""
    seen: list[dict[str, float]] = []

    def note(found: dict[str, torch.Tensor]) -> None:
        seen.append({name: float(value.detach()) for name, value in found.items()})

    with patch.object(CVSLT, "_noise", noise_by_shape):
        train_cvslt(root, store, note, **(TOGETHER | changes))
    return seen


# --- tests


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, store) -> tuple[Path, SignToText]:
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train_cvslt(folder, store)


@pytest.fixture(scope="module")
def processes(tmp_path_factory, store) -> Path:
    """What the program left: `killed/`, and of the two `together/`, `losses-0.json` and `losses-1.json`."""
    root = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    program = [sys.executable, __file__, str(root), str(store.path)]
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    return root


def test_both_paths_learn_while_the_divergences_warm_up(unbroken):
    folder, _ = unbroken
    records = [r for r in read_json_lines(folder / "metrics.jsonl") if r["split"] == "train"]
    assert [round(r["weights"]["output_kl"] * WARM_UP) for r in records[: WARM_UP + 2]] == [
        *range(WARM_UP + 1),
        WARM_UP,
    ]
    assert all(r["losses"].keys() == WEIGHTS.keys() for r in records)
    assert all(records[0]["losses"][name] > 2 * records[-1]["losses"][name] for name in ("prior", "posterior"))


def test_killed_in_the_middle_of_the_warm_up_it_goes_on_to_the_same_end_bit_for_bit(unbroken, store, processes):
    folder, expected = unbroken
    stopped = list_checkpoints(processes / "killed" / "checkpoints")[-1].meta["step"]
    assert stopped == KILLED_AT - 1 < WARM_UP
    model = train_cvslt(processes / "killed", store)
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert (processes / "killed" / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


def test_two_processes_have_the_losses_and_the_weights_of_one(store, processes, tmp_path):
    """Of one that accumulates two batches. Dropout is off and the noise a function of the batch."""
    one = train_with_that_noise(tmp_path, store, accumulate=2)
    ranks = [json.loads((processes / f"losses-{rank}.json").read_text()) for rank in (0, 1)]
    assert len(one) == 2 * len(ranks[0]) == 2 * len(ranks[1]) == len(CLIPS) * EPOCHS_TOGETHER
    for number, (first, second) in enumerate(zip(*ranks, strict=True)):
        assert one[2 * number] == pytest.approx(first, rel=1e-4), number
        assert one[2 * number + 1] == pytest.approx(second, rel=1e-4), number
    steps = len(CLIPS) // 2 * EPOCHS_TOGETHER
    found, expected = (
        load_file(root / "checkpoints" / f"step-{steps:08d}" / "weights.safetensors")
        for root in (processes / "together", tmp_path)
    )
    start = train_cvslt(tmp_path / "start", store, **{**TOGETHER, "optimiser": {"lr": {"default": 0.0}}, "epochs": 1})
    for name, value in expected.items():
        moved = (value - start.state_dict()[name]).norm()
        assert (found[name] - value).norm() <= 1e-2 * moved + 1e-6, name


# --- the program


def forked(run: Callable[[], None], **environment: str) -> int:
    """Run something in a process of its own and return its number."""
    if child := os.fork():
        return child
    os.environ.update(environment)
    try:
        run()
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def die_in_the_warm_up(root: Path, store: FeatureStore) -> None:
    seen = []

    def before(found: dict[str, torch.Tensor]) -> None:
        seen.append(found)
        if len(seen) == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    train_cvslt(root, store, before, checkpoint_minutes=1e-9)


def be_one_of_two(root: Path, store: FeatureStore, rank: int) -> None:
    seen = train_with_that_noise(root / "together", store, batch_size=2)
    (root / f"losses-{rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    folder, features = Path(sys.argv[1]), FeatureStore.open(sys.argv[2])
    killed = forked(lambda: die_in_the_warm_up(folder / "killed", features))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    pair = [
        forked(lambda rank=rank: be_one_of_two(folder, features, rank), **where, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in (0, 1)
    ]
    assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == -signal.SIGKILL
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in pair] == [0, 0]
