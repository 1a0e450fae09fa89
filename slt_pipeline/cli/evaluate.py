"""`slt evaluate`."""

import click

from slt_pipeline.cli.options import load, run_options, show_plan


@click.command()
@run_options
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="TASK",
    help="sign2gloss, gloss2text, sign2gloss2text, sign2text; several times.  [default: the recipe's]",
)
@click.option("--split", "splits", multiple=True, help="dev, test, ...; several times.  [default: the recipe's]")
def evaluate(recipe_name, overrides, device, dry_run, tasks, splits) -> None:
    """Decode and score splits: WER, BLEU-1..4, ROUGE-L. WER is for Sign2Gloss, the others for the translation tasks.

    \b
    Reads the store and the trained models, writes hypotheses and scores to runs/<recipe>/evaluate/.
    Example:
      $ slt evaluate --task sign2text --split test
    """
    from slt_pipeline.stages import evaluate as stage

    chosen = [f"evaluate.tasks=[{','.join(tasks)}]"] if tasks else []
    chosen += [f"evaluate.splits=[{','.join(splits)}]"] if splits else []
    recipe = load(recipe_name, (*overrides, *chosen))
    if dry_run:
        show_plan(recipe, *stage.plan(recipe))
        return
    click.echo(stage.evaluate(recipe, device=device)["table"])
