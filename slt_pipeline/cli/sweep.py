"""`slt sweep`."""

import click

from slt_pipeline.cli.options import load, overwrite_option, run_options, show_plan


@click.command()
@run_options
@overwrite_option
def sweep(recipe_name, overrides, device, dry_run, overwrite) -> None:
    """Train many translators on one store; print one table. It has mean and spread over seeds.

    \b
    The recipe's `sweep.grid` gives the values by key; all combinations run once per seed. Run again, it resumes.
    Example:
      $ slt sweep
      $ slt sweep -o 'sweep.grid={translator.mapper.input: [gloss_rep, s3d]}' -o 'sweep.seeds=[1, 2, 3]'
    """
    from slt_pipeline.stages import sweep as stage

    recipe = load(recipe_name, overrides)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe))
        return
    click.echo(stage.sweep(recipe, device=device, overwrite=overwrite)["table"])
