"""The launchers that users start: `--processes`, and torchrun with a restart."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from several import wait_for
from toy_system import render, write_recipe

from slt_pipeline.training.checkpoint import list_checkpoints

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SLT = ["-m", "slt_pipeline.cli.main"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    render(root)
    return write_recipe(root)


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def pretrain(toy: Path, runs: Path, *more: str) -> list[str]:
    keys = (f"runs_dir={runs}", "visual_pretrain.training.checkpoint_minutes=1e-9", *more)
    options = [part for key in keys for part in ("-o", key)]
    return [*SLT, "visual-pretrain", "-r", str(toy), "--device", "cpu", *options]


def result(runs: Path) -> dict:
    return json.loads((runs / "toy" / "visual_pretrain" / "result.json").read_text())


def workers(parent: int) -> list[int]:
    """Processes that a launcher has started, by their rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = next((int(v[5:]) for v in variables if v.startswith(b"RANK=")), None)
        if int(fields[1]) == parent and rank is not None:
            found[rank] = int(folder.name)
    return [found[rank] for rank in sorted(found)]


def test_the_short_form_ends_as_one_command_does_is_interrupted_and_goes_on(toy, tmp_path):
    """With loader processes, which the signal reaches too."""
    long = ("visual_pretrain.training.epochs=30", "visual_pretrain.training.num_workers=1")
    stopped = start(*pretrain(toy, tmp_path, *long), "--processes", "2")
    wait_for(lambda: list_checkpoints(tmp_path / "toy/visual_pretrain/checkpoints"), 120)
    stopped.send_signal(signal.SIGTERM)
    out, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, err
    assert err.count("the same command goes on from here") == 1
    assert "death signal" not in err
    assert "Traceback" not in err
    saved = list_checkpoints(tmp_path / "toy/visual_pretrain/checkpoints")[-1].meta
    assert saved["processes"] == 2
    again = start(*pretrain(toy, tmp_path, *long), "--processes", "2")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert f"resumed at step {saved['step']}" in err
    assert out.count("visual_pretrain: best accuracy") == 1
    assert result(tmp_path)["processes"] == 2


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the launcher's processes are found in /proc")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_launcher_that_is_ended_leaves_no_process_and_no_step_unsaved(toy, tmp_path, signum):
    """Its loader processes get a SIGTERM too, and the step in progress may need their batches."""
    keys = [f"visual_pretrain.training.{key}" for key in ("epochs=900", "num_workers=1", "checkpoint_minutes=10")]
    launcher = start(*pretrain(toy, tmp_path, *keys), "--processes", "2")
    metrics = tmp_path / "toy/visual_pretrain/metrics.jsonl"
    wait_for(lambda: metrics.is_file() and metrics.read_text(), 120)
    launcher.send_signal(signum)
    err = launcher.communicate(timeout=60)[1]  # ends when all that could write have ended
    assert launcher.returncode == (130 if signum == signal.SIGTERM else -signum), err
    assert "the same command goes on from here" in err
    assert "slt: error" not in err
    assert "Traceback" not in err
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert list_checkpoints(tmp_path / "toy/visual_pretrain/checkpoints")[-1].meta["step"] == max(steps)


def test_a_mistake_ends_with_its_status_and_one_line(toy, tmp_path):
    ended = start(*pretrain(toy, tmp_path, "corpus.isolated_manifest=nowhere.jsonl"), "--processes", "2")
    out, err = ended.communicate(timeout=120)
    assert (ended.returncode, out) == (2, "")
    assert [line[:10] for line in err.splitlines()] == ["slt: error"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the launcher's processes are found in /proc")
def test_torchrun_starts_again_after_a_kill_and_they_go_on_from_the_last_checkpoint(toy, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--standalone"]
    running = start(*launcher, *pretrain(toy, tmp_path, "visual_pretrain.training.epochs=20"))
    checkpoints = tmp_path / "toy/visual_pretrain/checkpoints"
    wait_for(lambda: list_checkpoints(checkpoints), 120)
    os.kill(workers(running.pid)[1], signal.SIGKILL)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert "resumed at step" in err
    assert result(tmp_path)["processes"] == 2
