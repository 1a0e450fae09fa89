"""The picture of a search shows every run over each key, and what explains their scores comes first."""

import re
from pathlib import Path

import pytest

from slt_pipeline.config.search import SearchConfig
from slt_pipeline.report.search_plot import plot_search
from slt_pipeline.systems.search import importances

RATE, TAP, BEAMS, OTHER_BEAMS = (
    "translate_train.training.optimiser.lr.default",
    "translator.mapper.input",
    "translate_train.generation.num_beams",
    "evaluate.generation.num_beams",
)
SEARCH = SearchConfig.model_validate(
    {
        "keys": {
            RATE: {"low": 1e-4, "high": 1e-1, "log": True},
            TAP: {"choices": ["s3d", "gloss_rep", "gloss_probs"]},
        },
        "runs": 20,
    }
)


def row(number: int, rate: float, tap: str, score: float, of: str = "scores"):
    return {"number": number, "seed": 1, "values": {RATE: rate, TAP: tap}, of: {"dev": {"bleu4": score}}}


def rows(explains: str, count: int = 12):
    rates, taps = [1e-4 * 1.7**n for n in range(count)], ["s3d", "gloss_rep", "gloss_probs"] * count
    decides = {RATE: lambda n: float(n), TAP: lambda n: 5.0 * (n % 3)}[explains]
    return [row(n, rates[n], taps[n], decides(n)) for n in range(count)]


@pytest.mark.parametrize("key", [RATE, TAP])
def test_the_key_that_decides_the_scores_explains_most_of_them(key):
    found = importances(SEARCH, rows(key), "bleu4")
    assert next(iter(found)) == key and found[key] > 0.6
    assert sum(found.values()) == pytest.approx(1)
    assert found == importances(SEARCH, rows(key), "bleu4")


def test_of_few_runs_of_equal_ones_and_of_one_key_nothing_is_said():
    assert importances(SEARCH, rows(RATE, 9), "bleu4") == {}
    assert importances(SEARCH, [row(n, 1e-3 + n / 1000, "s3d", 3.0) for n in range(12)], "bleu4") == {}
    alone = SEARCH.model_copy(update={"keys": {RATE: SEARCH.keys[RATE]}})
    assert importances(alone, [{**r, "values": {RATE: r["values"][RATE]}} for r in rows(RATE)], "bleu4") == {}


def test_runs_that_were_pruned_or_are_of_other_keys_explain_nothing():
    pruned = [row(n, 1e-2, "s3d", 99.0, of="until_then") | {"pruned_at": 1} for n in range(20, 30)]
    others = [{**r, "values": {RATE: 1e-3, "seed": 1}} for r in rows(TAP)]
    assert importances(SEARCH, [*rows(RATE), *pruned, *others], "bleu4") == importances(SEARCH, rows(RATE), "bleu4")


def drawn(path: Path, finished, pruned=(), keys=None, explained=None, lower: bool = False) -> str:
    plot_search(finished, pruned, "bleu4", lower, keys or {RATE: True, TAP: False}, explained or {}, path)
    return path.read_text(encoding="utf-8")


def said(svg: str) -> list[str]:
    """Matplotlib keeps what is written as a comment beside its outlines."""
    return re.findall(r"<!-- (.+?) -->", svg)


def test_each_key_has_a_panel_and_what_explains_more_comes_first(tmp_path):
    runs = [{"values": r["values"], "score": r["scores"]["dev"]["bleu4"]} for r in rows(TAP)]
    texts = said(drawn(tmp_path / "plot.svg", runs, explained={TAP: 0.9, RATE: 0.1}))
    assert texts.index("mapper.input  (90%)") < texts.index("lr.default  (10%)")
    assert {"s3d", "gloss_rep", "gloss_probs", "dev bleu4"} <= {*texts}
    assert not any("pruned" in text for text in texts)
    assert "each dot a run" in " ".join(said(drawn(tmp_path / "none.svg", runs)))


def test_keys_that_end_alike_are_told_apart(tmp_path):
    runs = [{"values": {BEAMS: n, OTHER_BEAMS: 5 - n}, "score": float(n)} for n in range(1, 5)]
    texts = said(drawn(tmp_path / "plot.svg", runs, keys={BEAMS: False, OTHER_BEAMS: False}))
    assert {BEAMS, OTHER_BEAMS} <= {*texts}


def test_a_pruned_run_is_hollow_and_said_to_be(tmp_path):
    runs = [{"values": r["values"], "score": r["scores"]["dev"]["bleu4"]} for r in rows(RATE, 4)]
    texts = said(drawn(tmp_path / "plot.svg", runs[:3], runs[3:]))
    assert any("hollow: pruned" in text for text in texts)


def test_choices_of_any_kind_have_a_place(tmp_path):
    values = [None, True, 0.5, "a" * 60, "a" * 59 + "b", [1, 2]]
    runs = [{"values": {TAP: value}, "score": 1.0} for value in values]
    texts = said(drawn(tmp_path / "plot.svg", runs, keys={TAP: False}))
    assert texts.count("a" * 23 + "…") == 2 and {"None", "True", "0.5", "[1, 2]"} <= {*texts}


def test_nothing_finished_is_no_picture(tmp_path):
    pruned = [{"values": {RATE: 1e-3, TAP: "s3d"}, "score": 1.0}]
    plot_search([], pruned, "bleu4", False, {RATE: True, TAP: False}, {}, tmp_path / "plot.png")
    assert not list(tmp_path.iterdir())
