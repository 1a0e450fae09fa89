"""A sweep whose runs are Gloss2Text: the rows of a table of language models, without a store."""

from pathlib import Path

import pytest
from gloss_corpus import SIZES, GlossCorpus

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json_lines
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
