"""The table of a sweep: one row a combination, mean and standard deviation over seeds, p-values against the first."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slt_pipeline.report.tables import csv_table, latex_table, markdown_table, text_table

Run = Mapping[str, Any]
"""A row of a sweep's results: `values` by key, `seed`, and `scores` by split or `error`."""
Group = Sequence[Run]
"""Runs that differ in their seed alone."""

ORACLE_NOTE = (
    "(oracle): decoded from the posterior, which knows the right text. It is an upper bound, and is compared with "
    "nothing."
)


@dataclass(frozen=True)
class SweepTable:
    """Rows by column, as numbers, in the order in which they are shown."""

    rows: list[dict[str, Any]]
    columns: list[str]
    keys: list[str]
    """Those of the columns that are keys of the recipe."""
    num_draws: int
    """Draws behind the p-values."""
    scored_by: tuple[str, ...] = ()
    """Protocols of the scores, with their versions and how they compute."""
    metric: str = "bleu4"
    """Score by which it was sorted."""

    def markdown(self) -> str:
        """Every column, and below the table what some of them mean."""
        decimals = {name: 3 for name in self.columns if name.endswith(" p")}
        return "\n\n".join([markdown_table(self.rows, self.columns, decimals=decimals), *self._notes()]) + "\n"

    def csv(self) -> str:
        """Every column in full precision, for other programs."""
        return csv_table(self.rows, self.columns)

    def latex(self) -> str:
        """Every column, mean and standard deviation in one, for a paper."""
        columns = [name for name in self.columns if not name.removesuffix(" (oracle)").endswith(" sd")]
        rows = [{name: _cell(row, name, oracle_sd=True) for name in columns} for row in self.rows]
        return "".join(f"% {note}\n" for note in self._notes()) + latex_table(rows, columns)

    def text(self) -> str:
        """The table for the terminal: BLEU-4 and what it was sorted by, mean and standard deviation in one column."""
        headings = {name: heading for name in self.columns if (heading := self._short(name, self.columns))}
        rows = [{name: _cell(row, name) for name in headings} for row in self.rows]
        return text_table(rows, headings)

    def _short(self, name: str, names: Sequence[str]) -> str:
        """Heading for the terminal; empty: it stands in another column, or in table.md alone."""
        if name in self.keys:
            parts = name.split(".")
            tails = (".".join(parts[-length:]) for length in range(min(2, len(parts)), len(parts)))
            others = [key for key in self.keys if key != name]
            return next((tail for tail in tails if not any(f".{key}".endswith(f".{tail}") for key in others)), name)
        aside = name.endswith((" rouge", " chrf")) and not name.endswith(f" {self.metric}")
        if aside or name.endswith((" sd", " rouge (oracle)", " chrf (oracle)")):
            return ""
        return "p" if name.endswith(" p") else "oracle" if name.endswith("(oracle)") else name

    def _notes(self) -> list[str]:
        notes = []
        if any(name.endswith(" p") for name in self.columns):
            notes.append(
                f"p: paired bootstrap over sentences against the first row, two-sided, {self.num_draws} draws: how "
                "often a difference in BLEU-4 at least as large would come from the choice of sentences alone, were "
                "both equally good. A sentence is drawn with its outputs of all seeds that both rows have; what seeds "
                "change is in sd, the standard deviation over them."
            )
        notes += [f"Scored by {protocol}." for protocol in self.scored_by]
        return [*notes, *([ORACLE_NOTE] if any(name.endswith("(oracle)") for name in self.columns) else [])]


def sweep_groups(results: Sequence[Run], metric: str, lower_is_better: bool, ranked: bool = True) -> list[Group]:
    """The runs of each combination, in the order of the table.

    Args:
        results: all runs.
        metric: score by which combinations are ranked, on dev where it was scored, else on the first split.
        lower_is_better: whether less of it is better.
        ranked: best first; or in the order of the results.
    """
    grouped: dict[str, list[Run]] = {}
    for result in results:
        grouped.setdefault(json.dumps([result.get("variant", ""), result["values"]], sort_keys=True), []).append(result)
    groups: list[Group] = list(grouped.values())
    if not ranked:
        return groups
    by = _decides(results)

    def rank(runs: Group) -> tuple[int, float]:
        for place, of in enumerate(("scores", "until_then")):  # what was pruned stands behind what came to its end
            if figures := figures_of(runs, by, metric, of):
                value = statistics.fmean(figures)
                return place, value if lower_is_better else -value
        return 2, 0.0

    return sorted(groups, key=rank)


