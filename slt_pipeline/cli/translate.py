"""`slt translate`."""

import click

from slt_pipeline.cli.options import load, run_options, show_plan


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@run_options
@click.option("--out", type=click.Path(dir_okay=False), help="Write there instead of stdout.")
@click.option("--num-best", type=click.IntRange(min=1), help="Translations per video.  [default: the recipe's]")
def translate(videos, recipe_name, overrides, device, dry_run, out, num_best) -> None:
    """Translate plain videos, no labels needed: text, and glosses with times, one JSON line a video.

    \b
    A VIDEO is a file (mp4, gif, webm, ...), a folder of images or a zip pattern; any size and frame rate.
    Example:
      $ slt translate clip.mp4
      $ slt translate *.mp4 --out translations.jsonl
    """
    from slt_pipeline.stages import translate as stage

    chosen = [f"translate.num_best={num_best}"] if num_best else []
    recipe = load(recipe_name, (*overrides, *chosen))
    if dry_run:
        show_plan(recipe, *stage.plan(recipe))
        return
    with click.open_file(out or "-", "w", encoding="utf-8", atomic=bool(out)) as file:
        failed = 0
        for line in stage.translate(recipe, videos, device=device):
            file.write(line + "\n")
            file.flush()
