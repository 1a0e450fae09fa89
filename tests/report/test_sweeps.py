"""The table and the plot of a sweep say what was scored: order, spread, p-values, and what an oracle decodes apart."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slt_pipeline.report.sweep_plot import plot_sweep
from slt_pipeline.report.sweeps import best_run, sweep_groups, sweep_table

KEY = "translate_train.objective.output_kl.to"
RED, GREEN = (0xEE, 0x66, 0x77), (0x22, 0x88, 0x33)


def run(value, seed=1, oracle=None, key=KEY, **scores):
    """One run with BLEU-4 by split."""
    row = {"values": {key: value}, "seed": seed, "scores": {split: {"bleu4": bleu} for split, bleu in scores.items()}}
    return {**row, "oracle": {split: {"bleu4": bleu} for split, bleu in oracle.items()}} if oracle else row


def table(results, metric="bleu4", p_values=(), ranked=True):
    return sweep_table(sweep_groups(results, metric, metric == "wer", ranked), metric, p_values, 1000)


@pytest.mark.parametrize(("metric", "best_first"), [("bleu4", [3, 2, 1]), ("wer", [1, 2, 3])])
def test_the_best_on_dev_is_first_and_less_is_better_where_mistakes_are_counted(metric, best_first):
    results = [{"values": {"k": n}, "seed": 1, "scores": {"dev": {metric: float(n)}}} for n in (2, 3, 1)]
    found = table([*results, {"values": {"k": 4}, "seed": 1, "error": "x"}], metric)
    assert [row["k"] for row in found.rows] == [str(n) for n in (*best_first, 4)]
    assert found.rows[3] == {"k": "4", "seeds": 0, "failed": "1: x"}


def test_the_best_run_is_one_run_by_dev_and_never_by_an_oracle():
    one, other = run(1, dev=9.0, test=1.0, oracle={"dev": 9.0}), run(2, dev=8.0, test=9.0, oracle={"dev": 90.0})
    failed = {"values": {KEY: 3}, "seed": 1, "error": "x"}
    assert best_run([[failed, other], [one]], "bleu4", lower_is_better=False) is one
    assert best_run([[one, other]], "bleu4", lower_is_better=True) is other
    assert best_run([[run(1, test=1.0), other]], "bleu4", lower_is_better=False) is other
    assert best_run([[failed]], "bleu4", lower_is_better=False) is None


def test_named_rows_keep_their_order():
    results = [{**run(n, dev=float(n)), "variant": name, "shown": {}} for n, name in enumerate("bac")]
    found = table(results, ranked=False)
    assert found.columns == ["variant", "seeds", "dev bleu4"]
    assert [row["variant"] for row in found.rows] == ["b", "a", "c"]


def test_an_oracle_never_ranks():
    results = [run(1, dev=9.0, oracle={"dev": 10.0}), run(2, dev=8.0, oracle={"dev": 90.0}), run(3, dev=7.0)]
    found = table(results)
    assert [row[KEY] for row in found.rows] == ["1", "2", "3"]
    assert [row.get("dev bleu4 (oracle)") for row in found.rows] == [10.0, 90.0, None]


def test_p_stands_beside_its_score_though_the_first_row_has_none():
    results = [run(1, dev=9.0, test=9.0), run(1, 2, dev=8.0, test=7.0), run(2, dev=1.0, test=1.0)]
    found = table(results, p_values=[{}, {"dev": 0.00099, "test": 0.5}])
    columns = ["dev bleu4", "dev bleu4 sd", "dev bleu4 p", "test bleu4", "test bleu4 sd", "test bleu4 p"]
    assert found.columns == [KEY, "seeds", *columns]
    heading, _, first, second, _, note = found.markdown().splitlines()[:6]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (heading, first, second)]
    assert cells[1] == ["1", "2", "8.50", "0.71", "-", "8.00", "1.41", "-"]
    assert cells[2] == ["2", "1", "1.00", "-", "0.001", "1.00", "-", "0.500"]
    assert note.startswith("p: paired bootstrap over sentences against the first row, two-sided, 1000 draws")
    assert "p:" not in table(results).markdown()


def test_the_terminal_has_mean_and_spread_in_one_column_and_short_headings():
    results = [run(1, dev=9.0, oracle={"dev": 10.0}), run(1, 2, dev=8.0, oracle={"dev": 30.0}), run(2, dev=1.0)]
    assert table(results, p_values=[{}, {"dev": 0.25}]).text() == (
        "output_kl.to  seeds  dev bleu4    p      oracle\n"
        "------------  -----  -----------  -----  ------\n"
        "1                 2   8.50 ±0.71  -       20.00\n"
        "2                 1  1.00         0.250       -"
    )


@pytest.mark.parametrize("metric", ["rouge", "chrf"])
def test_the_terminal_has_the_score_that_it_is_sorted_by(metric):
    results = [{**run(n), "scores": {"dev": {"bleu4": 1.0, "rouge": n, "chrf": n}}} for n in (2.0, 3.0)]
    heading, _, first, _ = table(results, metric).text().splitlines()
    assert heading.split() == ["output_kl.to", "seeds", "dev", "bleu4", "dev", metric]
    assert first.split() == ["3.0", "1", "1.00", "3.00"]
    assert metric not in table(results).text()


def test_keys_whose_last_parts_are_alike_stand_whole_in_the_terminal_too():
    one, two = "translate_train.generation.num_beams", "evaluate.generation.num_beams"
    row = {"values": {one: 1, two: 2}, "seed": 1, "scores": {"dev": {"bleu4": 1.0}}}
    assert table([row]).text().split()[:2] == [one, two]


# --- plot


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def share(path: Path, colour) -> int:
    return int((np.abs(pixels(path) - colour) <= 2).all(axis=-1).sum())


def groups(results):
    return sweep_groups(results, "bleu4", False)


def test_the_plot_has_a_curve_a_split_in_the_order_of_the_values(tmp_path):
    results = [run(n, seed, dev=10.0 * n + seed, test=50.0) for n in (3, 1, 2) for seed in (1, 2)]
    plot_sweep(groups(results), KEY, tmp_path / "plot.png")
    assert share(tmp_path / "plot.png", RED) and share(tmp_path / "plot.png", GREEN)
    rows, columns = np.nonzero((np.abs(pixels(tmp_path / "plot.png") - RED) <= 2).all(axis=-1))
    left, right = rows[columns < np.quantile(columns, 0.2)], rows[columns > np.quantile(columns, 0.8)]
    assert left.mean() > right.mean()  # it rises


def test_the_spread_over_seeds_is_a_bar(tmp_path):
    amounts = []
    for spread in (1.0, 30.0):
        results = [run(n, seed, test=50.0 + spread * (-1) ** seed) for n in (1, 2) for seed in (1, 2)]
        frame = [run(1, 3, dev=0.0), run(2, 3, dev=100.0)]  # the axis is the same for both
        plot_sweep(groups([*results, *frame]), KEY, tmp_path / "plot.png")
        amounts.append(share(tmp_path / "plot.png", GREEN))
    assert amounts[1] > amounts[0] + 200


def test_an_oracle_is_dashed(tmp_path):
    results = [run(n, dev=float(n), oracle={"dev": n + 1.0}) for n in (1, 2, 3)]
    for name, rows in {"with": results, "without": [{**row, "oracle": {}} for row in results]}.items():
        plot_sweep(groups(rows), KEY, tmp_path / f"{name}.svg")
    found = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.svg")}
    assert {name: "stroke-dasharray" in text for name, text in found.items()} == {"with": True, "without": False}


def test_nothing_scored_is_no_plot_and_what_failed_is_left_out(tmp_path):
    failed = {"values": {KEY: 5}, "seed": 1, "error": "x"}
    plot_sweep(groups([failed]), KEY, tmp_path / "none.png")
    assert not list(tmp_path.iterdir())
    plot_sweep(groups([failed, run(1, test=3.0)]), KEY, tmp_path / "plot.png")
    assert share(tmp_path / "plot.png", GREEN)
