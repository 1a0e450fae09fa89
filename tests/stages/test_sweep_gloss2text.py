"""A sweep whose runs are Gloss2Text: the rows of a table of language models, without a store."""

import shutil
from pathlib import Path

import pytest
from gloss_corpus import SIZES, GlossCorpus

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.stages.sweep import sweep
from slt_pipeline.systems.sweeps import Sweep

TABLE = f"""{{
  stage: gloss2text_train, seeds: [1, 2],
  variants: {{
    mBART: {{}}, pieces: {{translator.gloss_input: pieces}},
    GPT-2: {{translator.language_model: gpt2, translator.gpt2: {SIZES}}}}}}}"""
QUICK = {"gloss2text_train__training__epochs": 2, "gloss2text_train__training__validate_every": 1}


@pytest.fixture
def corpus(tmp_path) -> GlossCorpus:
    return GlossCorpus(tmp_path)


def test_the_rows_of_a_table_of_language_models_are_one_sweep(corpus, slt):
    recipe = corpus.recipe("mbart", sweeps=f"{{table4: {TABLE}}}", **QUICK)
    report = sweep(recipe, "table4", device="cpu")
    assert [row["variant"] for row in report["rows"]] == ["mBART", "pieces", "GPT-2"]
    assert all(row["seeds"] == 2 and "dev bleu4" in row for row in report["rows"])
    folder = Path(report["folder"])
    assert "dev bleu4 p" in (folder / "table.csv").read_text().splitlines()[0]
    assert "GPT-2" in (folder / "table.tex").read_text()
    runs = [folder / result["folder"] for result in report["results"]]
    assert slt("evaluate", "--run", runs[-1]).status == 0
    assert slt("compare", runs[0], runs[-1]).status == 0
    before = [path.stat().st_mtime_ns for path in folder.rglob("weights.safetensors")]
    assert sweep(recipe, "table4", device="cpu")["rows"] == report["rows"]  # nothing is trained again
    assert [path.stat().st_mtime_ns for path in folder.rglob("weights.safetensors")] == before


def test_a_search_may_be_of_gloss2text(corpus):
    keys = "{keys: {translator.label_smoothing: {low: 0.0, high: 0.3}}, runs: 2}"
    recipe = corpus.recipe("gpt2", sweep=f"{{stage: gloss2text_train, search: {keys}}}", **QUICK)
    found = sweep(recipe, device="cpu")
    assert len(read_json_lines(Path(found["folder"]) / "results.jsonl")) == 2
    assert found["best"] is not None


JUDGED = """{
  stage: gloss2text_train,
  variants: {alone: {}, judged: {evaluate.rerank: {itself: [backward]}}}}"""


def test_a_row_that_cannot_be_judged_is_refused_before_it_is_trained(corpus, tmp_path):
    pieces = {"translator__gloss_input": "pieces", **QUICK}
    with pytest.raises(SltError, match=r"variant judged: .* and gloss2text_train.also is empty"):
        sweep(corpus.recipe("mbart", sweep=JUDGED, **pieces), device="cpu")
    grid = {"sweep": "{stage: gloss2text_train, grid: {translator.label_smoothing: [0, 0.1]}}", **pieces}
    missing = {"evaluate__rerank": f"{{runs: [{tmp_path}/missing]}}"}
    with pytest.raises(SltError, match="missing is no run folder"):
        sweep(corpus.recipe("mbart", **grid, **missing), device="cpu")
    turned = corpus.recipe("mbart", **grid, **missing, translator__direction="text2gloss")
    with pytest.raises(SltError, match=r"translator.direction is text2gloss; set -o evaluate.rerank=null"):
        sweep(turned, device="cpu")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_judge_that_was_trained_anew_is_that_of_another_table(corpus, tmp_path):
    values = {"translator__gloss_input": "pieces", **QUICK}
    judge = corpus.recipe("mbart", runs_dir=tmp_path / "judge", text__order="backward", **values)
    gloss2text_train(judge, device="cpu")
    folder = judge.run_folder("gloss2text_train")
    rows = f"{{alone: {{}}, judged: {{evaluate.rerank: {{runs: [{folder}]}}}}}}"
    one = f"{{stage: gloss2text_train, variants: {rows}}}"
    results = sweep(corpus.recipe("mbart", sweep=one, **values), device="cpu")["results"]
    assert not any("error" in row for row in results)
    anew = corpus.recipe("mbart", runs_dir=tmp_path / "judge", text__order="backward", seed=9, **values)
    gloss2text_train(anew, device="cpu", overwrite=True)
    with pytest.raises(SltError, match=f"holds a sweep with other weights of the judge {folder} "):
        sweep(corpus.recipe("mbart", sweep=one, **values), device="cpu")
    shutil.rmtree(folder)
    found = sweep(corpus.recipe("mbart", name="other", sweep=one, **values), device="cpu")["results"]
    assert ["error" in row for row in found] == [False, True] and f"{folder} is no run folder" in found[1]["error"]
    assert len(list((tmp_path / "runs" / "other").rglob("result.json"))) == 1  # what cannot be judged is not trained


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("grid: {translator.mapper.input: [s3d, gloss_rep]}", "Gloss2Text reads no signs"),
        ("grid: {translate_train.beam_size: [1, 3]}", "a sweep varies what is below translator, gloss2text_train"),
        ("grid: {gloss2text_train.training.num_workers: [0, 1]}", "not what comes out of it"),
        ("grid: {evaluate.beam_size: [1, 3]}", "Gloss2Text recognises no glosses"),
        ("grid: {seed: [1, 2]}", "list seeds under sweep.seeds"),
        ("grid: {translator.gloss_input: [vectors, pieces]}, metric: wer", "metric is wer"),
        ("grid: {translator.gloss_input: [vectors, pieces]}, oracle: true", "oracle is true"),
        ("seeds: [1]", "grid is empty"),
    ],
)
def test_what_says_nothing_of_gloss2text_is_refused_when_the_recipe_loads(corpus, options, reason):
    with pytest.raises(SltError, match=reason):
        corpus.recipe("mbart", sweep=f"{{stage: gloss2text_train, {options}}}")


def test_a_gpt2_is_no_row_of_a_sweep_of_translators_of_signs(corpus):
    with pytest.raises(SltError, match="a GPT-2 reads no signs"):
        corpus.recipe("mbart", sweep="{variants: {a: {}, b: {translator.language_model: gpt2}}}")


def test_sweeps_of_one_name_are_of_one_stage(corpus):
    grid = "grid: {translator.label_smoothing: [0.0, 0.1]}"
    one, other = (corpus.recipe("mbart", sweep=f"{{{stage}{grid}}}") for stage in ("stage: gloss2text_train, ", ""))
    assert Sweep(one, None, search=False).folder != Sweep(other, None, search=False).folder
