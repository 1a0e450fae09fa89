"""`slt compare`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click

from slt_pipeline.cli.options import Command, protocol_option
from slt_pipeline.config.stages import Task

_PLACE = click.Path(exists=True, path_type=Path)


@click.command(cls=Command)
@click.argument("a", type=_PLACE)
@click.argument("b", type=_PLACE)
@protocol_option("that of both evaluations")
@click.option(
    "--task",
    type=click.Choice(get_args(Task)),
    help="Of folders: which task.  [default: sign2text, or what both have]",
)
@click.option("--split", "splits", multiple=True, help="Of folders; several times.  [default: all that both have]")
@click.option(
    "--samples", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="How often each test draws."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in full precision.")
def compare(a, b, protocol, task, splits, samples, seed, as_json) -> None:
    """Test whether A scores better than B by more than chance.

    \b
    A and B are folders of runs, their evaluate/, or files of outputs (JSON Lines of id, hypothesis, reference): the
    same clips. Two tests over sentences, both two-sided: the paired bootstrap, which draws other sentences, and
    approximate randomisation, which swaps the outputs of A and B. * is p < 0.05. Of WER less is better.
    Example:
      $ slt compare runs/demo/mmtlb runs/demo/cvslt --split test
      $ slt compare runs/my/evaluate/sign2text-test.jsonl theirs.jsonl --protocol sacrebleu-13a --json
    """
    from slt_pipeline.report.tables import text_table
    from slt_pipeline.systems.comparison import Draws
    from slt_pipeline.systems.comparison import compare as compared

    if a.is_file() and (of_folders := "--task" if task else "--split" if splits else ""):
        raise click.UsageError(f"{of_folders} is of folders, and {a} is a file: leave it out")
    draws = Draws(samples, seed)
    found = compared(a, b, task, splits, protocol, draws)
    if as_json:
        told = {
            "a": str(a),
            "b": str(b),
            "task": found.task,
            **found.protocol.described,
            **asdict(draws),
            "rows": found.rows,
        }
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    shown = [
        {
            **row,
            "difference": f"{row['difference']:+.2f}",
            "95 %": f"{row['low']:+.2f} to {row['high']:+.2f}",
            **{name: _as_printed(row[name]) for name in ("p_bootstrap", "p_randomisation")},
        }
        for row in found.rows
    ]
    headings = {
        **{name: name for name in ("split", "sentences", "score")},
        "a": "A",
        "b": "B",
        "difference": "A - B",
        "95 %": "95 %",
        "p_bootstrap": "p (bootstrap)",
        "p_randomisation": "p (randomisation)",
    }
    click.echo(f"A: {a}\nB: {b}\n\n{text_table(shown, headings)}\n")
    of_task = f"{found.task}; " if found.task else ""
    click.echo(
        f"{of_task}protocol {found.protocol.name}, version {found.protocol.version}; {samples} draws, seed {seed}"
    )


def _as_printed(p: float) -> str:
    """A p-value as papers print it."""
    return ("< 0.001" if p < 0.001 else f"{p:.3f}") + (" *" if p < 0.05 else "")
