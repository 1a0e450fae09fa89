"""`slt extract`."""

import click

from slt_pipeline.cli.options import (
    Resuming,
    encoder_option,
    load_encoder,
    processes_option,
    run_options,
    show_plan,
    strict_option,
)


@click.command(cls=Resuming)
@run_options
@encoder_option
@click.option("--split", type=click.Choice(["train", "dev", "test", "all"]), default="all", show_default=True)
@click.option("--streams", help="Comma-separated: s3d, gloss_rep, gloss_logits.  [default: the recipe's]")
@click.option("--backend", type=click.Choice(["zarr", "hdf5"]), help="File format.  [default: the recipe's]")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), help="Number format.  [default: the recipe's]")
@strict_option
@processes_option
def extract(recipe_name, overrides, device, dry_run, run, split, streams, backend, dtype, strict) -> None:
    """Encode every clip once and store its features.

    \b
    Reads corpus.manifest and the weights of visual-train, writes runs/<recipe>/features/. Killed and run again, it
    goes on with the clips that are missing; a store made by other weights or settings is refused. Clips that cannot be
    read are listed in rejected.jsonl beside the store, and the exit status is 1. With --run, encodes with that encoder,
    and writes beside its folder.
    Example:
      $ slt extract --split train
      $ slt extract --split all --backend hdf5 --dtype float32
    """
    from slt_pipeline.stages import extract as stage

    chosen = [f"extract.streams=[{streams}]"] if streams is not None else []
    chosen += [f"extract.backend={backend}"] if backend else []
    chosen += [f"extract.dtype={dtype}"] if dtype else []
    recipe = load_encoder(recipe_name, (*overrides, *chosen), run)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe))
        return
    report = stage.extract(recipe, split=split, device=device, strict=strict)
    counts = f"{report.written} clips written, {report.present} were there, {report.rejected} rejected"
    click.echo(f"extract: {counts}; {recipe.store}")
    if report.rejected:
        click.echo(f"extract: reasons in {report.rejected_file}", err=True)
        raise click.exceptions.Exit(1)
