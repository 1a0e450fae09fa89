"""A table says what was run, all of it, and nothing that was not."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cache_tools import files
from stage_tools import KilledError, refusal

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.errors import SltError
from slt_pipeline.report.tables import markdown_table
from slt_pipeline.stages import sweep as sweep_stage
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems.confidence import CONFIDENCE_FILE

QUICK = {
    "translate_train__training__epochs": 1,
    "translate_train__training__validate_every": 1,
    "evaluate__splits": "[dev]",
    "sweep__seeds": "null",
}


@dataclass(frozen=True)
class Sweeping:
    """Sweeps a grid on the trained system, each run of one epoch, into folders of its own."""

    toy: Any
    stage: Callable[..., dict[str, Any]]
    folder: Path

    def recipe(self, grid: str, **values: Any) -> Recipe:
        uses = self.toy.root / "runs" / "toy"
        where = {"runs_dir": self.folder, "uses__encoder": uses, "uses__language": uses}
        return self.toy.recipe(**{**QUICK, **where, "sweep__grid": grid, **values})

    def __call__(self, grid: str, name: str | None = None, **values: Any) -> dict[str, Any]:
        return self.stage(self.recipe(grid, **values), name, device="cpu")


@pytest.fixture
def sweeping(toy, stages, tmp_path) -> Sweeping:
    return Sweeping(toy, stages["sweep"], tmp_path / "runs")


def lines(report, name: str) -> list[str]:
    return (Path(report["folder"]) / name).read_text().splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


# --- what the table says


def test_values_stand_as_they_were_typed(sweeping):
    rate = "translate_train.training.optimiser.lr"
    report = sweeping(f"{{{rate}: [{{default: 1.0e-3}}, {{default: 3.0e-4}}, {{default: 1.0e-5}}]}}")
    shown = {row[rate] for row in report["rows"]}
    assert shown == {'{"default": 0.001}', '{"default": 0.0003}', '{"default": 1e-05}'}
    assert all(any(value in line for line in lines(report, "table.md")) for value in shown)


def test_the_best_run_alone_has_a_confidence_which_is_fitted_where_it_is_missing(sweeping):
    grid = "{translate_train.training.optimiser.lr.default: [1.0e-3, 1.0e-5]}"
    report = sweeping(grid)
    fitted = list(Path(report["folder"]).rglob(CONFIDENCE_FILE))
    assert fitted == [Path(report["best"]) / CONFIDENCE_FILE]
    before = fitted[0].read_bytes()
    assert Translate(sweeping.recipe(grid), device="cpu", run=Path(report["best"])).confidence is not None
    fitted[0].unlink()
    assert sweeping(grid)["best"] == report["best"]
    assert fitted[0].read_bytes() == before
    shutil.rmtree(report["best"])
    assert sweeping(grid)["best"] == report["best"]
    assert fitted[0].is_file()  # it was trained again


def test_keys_stand_whole_though_their_last_parts_are_alike(sweeping):
    one, two = "translate_train.generation.num_beams", "evaluate.generation.num_beams"
    report = sweeping(f"{{{one}: [1, 2], {two}: [1, 3]}}")
    assert [cell for cell in cells(lines(report, "table.md")[0]) if "num_beams" in cell] == [one, two]
    assert sorted((row[one], row[two]) for row in report["rows"]) == [("1", "1"), ("1", "3"), ("2", "1"), ("2", "3")]
    names = {path.name for path in Path(report["folder"]).iterdir() if path.is_dir()}
    assert names == {f"{one}={a}_{two}={b}_seed=3" for a in (1, 2) for b in (1, 3)}


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        ("{seed: [7, 8]}", "list seeds under sweep.seeds"),
        ("{gloss2text_train.training.epochs: [1, 2]}", "that stage is no part of a sweep"),
        ("{visual_train.beam_size: [1, 2]}", "that stage is no part of a sweep"),
        ("{translate_train.training.num_workers: [0, 1]}", "not what comes out of it"),
        ("{evaluate.batch_size: [1, 2]}", "it changes no score"),
        ("{translator.mapper.freeze: [true, false]}", "translator.mapper.freeze = true does nothing"),
        ("{translate_train.beam_size: [1, 3]}", "it changes no score of a translator"),
        ("{translator.mapper.input: [gloss_rep, gloss_reps]}", "gloss_reps"),
        ("{translator.mapper.inputs: [gloss_rep]}", "did you mean translator.mapper.input?"),
        ("{translator.mapper.input: []}", "at least 1 item"),
        ("{translator.mapper.input: [s3d, s3d]}", "twice"),
    ],
)
def test_what_cannot_matter_or_is_wrong_is_refused_before_the_first_run(sweeping, tmp_path, grid, reason):
    with pytest.raises(SltError) as found:
        sweeping(grid)
    assert reason in str(found.value)
    assert not list(tmp_path.rglob("inputs.json"))


@pytest.mark.parametrize("metric", ["wer", "bleu5"])
def test_a_metric_that_the_runs_do_not_have_is_refused_before_them(sweeping, tmp_path, metric):
    with pytest.raises(SltError, match=metric):
        sweeping("{translator.mapper.input: [s3d]}", sweep__metric=metric)
    assert not list(tmp_path.rglob("inputs.json"))


def test_a_run_that_fails_is_a_row_and_the_others_run(sweeping):
    report = sweeping("{translator.mbart.num_layers: [2, 1], translator.mapper.input: [s3d, gloss_rep]}")
    assert ["error" in result for result in report["results"]] == [True, True, False, False]
    failed = [row for row in report["rows"] if row["translator.mbart.num_layers"] == "2"]
    assert len(failed) == 2
    for row in failed:
        assert row["failed"].startswith("1: ")
        assert "dev bleu4" not in row
    assert report["rows"][2:] == failed  # behind those that have a score
    assert sum("1: " in line for line in lines(report, "table.md")) == 2


def test_values_that_do_not_go_together_are_a_row_too(sweeping):
    report = sweeping("{translator.mapper.type: [projection, embedding], translator.mapper.input: [s3d, gloss_probs]}")
    (failed,) = [result for result in report["results"] if "error" in result]
    assert failed["values"] == {"translator.mapper.type": "embedding", "translator.mapper.input": "s3d"}
    assert "gloss_probs" in failed["error"]


def test_a_sweep_none_of_whose_runs_came_to_an_end_exits_with_status_1(toy, slt, sweeping, tmp_path):
    from slt_pipeline.config.recipe import save_recipe

    recipe = sweeping.recipe("{translator.mbart.num_layers: [2, 3]}")
    run = slt("sweep", "-r", save_recipe(recipe, tmp_path / "saved"), "--device", "cpu")
    assert run.status == 1
    assert run.out.count("1: ") == 2


# --- ranks


def test_rows_are_ranked_by_dev_whatever_is_listed_first(sweeping, monkeypatch):
    def score(systems, task, split, folder):
        tap = systems.recipe.translator.mapper.input
        figure = {"s3d": {"dev": 9.0, "test": 1.0}, "gloss_rep": {"dev": 1.0, "test": 9.0}}[tap][split]
        return {"bleu4": figure, "rouge": figure}

    monkeypatch.setattr(sweep_stage, "score", score)
    report = sweeping("{translator.mapper.input: [gloss_rep, s3d]}", evaluate__splits="[test, dev]")
    assert [row["translator.mapper.input"] for row in report["rows"]] == ["s3d", "gloss_rep"]


def test_a_sweep_may_be_ranked_by_the_glosses_of_trained_heads(sweeping):
    grid = "{translate_train.objective: [{translation: 1, recognition: 1}, {translation: 1, recognition: 0}]}"
    report = sweeping(grid, translator__head="trained", sweep__metric="wer")
    figures = [row["dev wer"] for row in report["rows"]]
    assert figures == sorted(figures)
    assert len(figures) == 2


def test_the_table_is_markdown_of_its_rows(sweeping):
    report = sweeping("{translator.mapper.input: [s3d, gloss_rep]}")
    shown = [{name: value for name, value in row.items() if not name.endswith(" p")} for row in report["rows"]]
    whole = [cells(line) for line in lines(report, "table.md")[:4]]
    p_values = [number for number, name in enumerate(whole[0]) if name.endswith(" p")]
    found = [[cell for number, cell in enumerate(line) if number not in p_values] for line in whole]
    assert found == [cells(line) for line in markdown_table(shown).splitlines()]


# --- files


def test_the_table_is_there_after_every_run(sweeping, monkeypatch):
    grid = "{translator.mapper.input: [s3d, gloss_rep, gloss_probs]}"
    train, seen = sweep_stage.translate_train, []

    def train_two(recipe, **options):
        seen.append(recipe.translator.mapper.input)
        if len(seen) == 3:
            raise KilledError
        return train(recipe, **options)

    monkeypatch.setattr(sweep_stage, "translate_train", train_two)
    with pytest.raises(KilledError):
        sweeping(grid)
    (table,) = (sweeping.recipe(grid).run_folder("sweep")).glob("*/table.md")
    assert [tap in table.read_text() for tap in ("s3d", "gloss_rep", "gloss_probs")] == [True, True, False]
    before = {path: found for path, found in files(table.parent).items() if path.suffix == ".safetensors"}
    monkeypatch.undo()
    report = sweeping(grid)
    assert len(report["rows"]) == 3
    after = files(table.parent)
    assert {path: after[path] for path in before} == before
    assert Path(report["folder"]) == table.parent


def test_the_recipes_own_combination_has_a_folder_of_the_sweep_too(own, stages):
    folder = own.recipe().run_folder("translate_train")
    before = files(folder)
    recipe = own.recipe(**QUICK, sweep__grid="{translator.mapper.input: [gloss_rep]}")
    (result,) = stages["sweep"](recipe, device="cpu")["results"]
    assert "scores" in result
    assert files(folder) == before


def test_a_second_grid_leaves_the_files_of_the_first(sweeping):
    first = sweeping("{translator.mapper.input: [s3d]}")
    before = files(Path(first["folder"]))
    second = sweeping("{translator.label_smoothing: [0.0]}")
    assert first["folder"] != second["folder"]
    assert files(Path(first["folder"])) == before


def test_more_values_of_the_same_keys_are_more_rows_of_one_table(sweeping):
    first = sweeping("{translator.mapper.input: [s3d]}")
    second = sweeping("{translator.mapper.input: [gloss_rep]}")
    assert first["folder"] == second["folder"]
    assert {row["translator.mapper.input"] for row in second["rows"]} == {"s3d", "gloss_rep"}


def test_named_sweeps_stand_side_by_side(sweeping):
    smooth = "smooth: {grid: {translator.label_smoothing: [0.0]}}"
    named = {"sweeps": f"{{taps: {{grid: {{translator.mapper.input: [s3d]}}}}, {smooth}}}"}
    grid = "{translator.mapper.input: [gloss_rep]}"
    taps, smooth, plain = sweeping(grid, "taps", **named), sweeping(grid, "smooth", **named), sweeping(grid, **named)
    assert [Path(report["folder"]).name for report in (taps, smooth)] == ["taps", "smooth"]
    assert len({report["folder"] for report in (taps, smooth, plain)}) == 3
    assert [row["translator.mapper.input"] for row in taps["rows"]] == ["s3d"]
    with pytest.raises(SltError, match=r"toy has no sweep tops; its named sweeps are: taps, smooth"):
        sweeping(grid, "tops", **named)


def test_a_second_process_at_the_same_sweep_waits_for_its_end(sweeping, monkeypatch):
    """It would take runs that the first is at for failed, and write the table without the first one's rows."""
    grid, second, run = "{translator.mapper.input: [gloss_rep]}", [], sweep_stage._run

    def meanwhile(*arguments):
        with pytest.raises(SltError) as refused:
            sweeping(grid)
        second.append(str(refused.value))
        return run(*arguments)

    monkeypatch.setattr(sweep_stage, "_run", meanwhile)
    (row,) = sweeping(grid)["rows"]
    (said,) = second
    assert "the sweep" in said and "is being written by another process; wait for its end" in said
    assert "dev bleu4" in row and "failed" not in row
    monkeypatch.undo()
    assert sweeping(grid)["rows"] == [row]


