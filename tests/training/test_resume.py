import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_run
from toy_run import SignalAt, assert_same_end, same, toy_train, toy_trainable

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json_lines
from slt_pipeline.training.checkpoint import best_checkpoint, list_checkpoints

ROOT = Path(__file__).resolve().parents[2]
NUM_STEPS = 15


def stop_after(folder: Path, batch: int, **changes) -> int:
    """Train until Ctrl-C during batch number `batch`; the step that was saved."""
    with pytest.raises(KeyboardInterrupt):
        toy_train(folder, toy_trainable(each_batch=SignalAt(signal.SIGINT, batch)), **changes)
    return list_checkpoints(folder / "checkpoints")[-1].meta["step"]


def program(folder: Path, signal_name: str, batch: int, where: str = "self", **changes) -> subprocess.CompletedProcess:
    """The same training in a process of its own, which sends itself a signal during batch number `batch`."""
    arguments = [str(folder), signal_name, str(batch), where, json.dumps(changes)]
    return subprocess.run(
        [sys.executable, toy_run.__file__, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert toy_train(folder).steps == NUM_STEPS
    return folder


def test_training_changes_the_weights_and_lowers_the_loss(unbroken):
    train = [r["loss"] for r in read_json_lines(unbroken / "metrics.jsonl") if r["split"] == "train"]
    assert train[-1] < 0.8 * train[0]


def test_a_best_checkpoint_that_was_deleted_is_best_no_more(tmp_path):
    """A damaged one is: the run goes on from another, and has one in the end that its pointer names."""
    scores = iter([1.0, 2.0, 3.0])

    def worse_and_worse(_):
        return {"dev_loss": next(scores)}

    with pytest.raises(KeyboardInterrupt):
        toy_train(tmp_path, toy_trainable(each_batch=SignalAt(signal.SIGINT, 12), validate=worse_and_worse))
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000005")
    assert toy_train(tmp_path, toy_trainable(validate=worse_and_worse)).best_step == NUM_STEPS
    assert best_checkpoint(tmp_path, "").meta["step"] == NUM_STEPS


@pytest.mark.parametrize("batch", [1, 4, 5, 6, 10, 13, 15])
def test_k_steps_a_stop_and_the_rest_equal_an_unbroken_run(tmp_path, unbroken, batch):
    assert stop_after(tmp_path, batch) == batch
    result = toy_train(tmp_path)
    assert result.steps == NUM_STEPS
    assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("batch", [4, 5, 6])
def test_a_run_whose_weights_are_averaged_resumes_exactly_too(tmp_path, unbroken, batch):
    toy_train(tmp_path / "unbroken", averaging=0.9)
    stop_after(tmp_path / "stopped", batch, averaging=0.9)
    toy_train(tmp_path / "stopped", averaging=0.9)
    assert_same_end(tmp_path / "stopped", tmp_path / "unbroken")
    newest = [list_checkpoints(each / "checkpoints")[-1] for each in (tmp_path / "unbroken", unbroken)]
    assert not same(newest[0].weights, newest[1].weights)
    trained = newest[0].load_state()["trained"]
    assert all(torch.equal(value, trained[name]) for name, value in newest[1].weights.items())  # averaging only watches


def test_three_stops_in_a_row_change_nothing(tmp_path, unbroken):
    assert [stop_after(tmp_path, 2), stop_after(tmp_path, 1), stop_after(tmp_path, 4)] == [2, 3, 7]
    toy_train(tmp_path)
    assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("batch", [1, 3, 5, 7])
def test_a_stop_within_an_accumulated_step_waits_for_its_end(tmp_path, batch):
    toy_train(tmp_path / "unbroken", accumulate=2)
    # Five batches make three steps an epoch: two of two batches and one of the last.
    assert stop_after(tmp_path / "stopped", batch, accumulate=2) == {1: 1, 3: 2, 5: 3, 7: 4}[batch]
    assert toy_train(tmp_path / "stopped", accumulate=2).steps == 9
    assert_same_end(tmp_path / "stopped", tmp_path / "unbroken")


def test_the_schedule_of_epochs_and_rare_validation_resume_too(tmp_path):
    changes = {"schedule": {"name": "cosine-epoch"}, "validate_every": 2, "bucket": False, "keep_last": 3}
    toy_train(tmp_path / "unbroken", **changes)
    stop_after(tmp_path / "stopped", 6, **changes)
    toy_train(tmp_path / "stopped", **changes)
    dev = [r["epoch"] for r in read_json_lines(tmp_path / "stopped/metrics.jsonl") if r["split"] == "dev"]
    assert dev == [2, 3]  # the last epoch is always validated
    newest = [list_checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("stopped", "unbroken")]
    assert same(newest[0].weights, newest[1].weights)
    assert (tmp_path / "stopped/metrics.jsonl").read_text() == (tmp_path / "unbroken/metrics.jsonl").read_text()


def test_a_finished_run_is_not_trained_further(tmp_path):
    first = toy_train(tmp_path, epochs=1)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    assert toy_train(tmp_path, toy_trainable(each_batch=pytest.fail), epochs=1) == first
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_ctrl_c_saves_and_the_rerun_continues_exactly(tmp_path, unbroken):
    stopped = program(tmp_path, "SIGINT", 8)
    assert stopped.returncode != 0
    assert "KeyboardInterrupt" in stopped.stderr
    assert [c.meta["step"] for c in list_checkpoints(tmp_path / "checkpoints")][-1] == 8
    toy_train(tmp_path)
    assert_same_end(tmp_path, unbroken)


def test_a_killed_run_continues_from_its_checkpoint_to_the_same_end(tmp_path, unbroken):
    batch = random.SystemRandom().randint(6, NUM_STEPS)
    # A checkpoint after every step, so that the kill lands behind one that is in the middle of an epoch.
    killed = program(tmp_path, "SIGKILL", batch, checkpoint_minutes=1e-9)
    assert killed.returncode == -signal.SIGKILL
    assert list_checkpoints(tmp_path / "checkpoints")[-1].meta["step"] == batch - 1
    toy_train(tmp_path)
    assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_workers_outlive_a_signal_to_all_and_prepare_the_same_batches(tmp_path, name):
    """Of Ctrl-C, of a launcher or of a scheduler."""
    toy_train(tmp_path / "unbroken", epochs=1, accumulate=3)
    stopped = program(tmp_path / "stopped", name, 1, "group", epochs=1, accumulate=3, num_workers=1)
    assert "KeyboardInterrupt" in stopped.stderr
    assert [c.meta["step"] for c in list_checkpoints(tmp_path / "stopped/checkpoints")] == [1]
    toy_train(tmp_path / "stopped", epochs=1, accumulate=3)
    assert_same_end(tmp_path / "stopped", tmp_path / "unbroken")


def test_a_loader_process_that_is_killed_is_told_in_words_and_the_run_goes_on(tmp_path):
    toy_train(tmp_path / "unbroken", epochs=2)

    def kill_loaders() -> float:
        if list_checkpoints(tmp_path / "killed/checkpoints"):
            for loader in multiprocessing.active_children():
                loader.kill()
                loader.join()
        return 1.0

    with pytest.raises(SltError, match=r"^toy: a loader process has died \(.*lower training.num_workers"):
        toy_train(tmp_path / "killed", toy_trainable(each_batch=kill_loaders), epochs=2, num_workers=1)
    assert list_checkpoints(tmp_path / "killed/checkpoints")
    toy_train(tmp_path / "killed", epochs=2)
    assert_same_end(tmp_path / "killed", tmp_path / "unbroken")


def test_a_resumed_run_logs_no_step_twice(tmp_path):
    toy_train(tmp_path / "a", epochs=1, log_every=1)
    folder = tmp_path / "b"
    stop_after(folder, 3, epochs=1, log_every=1)
    with (folder / "metrics.jsonl").open("a") as file:  # what a kill behind the last checkpoint leaves
        file.write('{"split": "train", "step": 4, "epoch": 0, "loss": 1.0}\n{"split": "train", "st')
    toy_train(folder, epochs=1, log_every=1)
    assert [r["step"] for r in read_json_lines(folder / "metrics.jsonl")] == [1, 2, 3, 4, 5, 5]
    assert (folder / "metrics.jsonl").read_text() == (tmp_path / "a/metrics.jsonl").read_text()


def test_a_kill_between_a_checkpoint_and_the_pointer_to_the_best_one_is_mended(tmp_path):
    result = toy_train(tmp_path, epochs=1)
    (tmp_path / "best.json").unlink()
    assert toy_train(tmp_path, epochs=1) == result
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 5, "dev_loss": result.best_score}
