"""`slt report modality-gap|embedding|grounding`."""

from pathlib import Path

import click

from slt_pipeline.cli.options import OUT_FOLDER, Group, load, run_options, show_plan


@click.group(cls=Group)
def report() -> None:
    """Look into trained translators, several side by side.

    \b
    A RUN is the folder of a trained translator: runs/NAME/translate_train, or a run of a sweep. MMTLB and CV-SLT may
    stand side by side.
    Example:
      $ slt report grounding
    """


def _report_options(command):
    for option in (
        click.option(
            "--out",
            type=OUT_FOLDER,
            help="Folder to write.  [default: RUN/report/<analysis>; of several runs, runs/report/<analysis>]",
        ),
        click.option(
            "--clips", type=click.IntRange(min=2), help="As many clips, spread over the split.  [default: all]"
        ),
        click.option("--split", default="dev", show_default=True, help="Whose clips are looked at."),
        run_options,
        click.argument(
            "runs", nargs=-1, metavar="[RUN]...", type=click.Path(exists=True, file_okay=False, path_type=Path)
        ),
    ):
        command = option(command)
    return command


_SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides what is random.")


@report.command("modality-gap")
@_report_options
def modality_gap(runs, recipe_name, overrides, dry_run, out, **settings) -> None:
    """Measure how far signs and texts lie apart, by layer. One row per run.

    \b
    The gap of a clip is the L2 distance between the mean of the encoder's states of its signs alone, and of its text
    alone. Writes gaps by layer and by clip, BLEU of five parts of the clips sorted by gap (CSV), and a picture of both;
    `spearman` is the rank correlation of gap and sentence BLEU. Without RUN, looks at the recipe's own translator.
    Example:
      $ slt report modality-gap
      $ slt report modality-gap runs/my/translate_train runs/variant/translate_train --split test
    """
    from slt_pipeline.stages import modality_gap as stage

    _report(stage.plan, stage.modality_gap, runs, recipe_name, overrides, dry_run, out, settings)


@report.command()
@_report_options
@_SEED
def embedding(runs, recipe_name, overrides, dry_run, out, **settings) -> None:
    """Draw where signs and texts lie, by layer: t-SNE. One row per run.

    \b
    One row of panels per run, one panel per layer; each clip is two points, its signs alone and its text alone, as in
    modality-gap. t-SNE is of each panel alone: compare clusters, not places or distances of two panels.
    Writes the picture and its points (CSV). Without RUN, looks at the recipe's own translator.
    Example:
      $ slt report embedding
      $ slt report embedding runs/my/translate_train runs/variant/translate_train --out runs/two
    """
    from slt_pipeline.stages import embedding as stage

    _report(stage.plan, stage.embedding, runs, recipe_name, overrides, dry_run, out, settings)


@report.command()
@_report_options
@_SEED
def grounding(runs, recipe_name, overrides, dry_run, out, **settings) -> None:
    """Check that the video is used: score with other features. Prints a table.

    \b
    Each clip is translated from its own features, from another clip's, from noise with the mean and deviation of every
    channel, and from zeros. The BLEU and ROUGE that are left then, the translator has without looking at the video.
    Writes the table (Markdown, CSV). Without RUN, looks at the recipe's own translator.
    Example:
      $ slt report grounding --clips 100
      $ slt report grounding runs/my/translate_train runs/variant/translate_train --split test
    """
    from slt_pipeline.stages import grounding as stage

    _report(stage.plan, stage.grounding, runs, recipe_name, overrides, dry_run, out, settings)


def _report(plan, analyse, folders, recipe_name, overrides, dry_run, out, settings) -> None:
    """Run an analysis on the runs that the options name, or print its plans."""
    from slt_pipeline.systems.analyses import Run

    if folders and recipe_name:
        raise click.UsageError("RUN brings its own recipe: leave out --recipe")
    runs = [Run(load(None, overrides, folder), folder) for folder in folders]
    if not folders:
        recipe = load(recipe_name, overrides)
        runs = [Run(recipe, recipe.run_folder("translate_train"))]
    if dry_run:
        for number, run in enumerate(runs):
            click.echo("---\n" if number else "", nl=False)
            show_plan(run.recipe, *plan(runs, run, out))
        return
    found = analyse(runs, out=out, **settings)
    click.echo(found.table)
    for path in found.files:
        click.echo(f"wrote {path}", err=True)
