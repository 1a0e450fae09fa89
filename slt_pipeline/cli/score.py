"""`slt score`."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import click

from slt_pipeline.cli.options import Command, protocol_option

log = logging.getLogger(__name__)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("hypotheses", type=_FILE)
@click.argument("references", type=_FILE, required=False)
@protocol_option("that of the evaluation; of other files phoenix14t")
@click.option("--gloss", is_flag=True, help="Score glosses: WER instead of BLEU, ROUGE and chrF.")
def score(hypotheses, references, protocol, gloss) -> None:
    """Score hypotheses against references, as the papers do. Prints JSON: scores, protocol, version, signatures.

    \b
    Files are text, one sentence a line; or JSON Lines (.jsonl) of id, hypothesis and reference, such as `slt evaluate`
    writes, which bring their references. With --gloss, of their glosses and gloss_reference where they have them.
    Example:
      $ slt score hypotheses.txt references.txt --protocol csl-daily
      $ slt score runs/my/evaluate/sign2text-test.jsonl --protocol sacrebleu-13a
    """
    from slt_pipeline.metrics.protocols import get_protocol
    from slt_pipeline.systems.predictions import scored_as
    from slt_pipeline.systems.scored_files import read_pairs
    from slt_pipeline.systems.scored_runs import warn_if_old

    pairs = read_pairs(hypotheses, references, gloss)
    warn_if_old(hypotheses)
    rules = get_protocol(protocol or scored_as(hypotheses).get("protocol") or "phoenix14t")
    scores = rules.score_recognition if pairs.glosses else rules.score_translation
    if empty := sum(not reference.strip() for reference in pairs.references):
        log.warning("%d of %d references are empty: no output is right there", empty, len(pairs.references))
    described = {**rules.described, "sentences": len(pairs.references)}
    click.echo(json.dumps({**described, **asdict(scores(pairs.hypotheses, pairs.references))}))
