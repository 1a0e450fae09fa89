"""`slt demo`."""

import click

from slt_pipeline.cli.options import Resuming, load, run_options, show_plan


@click.command(cls=Resuming)
@run_options
def demo(recipe_name, overrides, device, dry_run) -> None:
    """Run everything once on the synthetic signer.

    It is rendered, both phases are trained, MMTLB and CV-SLT on one store, then MMTLB together with the encoder, down
    to the pixels; a sweep is run and scored, and new videos are translated. With another recipe, too, what ships beside
    it and uses its encoder is trained.

    \b
    Takes minutes on two CPU cores: phase two goes side by side, one thread a step. Writes runs/demo/summary.md,
    summary.json and plots.
    Killed and run again, it goes on where it was.
    Example:
      $ slt demo
    """
    from slt_pipeline.config.recipe import recipes_using
    from slt_pipeline.stages import demo as stage

    recipe = load(recipe_name, overrides)
    others = recipes_using(recipe, overrides)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, others))
        return
    click.echo(stage.demo(recipe, others, device=device))
