"""The page of the demo's summary: scores of every system in one table, the sweep, translations, and times."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

TASKS = {
    "sign2gloss": "Sign2Gloss",
    "sign2gloss2text": "Sign2Gloss2Text",
    "sign2text": "Sign2Text",
    "gloss2text": "Gloss2Text",
}
"""In the order of the table: what is read from the video first, then what bounds it, which reads the true glosses."""
MADE_BY = {
    "sign2gloss": "encoder",
    "sign2gloss2text": "encoder, then mBART",
    "gloss2text": "mBART, from true glosses",
}
"""What does a task of the recipe itself where that is not its translator."""
SYSTEMS = {"mmtlb": "MMTLB", "cvslt": "CV-SLT"}
COLUMNS = {
    "system": "system",
    "task": "task",
    "split": "split",
    "wer": "WER",
    **{f"bleu{n}": f"BLEU-{n}" for n in (1, 2, 3, 4)},
    "rouge": "ROUGE-L",
    "chrf": "chrF",
    "start_error": "start (s)",
    "end_error": "end (s)",
}


def demo_page(summary: Mapping[str, Any], table: Callable[..., str]) -> str:
    """The summary for a reader.

    Args:
        summary: what summary.json holds.
        table: decides how tables look.
    """
    seconds = ", ".join(f"{name} {value:.0f}" for name, value in summary["seconds"].items())
    clips = ", ".join(f"{count} {split}" for split, count in summary["clips"].items())
    lines = [
        f"# {summary['recipe']}, seed {summary['seed']}: {clips} clips, {summary['seconds_total']:.0f} s",
        "",
        table(_rows(list(summary["scores"].values())), columns=COLUMNS),
        "",
        "Sign2Text by what else the mapper may read:",
        "",
        table(summary["sweep"]),
        "",
        "Videos of sentences that are in no split:",
        "",
    ]
    for result in summary["translations"]:
        lines += [
            f"- {' '.join(g['gloss'] for g in result['glosses'])}",
            f"  - translated: {result['text']}",
            f"  - reference:  {result['reference']}",
            *([] if result["confidence"] is None else [f"  - confidence: {result['confidence']:.2f}"]),
            *(f"  - warning:    {warning}" for warning in result["warnings"]),
        ]
    lines += ["", f"Seconds of each step, some of them side by side: {seconds}"]
    lines += [f"Plots: {', '.join(summary['plots'])}", ""]
    return "\n".join(lines)


def _rows(scored: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows by task, then by system in the order in which they come, the recipe's own first; named for a reader."""
    own = scored[0]["system"]
    places = {system: place for place, system in enumerate(dict.fromkeys(row["system"] for row in scored))}
    ordered = sorted(scored, key=lambda row: (list(TASKS).index(row["task"]), places[row["system"]]))
    return [{**row, "task": TASKS[row["task"]], "system": _system(row, own)} for row in ordered]


def _system(row: Mapping[str, Any], own: str) -> str:
    if row["system"] == own and row["task"] in MADE_BY:
        return MADE_BY[row["task"]]
    system: str = row["system"]
    return SYSTEMS.get(system, system)
