import itertools
import logging
import math
from dataclasses import replace

import pytest
import torch
from toy_run import NUM_ITEMS, Sequences, toy_config, toy_train, toy_trainable

from slt_pipeline.config.objective import Ramp
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines
from slt_pipeline.training.checkpoint import best_checkpoint, list_checkpoints
from slt_pipeline.training.devices import pick_device, require_precision
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.run import Run
from slt_pipeline.training.runlog import RunLog, in_words
from slt_pipeline.training.trainable import REJECTED


def scored(*scores):
    """A validation that gives these scores one after the other."""
    values = itertools.chain(scores)
    return lambda model: {"dev_loss": next(values)}


def test_the_best_checkpoint_is_that_of_the_lowest_score(tmp_path):
    result = toy_train(tmp_path, toy_trainable(validate=scored(3.0, 1.0, 2.0)))
    assert (result.best_step, result.best_score) == (10, 1.0)
    assert read_json(tmp_path / "best.json") == {"step": 10, "dev_loss": 1.0}
    assert [c.meta["step"] for c in list_checkpoints(tmp_path / "checkpoints")] == [10, 15]


def test_of_equal_scores_the_later_one_is_best(tmp_path):
    assert toy_train(tmp_path, toy_trainable(validate=scored(1.0, 2.0, 1.0))).best_step == 15
    assert best_checkpoint(tmp_path, "").meta["step"] == 15


def test_a_score_that_is_no_number_is_never_the_best(tmp_path):
    result = toy_train(tmp_path, toy_trainable(validate=scored(math.nan, 2.0, math.nan)))
    assert (result.best_step, result.best_score) == (10, 2.0)


