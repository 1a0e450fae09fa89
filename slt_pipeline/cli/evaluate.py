"""`slt evaluate`."""

import click

from slt_pipeline.cli.options import Command, load, run_option, run_options, show_plan


@click.command(cls=Command)
@run_options
@run_option
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="TASK",
    help="sign2gloss, gloss2text, sign2gloss2text, sign2text; several times.  [default: the recipe's]",
)
@click.option("--split", "splits", multiple=True, help="dev, test, ...; several times.  [default: the recipe's]")
@click.option(
    "--oracle",
    is_flag=True,
    help="CV-SLT: also decode from the posterior, which knows the right text: an upper bound.",
)
def evaluate(recipe_name, overrides, device, dry_run, run, tasks, splits, oracle) -> None:
    """Decode and score splits: WER, BLEU-1..4, ROUGE-L, chrF. WER is for Sign2Gloss, the others for translation.

    \b
    Reads the store and the trained models, writes hypotheses and scores to runs/<recipe>/evaluate/. With --run, scores
    that translator, with its own recipe, and writes into its folder. Below the table stands by which protocol, and what
    is odd: empty outputs, the same one again and again, loops; sentences that are in the training split, too.
    Example:
      $ slt evaluate --task sign2text --split test
      $ slt evaluate --run runs/demo/mmtlb/translate_train
    """
    from slt_pipeline.stages import evaluate as stage

    chosen = [f"evaluate.tasks=[{','.join(tasks)}]"] if tasks else []
    chosen += [f"evaluate.splits=[{','.join(splits)}]"] if splits else []
    recipe = load(recipe_name, (*overrides, *chosen), run)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, run))
        return
    asked = recipe.evaluate.tasks if tasks or not run else stage.own_tasks(recipe, run)
    found = stage.evaluate(recipe, device=device, run=run, tasks=asked, oracle=oracle)
    click.echo("\n".join([found["table"], "", *found["notes"]]))
