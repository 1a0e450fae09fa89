"""`slt translate`."""

import click

from slt_pipeline.cli.options import Command, load, run_option, run_options, show_plan


@click.command(cls=Command)
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@run_options
@run_option
@click.option("--out", type=click.Path(dir_okay=False), help="Write there instead of stdout.")
@click.option("--num-best", type=click.IntRange(min=1), help="Translations per video.  [default: the recipe's]")
def translate(videos, recipe_name, overrides, device, dry_run, run, out, num_best) -> None:
    """Translate plain videos; no labels are needed. Prints text, and glosses with times, one JSON line a video.

    \b
    A VIDEO is a file (mp4, gif, webm, ...), a folder of images or a zip pattern; any size and frame rate.
    A video that cannot be read is named on stderr, the others are translated, and the exit status is 2.
    Example:
      $ slt translate clip.mp4
      $ slt translate a.mp4 b.mp4 --out translations.jsonl
    """
    from slt_pipeline.errors import SltError
    from slt_pipeline.stages import translate as stage

    chosen = [f"translate.num_best={num_best}"] if num_best else []
    recipe = load(recipe_name, (*overrides, *chosen), run)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, run))
        return
    system = stage.Translate(recipe, device=device, run=run)
    failed = False
    with click.open_file(out or "-", "w", encoding="utf-8", atomic=bool(out)) as file:
        for video in videos:
            try:
                line = stage.as_line(system.video(video))
            except SltError as error:
                click.echo(f"slt: error: {' '.join(str(error).split())}", err=True)
                failed = True
            else:
                file.write(line + "\n")
                file.flush()
    if failed:
        raise click.exceptions.Exit(2)