def test_other_settings_beside_the_grid_are_another_folder_or_refused(sweeping, stages):
    named = {"sweeps": "{taps: {grid: {translator.mapper.input: [s3d]}}}"}
    grid, other = "{translator.mapper.input: [s3d]}", {"translator__label_smoothing": 0.0}
    plain, taps = sweeping(grid, **named), sweeping(grid, "taps", **named)
    before = files(Path(taps["folder"]))
    assert sweeping(grid, **named, **other)["folder"] != plain["folder"]
    message = refusal(stages["sweep"], sweeping.recipe(grid, **named, **other), "taps")
    assert f"{taps['folder']} holds runs with translator.label_smoothing = 0.2, which now is 0.0" in message
    assert "add --overwrite" in message
    assert files(Path(taps["folder"])) == before
    anew = stages["sweep"](sweeping.recipe(grid, **named, **other), "taps", device="cpu", overwrite=True)
    assert len(anew["rows"]) == 1
    inputs = json.loads((Path(anew["folder"]) / anew["results"][0]["folder"] / "inputs.json").read_text())
    assert inputs["translator.label_smoothing"] == 0.0


def test_what_plays_no_part_in_a_sweep_starts_no_other_one(sweeping):
    """Neither does a field that a later version adds: what stands at its default is not part of the folder's name."""
    grid = "{translator.mapper.input: [s3d]}"
    first = sweeping(grid)
    again = sweeping(grid, description="better", translate__num_best=2, translator__mapper__input="gloss_logits")
    assert again["folder"] == first["folder"]
    assert again["results"] == first["results"]


