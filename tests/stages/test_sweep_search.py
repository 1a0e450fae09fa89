"""A search chooses its runs by dev alone, ends with its budget, and goes on from its journal as if nothing had been."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sweep_runs
import torch
from stage_tools import KilledError

from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.config.variants import run_of_search
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines
from slt_pipeline.stages import sweep as sweep_stage
from slt_pipeline.stages import translate_train as train_stage
from slt_pipeline.systems.search import propose
from slt_pipeline.training.run import warn_if_unfinished

pytestmark = pytest.mark.long

RATE, TAP = "translate_train.training.optimiser.lr.default", "translator.mapper.input"
KEYS = f"{{{RATE}: {{low: 1.0e-3, high: 1.0e-1, log: true}}, {TAP}: {{choices: [s3d, gloss_rep, gloss_probs]}}}}"


class Searching:
    """Searches the toy system's store, runs of so many epochs, into a folder."""

    def __init__(self, toy: Any, folder: Path):
        self.toy, self.folder = toy, folder
        self.home = folder / "toy" / "sweep" / "found"

    def recipe(self, search: str, epochs: int = 1, **values: Any) -> Recipe:
        uses = self.toy.root / "runs" / "toy"
        where = {"runs_dir": self.folder, "uses__encoder": uses, "uses__language": uses, "evaluate__splits": "[dev]"}
        training = {"translate_train__training__epochs": epochs, "translate_train__training__validate_every": 1}
        sweeps = {"sweep__seeds": "null", "sweeps": f"{{found: {{search: {search}}}}}"}
        return self.toy.recipe(**{**where, **training, **sweeps, **values})

    def __call__(self, search: str, epochs: int = 1, jobs: int = 1, **values: Any) -> dict[str, Any]:
        return sweep_stage.sweep(self.recipe(search, epochs, **values), "found", device="cpu", jobs=jobs)

    def journal(self) -> list[dict[str, Any]]:
        return read_json_lines(self.home / "results.jsonl")


@pytest.fixture
def searching(toy, tmp_path) -> Searching:
    return Searching(toy, tmp_path / "runs")