def test_validation_runs_in_eval_mode_without_gradients_and_training_goes_on_in_train_mode(tmp_path):
    seen = []

    def validate(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return {"dev_loss": 0.0}

    trainable = toy_trainable(validate=validate)
    modes = set()
    trainable.model.register_forward_hook(lambda model, *_: modes.add(model.training))
    toy_train(tmp_path, trainable, epochs=2)
    assert seen == [(False, False)] * 2
    assert modes == {True}


def test_metrics_hold_losses_rates_and_scores_by_step(tmp_path):
    toy_train(tmp_path, epochs=2)
    records = read_json_lines(tmp_path / "metrics.jsonl")
    assert [(r["split"], r["step"], r["epoch"]) for r in records] == [
        ("train", 2, 0),
        ("train", 4, 0),
        ("train", 5, 1),
        ("dev", 5, 1),
        ("train", 6, 1),
        ("train", 8, 1),
        ("train", 10, 2),
        ("dev", 10, 2),
    ]
    assert records[0]["lr"] == {"recognition": 0.01}
    assert records[0]["weights"] == {"recognition": 1.0, "spread": 0.0}
    for record in records:
        if record["split"] == "train":
            assert record["losses"].keys() == {"recognition", "spread"}
            assert record["losses"]["recognition"] == record["loss"] != record["losses"]["spread"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(tmp_path, bad):
    factors = itertools.chain([1.0] * 6, itertools.repeat(bad))
    with pytest.raises(
        SltError, match=rf"toy: step 7, batch 2 of epoch 2 has loss {bad}, recognition {bad}, spread \d"
    ) as stop:
        toy_train(tmp_path, toy_trainable(each_batch=lambda: next(factors)))
    assert "training.optimiser.lr" in str(stop.value)
    (kept,) = list_checkpoints(tmp_path / "checkpoints")
    assert kept.meta["step"] == 5
    assert all(torch.isfinite(weight).all() for weight in kept.weights.values() if weight.is_floating_point())


def test_weights_that_a_finite_loss_has_ruined_are_neither_scored_nor_saved(tmp_path):
    """The loss of step 10, the last of epoch 2, is finite, and its gradient is not."""
    scored, batches = [], itertools.count(1)
    trainable = toy_trainable(validate=lambda model: {"dev_loss": float(scored.append(model) or 1)})

    def losses(head, batch):
        found = trainable.losses(head, batch)
        weight = next(head.parameters())
        ruined = torch.sqrt((weight - weight.detach()).square().sum()) if next(batches) == 10 else 0.0  # 0 / 0
        return {**found, "recognition": found["recognition"] + ruined}

    with pytest.raises(SltError, match=r"toy: after step 10, of epoch 2, .* is not finite"):
        toy_train(tmp_path, replace(trainable, losses=losses))
    assert len(scored) == 1
    (kept,) = list_checkpoints(tmp_path / "checkpoints")
    assert kept.meta["step"] == 5
    assert all(torch.isfinite(weight).all() for weight in kept.weights.values())


def test_accumulated_batches_take_the_step_of_one_large_batch(tmp_path):
    class Squares(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(6))

    def train(name, **changes):
        trainable = toy_trainable()
        model = Squares()
        trainable = replace(
            trainable,
            model=model,
            parameter_groups={"recognition": [model.weight]},
            num_items=12,
            losses=lambda m, b: {"recognition": ((b["features"].mean(1) - m.weight) ** 2).sum(1).mean()},
            validate=lambda m: {"dev_loss": 0.0},
        )
        toy_train(tmp_path / name, trainable, epochs=1, bucket=False, optimiser={"lr": {"default": 0.1}}, **changes)
        return model.weight.detach()

    accumulated, at_once = train("a", batch_size=2, accumulate=3), train("b", batch_size=6)
    assert list_checkpoints(tmp_path / "a/checkpoints")[-1].meta["step"] == 2
    assert at_once.abs().max() > 0.1
    torch.testing.assert_close(accumulated, at_once, atol=0.05, rtol=0)


def test_clipping_bounds_the_gradient(tmp_path):
    trainable = toy_trainable()
    norms = []
    step = torch.optim.Adam.step

    def watched(self, *arguments):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", watched)
        toy_train(tmp_path, trainable, epochs=1, optimiser={"lr": {"default": 0.01}, "clip_norm": 0.5})
    assert len(norms) == 5
    assert max(norms) <= 0.5 + 1e-5


def test_items_are_asked_for_by_epoch_and_index(tmp_path):
    keys = []

    class Watched(Sequences):
        def __getitem__(self, key):
            keys.append(key)
            return super().__getitem__(key)

    toy_train(tmp_path, replace(toy_trainable(), dataset=Watched()), epochs=2)
    assert sorted(keys) == [(epoch, index) for epoch in range(2) for index in range(NUM_ITEMS)]


def test_half_precision_on_the_cpu_is_refused():
    with pytest.raises(SltError, match="fp16 needs a GPU"):
        require_precision(torch.device("cpu"), "fp16")


def test_bfloat16_trains_on_the_cpu(tmp_path):
    result = toy_train(tmp_path, epochs=1, precision="bf16")
    assert math.isfinite(result.best_score)
    assert all(w.dtype != torch.bfloat16 for w in list_checkpoints(tmp_path / "checkpoints")[-1].weights.values())


def test_validation_computes_in_float32_whatever_training_computes_in(tmp_path):
    """As extraction and evaluation do: what chooses a checkpoint and what reports its score compute alike."""
    seen = {"training": set(), "validation": set()}

    def note(module, inputs, output):
        seen["training" if module.training else "validation"].add(output.dtype)

    def validate(model):
        model(torch.randn(1, 8, 6), torch.tensor([8]))
        return {"dev_loss": 0.0}

    trainable = toy_trainable(validate=validate)
    trainable.model.get_submodule("gloss_output_layer").register_forward_hook(note)
    toy_train(tmp_path, trainable, epochs=1, precision="bf16")
    assert seen == {"training": {torch.bfloat16}, "validation": {torch.float32}}


def test_items_that_were_replaced_are_told_at_each_checkpoint_and_things_counted_are_logged(tmp_path):
    told, base = [], toy_trainable()

    def collate(items):
        batch = base.collate(items)
        return {**batch, REJECTED: {"a": "damaged"}} if len(items) == 1 else batch  # the last batch of an epoch

    trainable = replace(
        base,
        collate=collate,
        counts=lambda batch: {"clips": len(batch["lengths"])},
        on_rejected=lambda reasons: told.append(dict(reasons)),
    )
    toy_train(tmp_path, trainable, epochs=2, log_every=100)
    assert told == [{"a": "damaged"}] * 2
    assert [r["clips"] for r in read_json_lines(tmp_path / "metrics.jsonl") if r["split"] == "train"] == [NUM_ITEMS] * 2


def test_scores_on_one_line_have_the_kinds_of_errors_in_brackets():
    scores = {"wer": 22.123, "sub_rate": 10.0, "del_rate": 8.25, "ins_rate": 3.873, "blank_only": 0.0}
    assert in_words(scores) == "wer 22.12 (sub 10, del 8.25, ins 3.87)  blank_only 0"
    assert in_words({"bleu4": 7.0, "rouge": 20.5}) == "bleu4 7  rouge 20.5"


@pytest.mark.parametrize(
    ("gate", "higher", "level", "words"),
    [
        (20.0, False, "INFO", "toy: dev dev_loss expected <= 20, you have 15"),
        (
            10.0,
            False,
            "WARNING",
            "toy: dev dev_loss expected <= 10, you have 15: look at it before you go on, or set training.gate",
        ),
        (10.0, True, "INFO", "toy: dev dev_loss expected >= 10, you have 15"),
        (
            20.0,
            True,
            "WARNING",
            "toy: dev dev_loss expected >= 20, you have 15: look at it before you go on, or set training.gate",
        ),
        (None, False, None, ""),
    ],
)
def test_a_run_says_once_at_its_end_whether_it_has_passed_its_gate(
    tmp_path, caplog, monkeypatch, gate, higher, level, words
):
    monkeypatch.setattr(logging.getLogger("slt_pipeline"), "propagate", True)
    caplog.set_level(logging.INFO, logger="slt_pipeline")
    trainable = replace(toy_trainable(validate=lambda model: {"dev_loss": 15.0}), higher_is_better=higher)
    Run(tmp_path / "run", "toy", {}).train(trainable, toy_config(epochs=2, gate=gate), 1, torch.device("cpu"))
    records = {id(record): record for record in caplog.records}.values()  # however many handlers have seen one
    told = [(record.levelname, record.getMessage()) for record in records if "expected" in record.getMessage()]
    assert told == ([] if level is None else [(level, words)])


@pytest.mark.parametrize("name", ["cuda:63", "gpu", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name):
    with pytest.raises(SltError, match=rf"device {name} cannot be used here.*--device") as refusal:
        pick_device(name)
    assert "\n" not in str(refusal.value)


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")


def test_a_part_that_the_weights_leave_out_or_the_model_does_not_make_stops_the_first_step(tmp_path):
    trainable = toy_trainable()
    for weights, cure in (
        ({"recognition": 1.0}, r"for recognition, .* makes recognition, spread; add spread to it, with weight 0"),
        ({"recognition": 1.0, "spread": 0.0, "translation": 1.0}, r"; take translation out of the objective$"),
    ):
        with pytest.raises(SltError, match=cure):
            toy_train(tmp_path, replace(trainable, objective=Objective(weights)))
    assert list_checkpoints(tmp_path / "checkpoints") == []


def test_the_weights_are_those_of_the_step(tmp_path):
    ramp = {"recognition": 1.0, "spread": Ramp(to=2.0, over=4)}
    toy_train(tmp_path, replace(toy_trainable(), objective=Objective(ramp)), epochs=2, accumulate=2, log_every=1)
    records = [r for r in read_json_lines(tmp_path / "metrics.jsonl") if r["split"] == "train"]
    assert [r["weights"]["spread"] for r in records] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]  # by steps, not by batches
    for record in records:
        weighted = [record["weights"][name] * value for name, value in record["losses"].items()]
        assert record["loss"] == pytest.approx(sum(weighted), rel=1e-6)


def test_what_is_in_no_group_is_frozen_before_the_model_is_given_to_processes(tmp_path):
    trainable = toy_trainable()
    head = trainable.model
    last = set(head.gloss_output_layer.parameters())
    before = {name: value.clone() for name, value in head.named_parameters()}
    grouped = [p for p in head.parameters() if p not in last]
    frozen = []
    losses = trainable.losses
    watched = lambda m, b: frozen.append({p for p in m.parameters() if not p.requires_grad}) or losses(m, b)  # noqa: E731
    toy_train(tmp_path, replace(trainable, parameter_groups={"recognition": grouped}, losses=watched), epochs=1)
    assert all(found == last for found in frozen) and len(frozen) == 5
    changed = {name for name, value in head.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in head.named_parameters() if not name.startswith("gloss_output_layer.")}


def test_whoever_waits_for_a_checkpoint_is_told_of_each_once_it_can_be_read(tmp_path):
    seen = []

    def note():
        newest = list_checkpoints(tmp_path / "checkpoints")[-1]
        assert newest.weights
        seen.append(newest.meta["step"])

    toy_train(tmp_path, on_checkpoint=note)
    assert seen == [5, 10, 15]
    toy_train(tmp_path, on_checkpoint=note)  # a finished run writes none
    assert seen == [5, 10, 15]


def test_a_log_starts_anew_without_a_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    RunLog(path, resume_step=0).write({"step": 1})
    log = RunLog(path, resume_step=0)
    assert read_json_lines(path) == []
    log.write({"step": 1, "text": "größer"})
    assert path.read_text(encoding="utf-8") == '{"step": 1, "text": "größer"}\n'


def test_a_log_keeps_what_the_checkpoint_covers_and_drops_the_rest(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = RunLog(path, resume_step=0)
    for step in (1, 2, 2, 3):
        log.write({"step": step})
    with path.open("a") as file:
        file.write('{"step": 3, "los')
    assert read_json_lines(path) == [{"step": step} for step in (1, 2, 2, 3)]
    RunLog(path, resume_step=2)
    assert read_json_lines(path) == [{"step": step} for step in (1, 2, 2)]


def test_the_running_mean_of_the_weights_is_what_is_scored_and_kept(tmp_path):
    """By hand: of the mean so far, step n keeps min(decay, (1 + n) / (10 + n))."""
    trained, scored_at = [], []
    trainable = toy_trainable(dropout=0.0)
    weight = next(trainable.model.parameters())

    def losses(head, batch):
        trained.append(weight.detach().clone())
        return trainable.losses(head, batch)

    def validate(model):
        scored_at.append(next(model.parameters()).clone())
        assert model is not trainable.model
        return {"dev_loss": 1.0}

    toy_train(tmp_path, replace(trainable, losses=losses, validate=validate), epochs=1, averaging=0.15)
    trained = [*trained[1:], weight.detach()]
    mean = next(toy_trainable(dropout=0.0).model.parameters()).detach()
    for number, value in enumerate(trained, start=1):
        mean = mean.lerp(value, 1 - min(0.15, (1 + number) / (10 + number)))
    torch.testing.assert_close(scored_at[0], mean)
    (kept,) = list_checkpoints(tmp_path / "checkpoints")
    assert any(torch.equal(each, scored_at[0]) for each in kept.weights.values())
    assert not torch.allclose(scored_at[0], weight)