def test_rows_of_other_weights_are_neither_mixed_with_these_nor_lost(sweeping):
    grid = "{translator.label_smoothing: [0.1]}"
    report = sweeping(grid)
    base, before = Path(report["folder"]) / "sweep.json", lines(report, "results.jsonl")
    said = json.loads(base.read_text())
    for what in ("encoder", "language model"):
        was = said["base"][what]
        base.write_text(json.dumps({**said, "base": {**said["base"], what: "another" * 9}}))
        message = refusal(lambda recipe, device: sweeping(grid), None)
        assert f"holds a sweep with other {what} (anothera, now {was[:8]}); add --overwrite to start anew" in message
    assert lines(report, "results.jsonl") == before


@pytest.mark.parametrize(("key", "what"), [("uses.language", "language model in"), ("uses.encoder", "encoder of")])
def test_weights_of_those_that_only_some_runs_use_count_as_well(sweeping, key, what):
    """A lender that is not there is a row that says so, and keeps no other run from being made."""
    other, gone = (sweeping.folder.parent / name for name in ("other", "gone"))
    shutil.copytree(sweeping.toy.root / "runs" / "toy", other)
    grid = f"{{{key}: [{other}, {gone}]}}"
    report = sweeping(grid)
    assert [("scores" in row, "no recipe is called" in row.get("error", "")) for row in report["results"]] == [
        (True, False),
        (False, True),
    ]
    base = Path(report["folder"]) / "sweep.json"
    said = json.loads(base.read_text())
    ((name, was),) = [item for item in said["base"].items() if item[0].startswith(what)]
    assert str(other) in name
    base.write_text(json.dumps({**said, "base": {**said["base"], name: "another" * 9}}))
    message = refusal(lambda recipe, device: sweeping(grid), None)
    assert f"holds a sweep with other {name} (anothera, now {was[:8]}); add --overwrite to start anew" in message


def test_rows_from_before_variants_had_names_are_rows_of_the_same_table(sweeping):
    first = sweeping("{translator.mapper.input: [s3d]}")
    path = Path(first["folder"]) / "results.jsonl"
    (row,) = map(json.loads, path.read_text().splitlines())
    former = {key: value for key, value in row.items() if key not in ("variant", "shown")}
    path.write_text(json.dumps(former) + "\n")
    second = sweeping("{translator.mapper.input: [gloss_rep]}")
    assert second["results"][0] == former
    assert {row["translator.mapper.input"] for row in second["rows"]} == {"s3d", "gloss_rep"}
    assert "dev bleu4 p" in second["rows"][1]
    assert sweeping("{translator.mapper.input: [s3d]}")["results"][0] == row
