"""A second system is a subclass: it trains, resumes and decodes, and nothing outside this file knows of it.

Its decoder reads mBART's states through a bridge, and it learns from the bridged states and from the plain ones. Run as
a program this file trains in the folder given, and kills itself in the middle of a step.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cache import FeatureStore, StreamSpec
from slt_pipeline.config.objective import Ramp
from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.config.translator import MapperConfig, MBartConfig, MMTLBConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset, as_it_is
from slt_pipeline.corpora.labels import TextLabels
from slt_pipeline.files import read_json_lines
from slt_pipeline.models.label_smoothing import label_smoothed_loss
from slt_pipeline.models.mbart import PAD_ID
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import StoredTap
from slt_pipeline.models.translator import Translator
from slt_pipeline.text.train_tokenizer import train_tokenizer
from slt_pipeline.training.checkpoint import list_checkpoints
from slt_pipeline.training.loop import train
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.trainable import Trainable

TEXTS = [f"im {place} gibt es {thing} ." for place in ("norden", "süden") for thing in ("regen", "schnee", "wind")]
CLIPS = [Clip(f"{i}", f"{i}.mp4", 24, 25.0, "anna", None, text, "train") for i, text in enumerate(TEXTS)]
TOKENIZER = train_tokenizer(TEXTS)
RATES = {"mapper": 0.003, "translation": 0.01, "bridge": 0.005}
NUM_STEPS = 80
MBART = MBartConfig(
    d_model=32,
    num_layers=1,
    num_heads=2,
    ffn_dim=32,
    max_positions=40,
    dropout=0.03,
    attention_dropout=0,
    position_std=0.2,
)


class Bridged(Translator):
    """`plain`: the text from mBART's own states; `bridged`: from those that have passed the bridge."""

    parts = frozenset({"plain", "bridged"})

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.bridge = nn.Linear(self.mbart.config.d_model, self.mbart.config.d_model)

    def states(self, source):
        states = self.encode(source)
        return states + torch.tanh(self.bridge(states))

    def losses(self, source, batch, parts):
        states = {"plain": self.encode, "bridged": self.states}
        return {name: self._loss(states[name](source), source, batch) for name in sorted(self.parts & set(parts))}

    def parameter_groups(self, parts):
        bridge = {"bridge": list(self.bridge.parameters())} if "bridged" in parts else {}
        return super().parameter_groups(parts) | bridge

    def _loss(self, states: Tensor, source, batch) -> Tensor:
        logits = self.decode(states, source.mask, batch["decoder_input_ids"])
        return label_smoothed_loss(logits, batch["labels"], self.config.label_smoothing, PAD_ID)


def make_store(path: Path) -> FeatureStore:
    streams = {"s3d": StreamSpec(7, "float16")}
    with FeatureStore.create(path, streams=streams, fingerprint={}, durable=False).writer() as writer:
        for number, clip in enumerate(CLIPS):
            features = torch.randn(4 + number, 7, generator=torch.Generator().manual_seed(number))
            writer.write(clip.id, {"s3d": features.half().numpy()})
    return FeatureStore.open(path)


def build(weights) -> tuple[SignToText, Objective]:
    torch.manual_seed(2)
    config = MMTLBConfig(mbart=MBART, mapper=MapperConfig(input="s3d"), suffix="txt", label_smoothing=0.0)
    return SignToText(StoredTap("s3d"), Bridged(config, TOKENIZER, in_features=7)), Objective(weights)


WEIGHTS = {"plain": 1.0, "bridged": Ramp(to=2.0, over=8)}


def train_bridged(root: Path, store: FeatureStore, before: Callable[[], None] = lambda: None, **changes) -> SignToText:
    """Train, calling `before` before every step."""
    model, objective = build(changes.pop("weights", WEIGHTS))

    def losses(network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        before()
        return network(batch, objective.parts)

    trainable = Trainable(
        model=model,
        parameter_groups=model.parameter_groups(objective.parts),
        dataset=FeatureDataset(store, "s3d", CLIPS, TextLabels(TOKENIZER)),
        num_items=len(CLIPS),
        collate=as_it_is,
        losses=losses,
        objective=objective,
        validate=lambda m: {"right": sum(a == b for a, b in zip(decode(m, store), TEXTS, strict=True))},
        score="right",
        higher_is_better=True,
    )
    settings = {"epochs": NUM_STEPS // 2, "batch_size": 3, "log_every": 1, "optimiser": {"lr": RATES}}
    settings |= {"schedule": {"name": "constant"}, "validate_every": 20}
    config = TrainingConfig.model_validate(settings | changes)
    train(trainable, config, root, seed=1, device=torch.device("cpu"), title="bridged")
    return model.eval()


def decode(model: SignToText, store: FeatureStore) -> list[str]:
    batch = FeatureDataset(store, "s3d", CLIPS, TextLabels(TOKENIZER)).batch(CLIPS)
    return TOKENIZER.decode_batch(model.generate(model.front(batch), num_beams=3, max_length=20).ids)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, store) -> tuple[Path, SignToText]:
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train_bridged(folder, store)


def test_it_learns_to_translate_with_both_losses_weighed_by_the_step(unbroken, store):
    folder, model = unbroken
    assert decode(model, store) == TEXTS
    records = [r for r in read_json_lines(folder / "metrics.jsonl") if r["split"] == "train"]
    assert [r["weights"]["bridged"] for r in records[:10]] == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2]
    assert all(r["losses"].keys() == {"plain", "bridged"} and r["lr"] == RATES for r in records)
    assert records[0]["losses"]["bridged"] > 10 * records[-1]["losses"]["bridged"]


def test_killed_in_the_middle_it_goes_on_to_the_same_end_bit_for_bit(unbroken, store, tmp_path):
    program = [sys.executable, __file__, str(tmp_path), str(store.path)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    killed = subprocess.run(program, env=environment, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    stopped = list_checkpoints(tmp_path / "checkpoints")[-1].meta["step"]
    assert 0 < stopped < NUM_STEPS

    model = train_bridged(tmp_path, store)
    folder, expected = unbroken
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert (tmp_path / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


def test_a_part_of_weight_zero_is_not_made_and_its_parameters_stay(store, tmp_path):
    start, _ = build(WEIGHTS)
    rates = {name: rate for name, rate in RATES.items() if name != "bridge"}
    weights = {"plain": 1.0, "bridged": 0.0}
    model = train_bridged(tmp_path, store, weights=weights, optimiser={"lr": rates}, epochs=1)
    assert torch.equal(model.get_parameter("translator.bridge.weight"), start.get_parameter("translator.bridge.weight"))
    record = read_json_lines(tmp_path / "metrics.jsonl")[0]
    assert record["losses"].keys() == {"plain"} and record["lr"] == rates


if __name__ == "__main__":
    steps = iter(range(NUM_STEPS))

    def die_in_the_middle() -> None:
        if next(steps) == NUM_STEPS // 3 + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    train_bridged(Path(sys.argv[1]), FeatureStore.open(sys.argv[2]), die_in_the_middle, checkpoint_minutes=1e-9)
