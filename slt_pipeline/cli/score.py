"""`slt score`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from slt_pipeline.cli.options import Command
from slt_pipeline.config.names import PROTOCOL_NAMES


@click.command(cls=Command)
@click.argument("hypotheses", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("references", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOL_NAMES),
    default="phoenix14t",
    show_default=True,
    help="Tokens, clean-up and spelling: what the scores can be compared with.",
)
@click.option("--gloss", is_flag=True, help="The lines are glosses: WER instead of BLEU and ROUGE.")
def score(hypotheses, references, protocol, gloss) -> None:
    """Score hypotheses against references, as the papers do. Both are files, one sentence a line. Prints JSON.

    \b
    Example:
      $ slt score hypotheses.txt references.txt --protocol csl-daily
    """
    from slt_pipeline.files import read_lines
    from slt_pipeline.metrics.protocols import get_protocol

    rules = get_protocol(protocol)
    pair = (read_lines(hypotheses), read_lines(references))
    scores = rules.score_recognition(*pair) if gloss else rules.score_translation(*pair)
    click.echo(json.dumps({"protocol": protocol, "sentences": len(pair[1]), **asdict(scores)}))
