"""The table of a sweep: one row a combination, mean and standard deviation over seeds, the best on dev first."""

import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def sweep_rows(results: Sequence[Mapping[str, Any]], metric: str, lower_is_better: bool) -> list[dict[str, Any]]:
    """Rows for a table.

    Args:
        results: one mapping a run: `values` by key, `seed`, and `scores` by split or `error`.
        metric: score by which rows are sorted, on dev where it was scored, else on the first split.
        lower_is_better: whether less of it is better.

    Returns:
        one row a combination; keys stand whole, and values as they were typed.
    """
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        grouped.setdefault(json.dumps([result.get("variant", ""), result["values"]]), []).append(result)
    rows = [_row(runs, metric) for runs in grouped.values()]
    splits = dict.fromkeys(itertools.chain.from_iterable(r["scores"] for r in results if "scores" in r))
    if not splits:
        return rows
    by = f"{'dev' if 'dev' in splits else next(iter(splits))} {metric}"

    def rank(row: Mapping[str, Any]) -> float:
        value = row.get(by)
        if value is None:
            return math.inf
        return value if lower_is_better else -value

    return sorted(rows, key=rank)


def _row(runs: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    first = runs[0]
    row: dict[str, Any] = {"variant": first["variant"]} if first.get("variant") else {}
    row |= {key: _as_typed(value) for key, value in first.get("shown", first["values"]).items()}
    scored = [run["scores"] for run in runs if "scores" in run]
    row["seeds"] = len(scored)
    for split in dict.fromkeys(itertools.chain.from_iterable(scored)):
        for name in dict.fromkeys(["bleu4", "rouge", metric]):
            figures = [scores[split][name] for scores in scored if name in scores.get(split, {})]
            if not figures:
                continue
            row[f"{split} {name}"] = statistics.fmean(figures)
            if len(figures) > 1:
                row[f"{split} {name} sd"] = statistics.stdev(figures)
    errors = [run["error"] for run in runs if "error" in run]
    if errors:
        row["failed"] = f"{len(errors)}: {errors[0]}"
    return row


def _as_typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
