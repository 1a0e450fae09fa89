"""`slt confidence`."""

import click

from slt_pipeline.cli.options import Command, load, run_option, run_options, show_plan


@click.command(cls=Command)
@run_options
@run_option
def confidence(recipe_name, overrides, device, dry_run, run) -> None:
    """Fit confidence and warnings of `slt translate`. They are of one translator.

    \b
    Reads the store and the translator, decodes dev, writes confidence.json into the translator's run folder. A run of
    translate-train has it already; one of joint-train, once its store is extracted, of weights import or of an earlier
    version does not. Prints within what every measure lies in train and dev, and its weight in the confidence.
    Example:
      $ slt confidence
      $ slt confidence --run runs/demo/joint/joint_train
    """
    from slt_pipeline.stages import confidence as stage

    recipe = load(recipe_name, overrides, run)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, run))
        return
    report = stage.confidence(recipe, device=device, run=run)
    click.echo("\n".join([report.table, "", *report.notes, str(report.file)]))
