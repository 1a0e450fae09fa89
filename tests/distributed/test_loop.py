"""One training run in several processes: they decide, write, save and end together."""

import json
import signal
import time
from pathlib import Path

import pytest
from several import Several, lines, run
from toy_run import assert_same_end, same, toy_train
from toy_together import train, train_and_die_in_validation, train_and_signal, train_to_nan, train_with_slow_saves

from slt_pipeline.training.checkpoint import list_checkpoints

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert run(2, folder, train, str(folder)).codes == [0, 0]
    return folder


def test_both_report_what_the_first_has_found_and_there_is_one_checkpoint_of_each(unbroken):
    first, second = (json.loads((unbroken / f"told-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first[0] == 15
    newest = list_checkpoints(unbroken / "checkpoints")[-1]
    assert newest.meta["processes"] == 2
    states = newest.load_state()["processes"]
    assert len(states) == 2
    assert not same(states[0]["random"], states[1]["random"])


def test_two_processes_have_the_losses_and_the_batches_of_one(tmp_path):
    """Of batches of three, and a last one of a single clip; with dropout off, rounding is all that differs."""
    changes = {"dropout": 0.0, "log_every": 1, "optimiser": {"lr": {"default": 1e-3}, "eps": 1e-2}}
    for world in (1, 2, 3):
        assert run(world, tmp_path / str(world), train, str(tmp_path / str(world)), changes).codes == [0] * world
    one, *others = (lines(tmp_path / str(world) / "metrics.jsonl") for world in (1, 2, 3))
    for several in others:
        for a, b in zip(one, several, strict=True):
            assert a.keys() == b.keys()
            name = "loss" if a["split"] == "train" else "dev_loss"
            assert b[name] == pytest.approx(a[name], rel=1e-4)
            if a["split"] == "train":
                assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)], ids=["first", "second", "all"])
def test_a_signal_to_any_of_them_saves_once_and_they_go_on_to_the_same_end(tmp_path, unbroken, ranks):
    ended = run(2, tmp_path, train_and_signal, str(tmp_path), int(signal.SIGTERM), 8, ranks, {})
    assert ended.codes == [1, 1]
    assert [log.count("KeyboardInterrupt") > 0 for log in ended.logs] == [True, True]
    assert [c.meta["step"] for c in list_checkpoints(tmp_path / "checkpoints")][-1] == 8
    assert run(2, tmp_path, train, str(tmp_path)).codes == [0, 0]
    assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_killed_ends_the_other_and_they_go_on_to_the_same_end(tmp_path, unbroken, rank):
    each = {"checkpoint_minutes": 1e-9}
    ended = run(2, tmp_path, train_and_signal, str(tmp_path), int(signal.SIGKILL), 8, (rank,), each, seconds=60)
    assert ended.codes[rank] == -signal.SIGKILL
    assert ended.codes[1 - rank] == 1  # it was not left waiting
    assert list_checkpoints(tmp_path / "checkpoints")[-1].meta["step"] == 7
    assert run(2, tmp_path, train, str(tmp_path)).codes == [0, 0]
    assert_same_end(tmp_path, unbroken)


def test_a_loss_that_is_not_finite_in_one_ends_all_and_names_its_clips(tmp_path):
    ended = run(2, tmp_path, train_to_nan, str(tmp_path), 3, seconds=60)
    assert ended.codes == [1, 1]
    assert "batch 3 of epoch 1 has loss nan" in ended.logs[1]
    assert "look at its clips: clip-" in ended.logs[1]
    assert "process 1 has failed: toy: step 3" in ended.logs[0]


def test_clocks_that_differ_do_not_make_them_wait_for_each_other(tmp_path):
    assert run(2, tmp_path, train_with_slow_saves, str(tmp_path), seconds=90).codes == [0, 0]


def test_a_checkpoint_is_written_before_it_is_validated(tmp_path):
    ended = run(2, tmp_path, train_and_die_in_validation, str(tmp_path), seconds=60)
    assert ended.codes == [1, -signal.SIGKILL]
    assert "another process was lost" in ended.logs[0]
    saved = list_checkpoints(tmp_path / "checkpoints")
    assert [(c.meta["step"], c.meta["validated"]) for c in saved] == [(5, False)]
    assert run(2, tmp_path, train, str(tmp_path), {"epochs": 1}).codes == [0, 0]
    assert [record["step"] for record in lines(tmp_path / "metrics.jsonl", split="dev")] == [5]
    assert list_checkpoints(tmp_path / "checkpoints")[-1].meta["validated"]


@pytest.mark.parametrize(("before", "now"), [(1, 2), (2, 1)])
def test_another_number_of_processes_is_refused_with_both_numbers(tmp_path, before, now):
    stop = (str(tmp_path), int(signal.SIGTERM), 4, (0,), {})
    assert run(before, tmp_path, train_and_signal, *stop).codes == [1] * before
    ended = run(now, tmp_path, train, str(tmp_path))
    assert ended.codes == [1] * now
    assert f"was trained by {before} process" in ended.log
    assert f"--processes {before}" in ended.log


def test_fewer_clips_than_processes_are_refused_with_a_cure(tmp_path):
    ended = run(2, tmp_path, train, str(tmp_path), {"batch_size": 1, "accumulate": 4})
    assert ended.codes == [1, 1]
    assert "training.batch_size is 1, the clips that 2 processes share out; set training.batch_size=4" in ended.logs[0]


def test_an_old_checkpoint_of_one_process_goes_on(tmp_path):
    """It names no number of processes: there could be one alone."""
    toy_train(tmp_path, epochs=1)
    meta = tmp_path / "checkpoints" / "step-00000005" / "meta.json"
    data = json.loads(meta.read_text())
    meta.write_text(json.dumps({name: data[name] for name in ("step", "weights", "epoch", "best_step")}))
    assert toy_train(tmp_path, epochs=2).steps == 10


def test_one_starts_much_later_than_the_other(tmp_path):
    both = Several(2, tmp_path, train, str(tmp_path))
    both.kill(1, signal.SIGSTOP)
    time.sleep(1)
    both.kill(1, signal.SIGCONT)
    assert both.wait().codes == [0, 0]
