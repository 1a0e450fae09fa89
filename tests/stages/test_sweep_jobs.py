"""Runs of a sweep side by side come to the same rows as one after the other, whatever becomes of one of them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sweep_runs
import torch

from slt_pipeline.files import read_json_lines
from slt_pipeline.stages import sweep as sweep_stage
from slt_pipeline.training.checkpoint import list_checkpoints

pytestmark = pytest.mark.long

TAPS = "{translator.mapper.input: [s3d, gloss_rep]}"


class Sweeping:
    """Sweeps the toy system's store into a folder, each run of two epochs."""

    def __init__(self, toy: Any, folder: Path):
        self.toy, self.folder = toy, folder

    def __call__(self, jobs: int, grid: str = TAPS) -> dict[str, Any]:
        uses = self.toy.root / "runs" / "toy"
        values = {"runs_dir": self.folder, "uses__encoder": uses, "uses__language": uses, "evaluate__splits": "[dev]"}
        epochs = {"translate_train__training__epochs": 2, "translate_train__training__validate_every": 1}
        recipe = self.toy.recipe(**values, **epochs, sweep__grid=grid, sweep__seeds="null")
        return sweep_stage.sweep(recipe, device="cpu", jobs=jobs)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """In every process, however the tests are run: what is computed with more has other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture
def sweeping(toy, tmp_path) -> Sweeping:
    return Sweeping(toy, tmp_path / "runs")


@pytest.fixture(scope="module")
def one_by_one(toy, tmp_path_factory) -> dict[str, Any]:
    return Sweeping(toy, tmp_path_factory.mktemp("one"))(1)


def table(report: dict[str, Any]) -> list[str]:
    return (Path(report["folder"]) / "table.md").read_text().splitlines()


def test_runs_side_by_side_come_to_the_same_rows_and_a_killed_one_is_a_row(sweeping, one_by_one, monkeypatch):
    monkeypatch.setattr(sweep_stage, "_run", sweep_runs.killed_on_the_way)
    report = sweeping(2)
    killed, *others = report["results"]
    assert killed["error"] == "its process was killed by SIGKILL; if memory was short, run fewer at a time"
    assert killed["values"] == {"translator.mapper.input": "s3d"}
    assert others == one_by_one["results"][1:]
    assert read_json_lines(Path(report["folder"]) / "results.jsonl") == [killed, *others]
    monkeypatch.undo()
    again = sweeping(1)
    assert again["results"] == one_by_one["results"]
    assert table(again) == table(one_by_one)


def test_after_ctrl_c_the_runs_are_saved_and_the_sweep_goes_on_to_the_same_row(sweeping, one_by_one, monkeypatch):
    grid = "{translator.mapper.input: [s3d]}"
    monkeypatch.setattr(sweep_stage, "_run", sweep_runs.stopped_with_its_parent)
    with pytest.raises(KeyboardInterrupt):
        sweeping(2, grid)
    (checkpoints,) = sweeping.folder.rglob("checkpoints")
    assert [checkpoint.meta["step"] for checkpoint in list_checkpoints(checkpoints)] == [2, 3]
    assert not list(sweeping.folder.rglob("results.jsonl"))
    monkeypatch.undo()
    assert sweeping(1, grid)["results"] == one_by_one["results"][:1]


def test_what_runs_are_forked_from_has_opened_nothing_that_a_fork_spoils():
    look = (
        "import slt_pipeline.stages.sweep, sys, torch;"
        "print('obstore' in sys.modules, 'cache.places.objects' in sys.modules, torch.cuda.is_initialized())"
    )
    said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False", "False"]
