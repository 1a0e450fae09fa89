"""One encoder, one store and one language model serve many translators; a run opens from itself."""

import json
import shutil
from pathlib import Path

import pytest
from cache_tools import files
from stage_tools import refusal, rows

from slt_pipeline.config import recipe as recipes
from slt_pipeline.config.recipe import load_recipe
from slt_pipeline.files import read_json_lines

QUICK = ["translate_train.training.epochs=1", "translate_train.training.validate_every=1"]


@pytest.fixture
def sibling(toy, tmp_path, monkeypatch):
    """Write a recipe of a translator that takes the rest from the trained system."""

    def write(where: str) -> Path:
        name = {"name": "toy", "file": toy.file, "folder": toy.root / "runs" / "toy"}[where]
        if where == "name":  # as a shipped recipe has one
            (tmp_path / "shipped").mkdir()
            shutil.copy(toy.file, tmp_path / "shipped" / "toy.yaml")
            monkeypatch.setattr(recipes, "_root", lambda: tmp_path / "shipped")
        path = tmp_path / "sibling.yaml"
        runs = tmp_path / "own-runs" if where == "folder" else toy.root / "runs"
        uses = f"uses: {{encoder: {name}, language: {name}}}"
        path.write_text(f"extends: {toy.file}\nruns_dir: {runs}\n{uses}\n")
        return path

    yield write
    shutil.rmtree(toy.root / "runs" / "sibling", ignore_errors=True)


def test_a_missing_store_of_a_run_that_is_named_is_made_by_the_command_that_is_told(own, stages, slt):
    encoder = own.recipe().encoder_folder
    recipe = own.recipe(uses__encoder=encoder)
    shutil.rmtree(recipe.store)
    said = refusal(stages["evaluate"], recipe)
    assert said.startswith(f"no feature store at {recipe.store}; make it with `slt extract --run {encoder}`")
    assert slt("extract", "--run", encoder, "--device", "cpu").status == 0
    assert rows(stages["evaluate"](recipe, device="cpu")).keys() == rows(own.results["evaluate"]).keys()


@pytest.mark.parametrize("where", ["name", "file", "folder"])
def test_a_sibling_trains_and_is_evaluated_on_the_store_of_another_recipe(toy, stages, sibling, tmp_path, where):
    recipe = load_recipe(str(sibling(where)), ["translator.mapper.input=s3d", *QUICK])
    before = files(toy.root / "runs" / "toy")
    stages["translate_train"](recipe, device="cpu")
    found = rows(stages["evaluate"](recipe, device="cpu"))
    assert [path.name for path in sorted(recipe.run_folder("x").parent.iterdir())] == ["evaluate", "translate_train"]
    assert files(toy.root / "runs" / "toy") == before
    expected = rows(toy.results["evaluate"])
    for task in ("sign2gloss", "gloss2text", "sign2gloss2text"):  # of the systems that both share
        assert found[task, "test"]["checkpoints"] == expected[task, "test"]["checkpoints"]
    assert found["sign2text", "test"]["checkpoints"] != expected["sign2text", "test"]["checkpoints"]
    inputs = json.loads((recipe.run_folder("translate_train") / "inputs.json").read_text())
    assert inputs["store.encoder_weights"].startswith(expected["sign2gloss", "test"]["checkpoints"]["encoder"])
    assert inputs["language"].startswith(expected["gloss2text", "test"]["checkpoints"]["language"])


def test_a_run_may_be_named_in_place_of_an_experiment(toy, stages, tmp_path):
    runs = toy.root / "runs" / "toy"
    uses = f"{{encoder: {runs}/visual_train, language: {runs}/gloss2text_train}}"
    recipe = load_recipe(str(toy.file), [f"runs_dir={tmp_path}", f"uses={uses}", *QUICK])
    assert recipe.store == toy.recipe().store
    assert stages["translate_train"](recipe, device="cpu")["best_step"] > 0


@pytest.mark.parametrize("stage", ["translate_train", "evaluate", "sweep"])
def test_another_encoder_section_than_that_of_the_used_encoder_is_refused(toy, stages, sibling, stage):
    recipe = load_recipe(str(sibling("folder")), ["encoder.head.feedforward=32"])
    message = refusal(stages[stage], recipe)
    assert f"{toy.recipe().encoder_folder} was made with encoder.head.feedforward = 16, but now it is 32" in message


def test_what_is_used_and_is_not_there_is_named(toy, stages, tmp_path):
    for name, words in (
        ("no-such", "no recipe is called no-such"),
        (str(tmp_path / "x.yaml"), "x.yaml does not exist"),
    ):
        recipe = toy.recipe(uses__encoder=name)
        assert words in refusal(stages["translate_train"], recipe)
    (tmp_path / "empty").mkdir()
    message = refusal(stages["translate_train"], toy.recipe(uses__encoder=tmp_path / "empty"))
    assert str(tmp_path / "empty" / "visual_train") in message
    assert "`slt visual-train" in message


# --- --run


def test_the_winner_of_a_sweep_is_evaluated_by_its_folder(own, toy, slt):
    won = max(toy.results["sweep"]["results"], key=lambda result: result["scores"]["dev"]["rouge"])
    folder = Path(toy.results["sweep"]["folder"]) / won["folder"]
    folder = own.root / folder.relative_to(toy.root)
    before = {path: found for path, found in files(own.root).items() if "evaluate" not in path.parts}
    run = slt("evaluate", "--run", folder, "--device", "cpu")
    assert (run.status, run.err) == (0, "")
    found = rows({"rows": json.loads((folder / "evaluate" / "scores.json").read_text())})
    assert found.keys() == {("sign2text", "dev"), ("sign2text", "test")}
    for (_, split), row in found.items():
        assert {name: row[name] for name in ("bleu1", "rouge")} == {
            name: won["scores"][split][name] for name in ("bleu1", "rouge")
        }
    assert {path: found for path, found in files(own.root).items() if "evaluate" not in path.parts} == before


def test_every_run_of_a_sweep_translates_videos_and_says_where_it_has_no_confidence(toy, slt):
    sweep = toy.results["sweep"]
    folders = [Path(sweep["folder"]) / result["folder"] for result in sweep["results"]]
    assert Path(sweep["best"]) in folders and len(folders) > 1
    for folder in folders:
        run = slt("translate", "--run", folder, *[toy.video(clip) for clip in toy.of("test")], "--device", "cpu")
        won = folder == Path(sweep["best"])
        assert run.status == 0
        assert run.err == "" if won else f"`slt confidence --run {folder}` writes it" in run.err
        found = [json.loads(line) for line in run.out.splitlines()]
        assert all((line["confidence"] is not None) == won for line in found)
        decoded = read_json_lines(folder / "evaluate" / "sign2text-test.jsonl")
        assert [line["text"] for line in found] == [pair["hypothesis"] for pair in decoded]


def test_a_run_brings_its_own_recipe(toy, slt, tmp_path):
    folder = toy.recipe().run_folder("translate_train")
    assert "leave out --recipe" in slt("evaluate", "--run", folder, "-r", toy.file).err
    run = slt("evaluate", "--run", tmp_path)
    assert run.status == 2
    assert f"{tmp_path} is no run folder: it has no recipe.yaml" in run.err
