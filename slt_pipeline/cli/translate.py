"""`slt translate`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from slt_pipeline.cli.options import OUT_TRANSLATIONS, Command, load, run_option, run_options, show_plan
from slt_pipeline.files import json_line, replacing


@click.command(cls=Command)
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@run_options
@run_option
@click.option("--out", type=OUT_TRANSLATIONS, help="Write there instead of stdout; its folder is made.")
@click.option("--num-best", type=click.IntRange(min=1), help="Translations per video.  [default: the recipe's]")
@click.option("--strict", is_flag=True, help="Stop at a video that cannot be read; else it is named.")
def translate(videos, recipe_name, overrides, device, dry_run, run, out, num_best, strict) -> None:
    """Translate plain videos; no labels are needed. Prints text, and glosses with times, one JSON line a video.

    \b
    `confidence` is the expected sentence chrF / 100 of the text; `warnings` say what in the video is unlike training,
    so that the text is not to be trusted. `slt confidence` fits both to a run that has none.
    A VIDEO is a file (mp4, gif, webm, ...), a folder of images or a zip pattern; any size and frame rate.
    A video that cannot be read is named on stderr, the others are translated, and the exit status is 2.
    Example:
      $ slt translate clip.mp4
      $ slt translate a.mp4 b.mp4 --out translations.jsonl
    """
    from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of
    from slt_pipeline.errors import SltError
    from slt_pipeline.stages import translate as stage

    chosen = [f"translate.num_best={num_best}"] if num_best else []
    recipe = load(recipe_name, (*overrides, *chosen), run)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, run))
        return
    system = stage.Translate(recipe, device=device, run=run)
    failed = done = False
    with _written(out) as file:
        for video in videos:
            try:
                line = json_line(system.video(video))
            except UNREADABLE as error:
                if strict:
                    raise
                name = "" if isinstance(error, SltError) else f"{video}: "
                click.echo(f"slt: error: {' '.join(f'{name}{reason_of(error)}'.split())}", err=True)
                failed = True
            else:
                file.write(line)
                file.flush()
                done = True
        if failed and not done:  # within: an earlier file stays
            raise click.exceptions.Exit(2)
    if failed:
        raise click.exceptions.Exit(2)


@contextmanager
def _written(out: Path | None) -> Iterator[TextIO]:
    """Yield a file that is there, whole, when the block ends well; None and `-`: standard output."""
    if out is None or str(out) == "-":
        yield sys.stdout
        return
    with replacing(out) as scratch, scratch.open("w", encoding="utf-8") as file:
        yield file
