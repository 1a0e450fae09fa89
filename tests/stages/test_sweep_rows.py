"""The rows of one table go together: they differ in what the table says of them, and in nothing else."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gloss_corpus import GlossCorpus

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines, write_json
from slt_pipeline.stages import sweep as sweep_stage
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.systems import given
from slt_pipeline.training.checkpoint import best_checkpoint

SMOOTHING, FORM, BEAMS = "translator.label_smoothing", "translator.gloss_input", "gloss2text_train.generation.num_beams"


class Table:
    """A sweep of one name over Gloss2Text, whose runs are scored without being trained."""

    def __init__(self, corpus: GlossCorpus):
        self.corpus = corpus

    def __call__(
        self, tried: str, overwrite: bool = False, stage: str = "gloss2text_train", **values: Any
    ) -> dict[str, Any]:
        sweeps = f"{{table: {{stage: {stage}, {tried}}}}}"
        recipe = self.corpus.recipe("mbart", **{"sweeps": sweeps, **values})
        return sweep_stage.sweep(recipe, "table", device="cpu", overwrite=overwrite)


@pytest.fixture
def table(tmp_path, monkeypatch) -> Table:
    monkeypatch.setattr(sweep_stage, "_run", lambda *_: {"scores": {"dev": {"bleu4": 1.0, "rouge": 1.0}}})
    return Table(GlossCorpus(tmp_path))


def grid(**keys: list[Any]) -> str:
    return "grid: {" + ", ".join(f"{key}: {values}" for key, values in keys.items()) + "}"


def refusal(table: Table, *arguments: Any, **values: Any) -> str:
    with pytest.raises(SltError) as refused:
        table(*arguments, **values)
    return str(refused.value)


# --- one recipe


def search(key: str, low: float, high: float) -> str:
    return f"search: {{keys: {{{key}: {{low: {low}, high: {high}}}}}, runs: 2}}"


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (grid(**{BEAMS: [1, 3]}), grid(**{SMOOTHING: [0.4, 0.5]})),
        (search(BEAMS, 1, 3), search(SMOOTHING, 0.0, 0.5)),
    ],
)
def test_a_key_that_is_varied_now_had_the_recipes_value_in_earlier_rows(table, before, now):
    first = table(before)
    with pytest.raises(SltError) as refused:
        table(now, translator__label_smoothing=0.3)
    assert f"{first['folder']} holds runs with {SMOOTHING} = 0.2, which now is 0.3" in str(refused.value)
    assert "add --overwrite to start anew, or give this sweep another name" in str(refused.value)
    anew = table(now, overwrite=True, translator__label_smoothing=0.3)["results"]
    assert [list(row["values"]) for row in anew] == [[SMOOTHING], [SMOOTHING]]


def test_another_grid_of_the_same_recipe_is_more_rows_whatever_the_recipes_values(table):
    given = {"translator__label_smoothing": 0.3, "gloss2text_train__generation__num_beams": 4}
    table(grid(**{BEAMS: [1, 3]}), **given)
    rows = table(grid(**{SMOOTHING: [0.4]}), **given)["results"]
    assert [row["values"] for row in rows] == [{BEAMS: 1}, {BEAMS: 3}, {SMOOTHING: 0.4}]


def test_a_recipes_own_value_of_what_every_row_sets_may_change(table):
    table(grid(**{SMOOTHING: [0.4]}))
    assert len(table(grid(**{SMOOTHING: [0.5]}), translator__label_smoothing=0.3)["results"]) == 2


def test_rows_that_were_decoded_with_another_value_of_what_is_varied_now_are_left_out(table, caplog):
    beams = "evaluate.generation.num_beams"
    table(grid(**{SMOOTHING: [0.4]}))
    caplog.set_level("INFO")
    rows = table(grid(**{beams: [1, 2]}), evaluate__generation__num_beams=3)["results"]
    assert [row["values"] for row in rows] == [{beams: 1}, {beams: 2}]
    assert "1 earlier rows were scored otherwise" in caplog.text


@pytest.mark.parametrize("tried", [grid(**{SMOOTHING: [0.4]}), search(SMOOTHING, 0.0, 0.5)])
@pytest.mark.parametrize("written_down", [True, False])  # earlier versions did not, but every run did
def test_rows_of_another_manifest_are_refused_and_kept(table, tried, written_down):
    folder = Path(table(tried)["folder"])
    before = (folder / "results.jsonl").read_bytes(), (folder / "table.md").read_bytes()
    if not written_down:
        told = read_json(folder / "sweep.json")
        write_json(folder / "inputs.json", {"clips": told["base"].pop("clips")})
        write_json(folder / "sweep.json", told)
        for row in read_json_lines(folder / "results.jsonl"):
            (folder / row["folder"]).mkdir()
            shutil.copy(folder / "inputs.json", folder / row["folder"] / "inputs.json")
    path = table.corpus.root / "manifest.jsonl"
    path.write_text(path.read_text().replace("im osten gibt es schnee", "im osten liegt schnee"))
    message = refusal(table, tried)
    assert f"{folder} holds a sweep with other clips in its manifest (" in message
    assert "add --overwrite to start anew, give this sweep another name, or put back what was there" in message
    assert ((folder / "results.jsonl").read_bytes(), (folder / "table.md").read_bytes()) == before
    assert table(tried, overwrite=True)["results"]


def test_a_sweep_whose_runs_all_failed_goes_on_with_a_manifest_that_is_set_right(table, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sweep_stage, "_run", lambda *_: {"error": "of 8 clips none has a text"})
        table(grid(**{SMOOTHING: [0.4]}))
    path = table.corpus.root / "manifest.jsonl"
    path.write_text(path.read_text().replace("im osten gibt es schnee", "im osten liegt schnee"))
    (row,) = table(grid(**{SMOOTHING: [0.4]}))["results"]
    assert "error" not in row


@pytest.mark.parametrize("protocol", ["csl-daily", "plain-word"])  # of version 1, as phoenix14t is, and of another
def test_rows_of_another_protocol_are_refused_and_kept(table, protocol):
    folder = Path(table(grid(**{SMOOTHING: [0.4]}), corpus__protocol="phoenix14t")["folder"])
    before = (folder / "results.jsonl").read_bytes()
    message = refusal(table, grid(**{SMOOTHING: [0.4]}), corpus__protocol=protocol)
    assert f'holds runs with corpus.protocol = "phoenix14t", which now is "{protocol}"' in message
    assert "set it back, add --overwrite to start anew, or give this sweep another name" in message
    assert (folder / "results.jsonl").read_bytes() == before


def test_rows_of_an_earlier_call_are_gone_as_soon_as_they_are_given_up(table, monkeypatch):
    """Else a kill before the first new one would leave them beside another recipe, which the next call goes on with."""
    folder = Path(table(grid(**{BEAMS: [1, 3]}))["folder"])
    monkeypatch.setattr(sweep_stage, "_run_all", lambda *_: {})
    table(grid(**{SMOOTHING: [0.4]}), overwrite=True, translator__label_smoothing=0.3)
    assert not (folder / "results.jsonl").exists()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("", "every run is drawn at random, and scores decide nothing: sweeps.table.search.startup is 8 and runs 2;"),
        (", startup: 1, prune_after: 99", "epochs is pruned: sweeps.table.search.prune_after is 99, and the last"),
        (", startup: 1", None),
        (", startup: 1, prune: false", None),
    ],
)
def test_a_search_says_that_scores_decide_or_prune_nothing(table, caplog, keys, said):
    table(search(SMOOTHING, 0.0, 0.5).replace("runs: 2", f"runs: 2{keys}"))
    told = [record.message for record in caplog.records if record.message.startswith("search: ")]
    assert [said in line for line in told] == ([True] if said else [])


# --- weights that are there


def test_rows_that_other_teachers_taught_are_refused(table):
    short = {"name": "teacher", "gloss2text_train__training__epochs": 1}
    recipe = table.corpus.recipe("mbart", **short)
    teacher = recipe.run_folder("gloss2text_train")
    gloss2text_train(recipe, device="cpu")
    was = best_checkpoint(teacher, "").weights_hash
    given = {"gloss2text_train__teachers": f"[{teacher}]", "gloss2text_train__regularise__distillation": 1.0}
    first = table(grid(**{SMOOTHING: [0.0]}), **given)
    assert len(table(grid(**{SMOOTHING: [0.1]}), **given)["results"]) == 2
    gloss2text_train(table.corpus.recipe("mbart", seed=4, **short), device="cpu", overwrite=True)
    is_now = best_checkpoint(teacher, "").weights_hash
    message = refusal(table, grid(**{SMOOTHING: [0.2]}), **given)
    assert f"{first['folder']} holds a sweep with other weights of the teacher {teacher} " in message
    assert f"({was[:8]}, now {is_now[:8]}); add --overwrite" in message
    assert len(table(grid(**{SMOOTHING: [0.2]}), overwrite=True, **given)["results"]) == 1


@pytest.mark.parametrize(
    ("key", "file", "what"),
    [
        ("translator.mbart.folder", "model.safetensors", "mbart in"),
        ("text.tokenizer", "sentencepiece.bpe.model", "tokenizer in"),
    ],
)
@pytest.mark.parametrize("stage", ["gloss2text_train", "translate_train"])
def test_rows_of_another_content_of_a_given_folder_are_refused(table, tmp_path, monkeypatch, key, file, what, stage):
    monkeypatch.setattr(given, "open_features", lambda _: SimpleNamespace(fingerprint={}))
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / file).write_bytes(b"one")
    once = {"stage": stage, "translate_train__init_language": "null"}
    alone, named = {key.replace(".", "__"): folder}, f"variants: {{own: {{}}, given: {{{key}: {folder}}}}}"
    table(grid(**{SMOOTHING: [0.0]}), **once, **alone)
    table(named, name="varied", **once)
    (folder / file).write_bytes(b"other")
    assert f"holds a sweep with other {what} {folder} (" in refusal(table, grid(**{SMOOTHING: [0.1]}), **once, **alone)
    assert f"holds a sweep with other {what} {folder} (" in refusal(table, named, name="varied", **once)


def test_teachers_that_are_not_there_are_no_rows(table, tmp_path):
    given = {"gloss2text_train__regularise__distillation": 1.0}
    nowhere = tmp_path / "nowhere"
    message = refusal(table, grid(**{SMOOTHING: [0.0]}), gloss2text_train__teachers=f"[{nowhere}]", **given)
    assert f"no trained weights in {nowhere}" in message


# --- files


def test_a_plot_is_there_only_while_it_shows_the_table(table):
    first = table(grid(**{SMOOTHING: [0.0, 0.1]}))
    plot = Path(first["folder"]) / "plot.png"
    assert plot.is_file() and str(plot) in first["written"]
    more = table(grid(**{FORM: ["pieces"]}))
    assert len(more["results"]) == 3
    assert not plot.exists() and str(plot) not in more["written"]
    again = table(grid(**{SMOOTHING: [0.0, 0.1]}))  # a number, and rows that have none
    assert len(again["results"]) == 3
    assert not plot.exists()


def test_overwriting_leaves_no_file_of_the_earlier_table(table, monkeypatch):
    folder = Path(table(grid(**{SMOOTHING: [0.0, 0.1]}))["folder"])
    monkeypatch.setattr(sweep_stage, "_run_all", lambda *_: {})  # killed before the first run ends
    table("variants: {one: {}, two: {translator.label_smoothing: 0.4}}", overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"recipe.yaml", "sweep.json"}