def best_run(groups: Sequence[Group], metric: str, lower_is_better: bool) -> Run | None:
    """The run with the best score, on dev where it was scored, else on the first split; None: no run has one."""
    scored = [run for runs in groups for run in runs if run.get("scores")]
    by = _decides(scored)
    found = [run for run in scored if metric in run["scores"].get(by, {})]
    return (min if lower_is_better else max)(found, key=lambda run: run["scores"][by][metric], default=None)


def sweep_table(
    groups: Sequence[Group], metric: str, p_values: Sequence[Mapping[str, float]] = (), num_draws: int = 0
) -> SweepTable:
    """The table of combinations in their order.

    Args:
        groups: runs of each combination.
        metric: a score that is shown beside BLEU-4 and ROUGE-L.
        p_values: of each combination against the first, by split.
        num_draws: draws behind them.
    """
    rows = [_row(runs, metric, best=place == 0) for place, runs in enumerate(groups)]
    for row, found in zip(rows, p_values, strict=bool(p_values)):
        row |= {f"{split} bleu4 p": value for split, value in found.items()}
    keys = list(dict.fromkeys(key for runs in groups for run in runs for key in _shown(run)))
    present = {name for row in rows for name in row}
    splits = _splits([run for runs in groups for run in runs])
    scores = [
        f"{split} {name}{column}"
        for split in splits
        for name in _names(metric)
        for column in ("", " sd", " p", " (oracle)", " (oracle) sd")
    ]
    columns = [name for name in ("run", "variant", *keys, "seeds", *scores, "outcome", "failed") if name in present]
    return SweepTable(rows, columns, keys, num_draws, _protocols(run for runs in groups for run in runs), metric)


def figures_of(runs: Group, split: str, name: str, of: str = "scores") -> list[float]:
    """One score of every run that has it. of: `scores`, `oracle`, or `until_then` of runs that were pruned."""
    return [run[of][split][name] for run in runs if name in run.get(of, {}).get(split, {})]


def _row(runs: Group, metric: str, best: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"variant": runs[0]["variant"]} if runs[0].get("variant") else {}
    if "number" in runs[0]:
        row |= {"run": runs[0]["number"], "outcome": _outcome(runs, metric, best)}
    row |= {key: _as_typed(value) for key, value in _shown(runs[0]).items()}
    row["seeds"] = sum("scores" in run for run in runs)
    for split in _splits(runs):
        for name in _names(metric):
            for of, mark in (("scores", ""), ("oracle", " (oracle)")):
                figures = figures_of(runs, split, name, of)
                if figures:
                    row[f"{split} {name}{mark}"] = statistics.fmean(figures)
                if len(figures) > 1:
                    row[f"{split} {name}{mark} sd"] = statistics.stdev(figures)
    errors = [run["error"] for run in runs if "error" in run]
    if errors:
        row["failed"] = f"{len(errors)}: {errors[0]}"
    return row


def _cell(row: Mapping[str, Any], name: str, *, oracle_sd: bool = False) -> Any:
    value = row.get(name)
    if not isinstance(value, float):
        return value
    if name.endswith(" p"):
        return f"{value:.3f}"
    has_sd = f"{name} sd" in row and (oracle_sd or "(oracle)" not in name)
    return f"{value:5.2f} ±{row[f'{name} sd']:.2f}" if has_sd else value


def _outcome(runs: Group, metric: str, best: bool) -> str:
    """How a run of a search ended, in words; of several seeds the first."""
    if any("scores" in run for run in runs):
        return "best" if best else "finished"
    for run in runs:
        if "pruned_at" in run:
            until = run.get("until_then", {}).get("dev", {}).get(metric)
            return f"pruned at epoch {run['pruned_at']}" + (
                "" if until is None else f", dev {metric} {until:.2f} until then"
            )
    return "failed"


def _decides(results: Iterable[Run]) -> str:
    """The split by which runs are ranked: dev where it was scored, else the first."""
    splits = _splits(results)
    return "dev" if "dev" in splits else "".join(splits[:1])


def _protocols(runs: Iterable[Run]) -> tuple[str, ...]:
    """By what the scores of runs were computed; those of before say nothing but the protocol's name."""
    scores = (row for run in runs for row in run.get("scores", {}).values() if "protocol" in row)
    told = (
        f"{row['protocol']}, version {row.get('protocol_version', 1)}"
        + "".join(f"; {name} `{signature}`" for name, signature in row.get("signature", {}).items())
        for row in scores
    )
    return tuple(dict.fromkeys(told))


def _shown(run: Run) -> Mapping[str, Any]:
    return run.get("shown", run["values"])


def _splits(runs: Iterable[Run]) -> list[str]:
    return list(dict.fromkeys(split for run in runs for split in run.get("scores", ())))


def _names(metric: str) -> list[str]:
    return list(dict.fromkeys(["bleu4", "rouge", "chrf", metric]))


def _as_typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