@pytest.fixture
def by_rate(monkeypatch):
    """Runs whose score on dev is known: that of their learning rate, and a little more each epoch."""

    def score(recipe: Recipe) -> float:
        return 1000 * recipe.translate_train.training.optimiser.lr["default"]

    def validation(self: Any, model: Any) -> dict[str, float]:
        return {"bleu4": score(self.recipe), "rouge": score(self.recipe)}

    def final(systems: Any, task: str, split: str, folder: Path) -> dict[str, Any]:
        return {"bleu4": score(systems.recipe) + 1 if split == "dev" else 100 - score(systems.recipe), "rouge": 0.0}

    monkeypatch.setattr(train_stage._Validation, "__call__", validation)
    monkeypatch.setattr(sweep_stage, "score", final)


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the time that they took."""
    return [{key: value for key, value in row.items() if key != "clock"} for row in rows]


def tried(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row["values"] for row in rows]


# --- what a search does


def test_a_search_tries_until_its_budget_is_spent_and_dev_alone_says_which_is_best(searching, by_rate, slt, tmp_path):
    search = f"{{keys: {KEYS}, runs: 4, startup: 2, prune: false}}"
    report = searching(search, evaluate__splits="[test, dev]")
    assert [row["number"] for row in searching.journal()] == [1, 2, 3, 4]
    rates = [row["values"][RATE] for row in searching.journal()]
    assert all(1e-3 <= rate <= 1e-1 for rate in rates) and len(set(rates)) == 4
    assert [float(row[RATE]) for row in report["rows"]] == sorted(rates, reverse=True)  # test says the opposite
    assert [row["outcome"] for row in report["rows"]] == ["best", *["finished"] * 3]
    (best,) = [row["folder"] for row in searching.journal() if row["values"][RATE] == max(rates)]
    assert report["best"] == str(searching.home / best)
    assert not any(name.endswith(" p") for row in report["rows"] for name in row)
    with (searching.home / "table.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [float(row["dev bleu4"]) for row in found] == [row["dev bleu4"] for row in report["rows"]]
    assert r"gloss\_" in (searching.home / "table.tex").read_text() or TAP not in report["table"]
    recipe = save_recipe(searching.recipe(search, evaluate__splits="[test, dev]"), tmp_path)
    again = slt("sweep", "found", "--search", "-r", recipe, "--device", "cpu")  # there is nothing left to do
    assert again.status == 0
    assert f"best run: {report['best']} (open it with --run)" in again.err
    assert f"wrote {searching.home / 'table.tex'}" in again.err
    assert f"wrote {searching.home / 'plot.png'}" in again.err


def test_the_same_seed_proposes_the_same_and_another_another(searching):
    search = searching.recipe(f"{{keys: {KEYS}, runs: 9, startup: 2}}").sweeps["found"].search
    assert search is not None

    def proposals(seed: int, until: int, rows: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        rows = list(rows or [])
        for number in range(len(rows) + 1, until + 1):
            values = propose(search, rows, seed, number, "bleu4")
            assert values is not None
            scores = {"dev": {"bleu4": 100 * values[RATE]}}
            rows.append({"values": values, "seed": seed, "number": number, "scores": scores})
        return rows

    whole = proposals(1, 9)
    assert proposals(1, 9, whole[:5]) == whole  # as after a restart
    assert tried(proposals(2, 9)) != tried(whole)
    late = [values[RATE] for values in tried(proposals(1, 30))[15:]]
    assert sum(rate > 0.03 for rate in late) > len(late) / 2  # where it is better, a quarter of what is drawn at random


def test_a_search_of_few_combinations_tries_each_once_and_ends(searching):
    keys = (
        "{translator.mbart.num_layers: {low: 2, high: 4}, translator.label_smoothing: {low: 0.1, high: 0.2, step: 0.1}}"
    )
    search = searching.recipe(f"{{keys: {keys}, runs: 50, startup: 2}}").sweeps["found"].search
    assert search is not None
    rows: list[dict[str, Any]] = []
    while (values := propose(search, rows, 1, len(rows) + 1, "bleu4")) is not None:
        rows.append({"values": values, "seed": 1, "number": len(rows) + 1, "scores": {"dev": {"bleu4": 1.0}}})
    found = sorted(tuple(values.values()) for values in tried(rows))
    assert found == [(layers, smoothing) for layers in (2, 3, 4) for smoothing in (0.1, 0.2)]
    assert all(isinstance(layers, int) for layers, _ in found)


def test_a_run_behind_the_median_is_given_up_and_says_so_everywhere(searching, by_rate, monkeypatch, caplog):
    choices = [0.03, 0.02, 0.001, 0.0]
    monkeypatch.setattr(
        "slt_pipeline.systems.search.propose",
        lambda search, rows, seed, number, metric: {RATE: choices[number - 1]},
    )
    search = f"{{keys: {{{RATE}: {{low: 0.0, high: 0.1}}}}, runs: 3, startup: 2}}"
    report = searching(search, epochs=3)
    pruned = searching.journal()[2]
    assert (pruned["pruned_at"], pruned["until_then"]) == (1, {"dev": {"bleu4": 1.0}})
    assert [row["run"] for row in report["rows"]] == [1, 2, 3]
    assert report["rows"][2]["outcome"] == "pruned at epoch 1, dev bleu4 1.00 until then"
    assert "dev bleu4" not in report["rows"][2]
    assert "pruned at epoch 1" in (searching.home / "table.md").read_text()
    folder = searching.home / pruned["folder"]
    assert read_json(folder / "pruned.json")["pruned_at"] == 1
    assert not (folder / "result.json").exists()
    before = (folder / "metrics.jsonl").read_bytes()
    again = searching(search.replace("runs: 3", "runs: 4"), epochs=3)  # it is not trained further
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert [row["run"] for row in again["rows"]] == [1, 2, 3, 4]
    warn_if_unfinished(folder)  # as whatever opens it does
    assert f"{folder} was pruned at epoch 1 by its search" in caplog.text
    # Whoever asks for this run by itself has it to its end.
    recipe = run_of_search(searching.recipe(search, epochs=3), pruned["values"], 3, 3).recipe
    assert recipe is not None
    sweep_stage.translate_train(recipe, device="cpu", folder=folder)
    assert (folder / "result.json").is_file()
    assert not (folder / "pruned.json").exists()


def test_runs_that_fail_are_rows_and_the_search_goes_on(searching, by_rate):
    search = "{keys: {translator.mbart.num_layers: {low: 1, high: 2}}, runs: 5}"  # the language model has one layer
    report = searching(search)
    assert sorted("error" in row for row in searching.journal()) == [False, True]
    assert report["rows"][1]["outcome"] == "failed"
    assert report["rows"][1]["failed"].startswith("1: ")
    assert report["best"] is not None


def test_what_explains_the_scores_is_told_once_ten_runs_are_finished(searching, by_rate, caplog):
    caplog.set_level("INFO")
    for runs in (9, 10):
        searching(f"{{keys: {KEYS}, runs: {runs}, startup: {runs}, prune: false}}")
        told = [record.message for record in caplog.records if "fANOVA" in record.message]
        assert len(told) == (runs == 10)
    assert told[0].startswith(f"search: what scores of finished runs differ by (fANOVA): {RATE} ")
    assert f"%, {TAP} " in told[0]


# --- killed and gone on with


def test_killed_between_runs_and_within_one_it_ends_with_the_same_rows(searching, toy, tmp_path, monkeypatch):
    search = f"{{keys: {KEYS}, runs: 3, startup: 1}}"
    whole = Searching(toy, tmp_path / "whole")
    whole(search, epochs=2)
    recipe = save_recipe(searching.recipe(search, epochs=2), tmp_path)
    given = [sys.executable, str(Path(sweep_runs.__file__)), str(recipe), "7"]  # of four a run: in the second
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # with others sums are rounded otherwise
    ended = subprocess.run(given, env={**os.environ, **threads}, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    assert ["begun" in row for row in searching.journal()] == [False, True]

    def killed(*_: Any) -> None:
        raise KilledError

    monkeypatch.setattr("slt_pipeline.systems.search.propose", killed)
    with pytest.raises(KilledError):
        searching(search, epochs=2)
    assert ["begun" in row for row in searching.journal()] == [False, False]  # between two runs
    monkeypatch.undo()
    searching(search, epochs=2)
    assert tried(searching.journal()) == tried(whole.journal())
    assert lasting(searching.journal()) == lasting(whole.journal())


def test_a_run_that_was_begun_goes_on_though_its_budget_of_hours_is_spent(searching, by_rate, monkeypatch):
    search = f"{{keys: {KEYS}, hours: 0.001, startup: 1}}"

    def killed(*_: Any) -> None:
        raise KilledError

    monkeypatch.setattr(sweep_stage, "_scores", killed)
    with pytest.raises(KilledError):
        searching(search)
    monkeypatch.undo()
    (begun,) = searching.journal()
    assert "begun" in begun
    monkeypatch.setattr("slt_pipeline.systems.search._spent", lambda folder, row: 3.6)
    report = searching(search)
    assert tried(searching.journal()) == [begun["values"]]
    assert report["rows"][0]["outcome"] == "best"


def test_side_by_side_as_many_are_tried_and_none_twice(searching):
    report = searching(f"{{keys: {KEYS}, runs: 3, startup: 2}}", jobs=2)
    assert sorted(row["run"] for row in report["rows"]) == [1, 2, 3]
    assert len({str(values) for values in tried(searching.journal())}) == 3
    assert not any("begun" in row or "error" in row for row in searching.journal())


# --- what is refused


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (
            "{translator.mapper.freeze: {choices: [true, false]}}",
            "sweeps.found.search.keys.translator.mapper.freeze may",
        ),
        ("{translator.mapper.input: {choices: [s3d, gloss_reps]}}", 'keys.translator.mapper.input may be "gloss_reps"'),
        ("{translator.mbart.num_layers: {low: 1.0, high: 4.0}}", "keys.translator.mbart.num_layers may be 2.146"),
        ("{translator.mapper.inputs: {choices: [s3d, gloss_rep]}}", "did you mean translator.mapper.input?"),
        ("{evaluate.batch_size: {low: 1, high: 4}}", "search.keys names evaluate.batch_size, which tells no two runs"),
        ("{translator.label_smoothing: {low: 0.3, high: 0.1}}", "low is 0.3 and high 0.1"),
        ("{translator.label_smoothing: {low: 0.0, high: 0.1, log: true}}", "has no logarithm"),
        ("{translator.label_smoothing: {low: 0.0, high: 0.25, step: 0.1}}", "set high=0.2"),
        ("{translator.label_smoothing: {low: 0.0, choices: [0.1, 0.2]}}", "choices stand alone"),
        ("{translator.label_smoothing: {choices: [0, 0.0]}}", "choices lists 0.0 twice: the same run"),
        ("{translator.mbart.num_layers: {choices: [1, '1']}}", "num_layers lists 1 and '1', which is one run"),
        ("{translator.label_smoothing: {low: few, high: 1}}", "label_smoothing.low = 'few': Input should be a number"),
        (
            f"{{{RATE}: {{low: 1, high: 2}}, {RATE[:-8]}: {{choices: [{{default: 1}}, {{default: 2}}]}}}}",
            "a part of it",
        ),
    ],
)
def test_a_space_that_no_run_can_be_of_is_refused_before_the_first(searching, keys, reason):
    with pytest.raises(SltError) as found:
        searching(f"{{keys: {keys}, runs: 2}}")
    assert reason in str(found.value)
    assert not searching.folder.exists()


def test_values_that_need_each_other_may_be_searched_together(searching):
    keys = f"{{translator.mapper.type: {{choices: [projection, embedding]}}, {TAP}: {{choices: [s3d, gloss_probs]}}}}"
    assert searching.recipe(f"{{keys: {keys}, runs: 2}}").sweeps["found"].search is not None
    sweep_stage.plan(searching.recipe(f"{{keys: {keys}, runs: 2}}"), "found")


def test_a_search_without_an_end_without_dev_or_where_there_is_none_is_refused(searching):
    with pytest.raises(SltError, match="it has no end; give runs, hours or both"):
        searching(f"{{keys: {KEYS}}}")
    with pytest.raises(SltError, match="keys is empty; give what may be tried"):
        searching("{keys: {}, runs: 2}")
    with pytest.raises(SltError, match="a search decides by dev alone"):
        searching(f"{{keys: {KEYS}, runs: 2}}", evaluate__splits="[test]")
    with pytest.raises(SltError, match="sweep has no search; say what it may try"):
        sweep_stage.plan(searching.recipe(f"{{keys: {KEYS}, runs: 2}}"), search=True)


def test_a_sweep_that_has_both_is_a_grid_unless_it_is_searched(searching):
    both = {"sweeps": f"{{found: {{grid: {{{TAP}: [s3d]}}, search: {{keys: {KEYS}, runs: 2}}}}}}"}
    recipe = searching.recipe("", **both)
    grid, search = (sweep_stage.plan(recipe, "found", search=search)[1] for search in (False, True))
    assert list(grid) == ["table", "run 1"]
    assert list(search) == ["table"]
    assert grid["table"] != search["table"]
    longer = searching.recipe("", **both, sweeps__found__search__runs=5).sweeps["found"]
    assert longer.search is not None and longer.search.runs == 5
    assert longer.grid == recipe.sweeps["found"].grid
