"""`slt sweep`."""

import click

from slt_pipeline.cli.options import Resuming, encoder_option, load_encoder, overwrite_option, run_options, show_plan
from slt_pipeline.training.ahead import import_ahead
from slt_pipeline.training.threads import threads_each


@click.command(cls=Resuming)
@click.argument("name", required=False)
@run_options
@encoder_option
@overwrite_option
@click.option("--search", is_flag=True, help="Choose what to try run by run, as the sweep's `search` says.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs side by side, in processes of their own. They share the cores; on a GPU, its memory too.",
)
def sweep(name, recipe_name, overrides, device, dry_run, run, overwrite, search, jobs) -> None:
    """Train many translators on one store; print one table. It has mean and spread over seeds.

    \b
    With `sweep.stage: gloss2text_train` they are of glosses to text, and no store is read.
    The recipe's `sweep.grid` gives the values by key; all combinations run once per seed. `sweep.variants` are named
    rows, such as ablations, each with the keys that it sets. NAME is one of the recipe's `sweeps` in its place.
    Every run has a folder of its own; that of the best is told at the end, and `slt evaluate --run FOLDER` and
    `slt translate --run FOLDER` open it: it alone has a confidence, others get one by `slt confidence --run FOLDER`.
    A run that fails is a row that says why. Run again, it resumes.
    With --search runs are not listed but chosen, by Optuna from the scores on dev so far, among the keys and values of
    `sweep.search`, until its `runs` or `hours` are spent; what stays behind the median is given up on the way.
    p is that of a paired bootstrap against the first row: the first variant, or the best on dev. `sweep.oracle`
    decodes CV-SLT from its posterior, too, which knows the right text. A grid of one number is plotted.
    Example:
      $ slt sweep
      $ slt sweep -o 'sweep.grid={translator.mapper.input: [gloss_rep, s3d]}' -o 'sweep.seeds=[1, 2, 3]'
      $ slt sweep -r demo/cvslt -o 'sweep.variants={full: {}, small: {translator.latent: 8}}' -o sweep.oracle=true
      $ slt sweep -r cvslt/phoenix14t components
      $ slt sweep -o 'sweep={stage: gloss2text_train, grid: {translator.gloss_input: [vectors, pieces]}}'
      $ slt sweep --search -o 'sweep.search={keys: {translator.mbart.dropout: {low: 0, high: .5}}, runs: 4, startup: 2}'
      $ slt sweep --jobs 2 -o 'sweep.seeds=[1, 2]'
    """
    if jobs > 1 and not dry_run:
        import_ahead("slt_pipeline.stages.sweep", threads_each(jobs))
    from slt_pipeline.stages import sweep as stage

    recipe = load_encoder(recipe_name, overrides, run)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, name, search=search))
        return
    report = stage.sweep(recipe, name, search=search, device=device, overwrite=overwrite, jobs=jobs)
    click.echo(report["table"])
    click.echo(f"sweep: {report['folder']}", err=True)
    for path in report["written"]:
        click.echo(f"wrote {path}", err=True)
    if report["best"]:
        click.echo(f"best run: {report['best']} (open it with --run)", err=True)
    if not any("scores" in result for result in report["results"]):
        raise click.exceptions.Exit(1)
