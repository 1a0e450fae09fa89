"""A search chooses its runs by dev alone, ends with its budget, and goes on from its journal as if nothing had been."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from stage_tools import KilledError, refusal

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.search import SearchConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines, write_json_lines
from slt_pipeline.stages import sweep as sweep_stage
from slt_pipeline.systems import search as search_system
from slt_pipeline.systems.search import propose
from slt_pipeline.training.loop import _Run

RATE, SMOOTHING = "translate_train.training.optimiser.lr.default", "translator.label_smoothing"
TAP = "translator.mapper.input"
KEYS = f"{{{RATE}: {{low: 1.0e-3, high: 1.0e-1, log: true}}, {TAP}: {{choices: [s3d, gloss_rep, gloss_probs]}}}}"


class Searching:
    """Searches the toy system's store, runs of so many epochs, into a folder."""

    def __init__(self, toy: Any, folder: Path):
        self.toy, self.folder = toy, folder

    def recipe(self, search: str, epochs: int = 1, **values: Any) -> Recipe:
        uses = self.toy.root / "runs" / "toy"
        where = {"runs_dir": self.folder, "uses__encoder": uses, "uses__language": uses, "evaluate__splits": "[dev]"}
        training = {"translate_train__training__epochs": epochs, "translate_train__training__validate_every": 1}
        sweeps = {"sweep": "{}", "sweeps": f"{{found: {{search: {search}}}}}"}
        return self.toy.recipe(**{**where, **training, **sweeps, **values})

    def __call__(self, search: str, epochs: int = 1, jobs: int = 1, **values: Any) -> dict[str, Any]:
        return sweep_stage.sweep(self.recipe(search, epochs, **values), "found", device="cpu", jobs=jobs)

    @property
    def home(self) -> Path:
        return self.folder / "toy" / "sweep" / "found"

    @property
    def journal(self) -> list[dict[str, Any]]:
        return read_json_lines(self.home / "results.jsonl")


@pytest.fixture
def searching(toy, tmp_path) -> Searching:
    return Searching(toy, tmp_path / "runs")


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the time that they took."""
    return [{key: value for key, value in row.items() if key != "clock"} for row in rows]


def test_first(searching):
    import time

    t = time.time()
    report = searching(f"{{keys: {KEYS}, runs: 4, startup: 2}}", 3)
    print(time.time() - t)
    print(report["table"])
    for n in ("table.md", "table.csv", "table.tex", "results.jsonl", "sweep.json"):
        print((searching.home / n).read_text())
    print(report)
    assert 0
