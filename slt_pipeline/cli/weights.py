"""`slt weights import`."""

from pathlib import Path

import click

from slt_pipeline.cli.options import load, overwrite_option, recipe_options, show_plan

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def weights() -> None:
    """Take weights that the published code has trained.

    \b
    Example:
      $ slt weights import weights/cvslt_phoenix14t.ckpt -r cvslt/phoenix14t
    """


@weights.command("import")
@click.argument("checkpoint", type=_FILE)
@recipe_options
@click.option(
    "--gloss-classes",
    type=_FILE,
    metavar="FILE",
    help="Published table gloss -> class, a pickle or JSON.  [default: the classes of the recipe's encoder]",
)
@overwrite_option
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and what would be read and written.")
def import_(checkpoint, recipe_name, overrides, gloss_classes, overwrite, dry_run) -> None:
    """Make a run of a published translator: it opens like a trained one.

    CHECKPOINT is a whole CV-SLT translator, or one of MMTLB; the recipe says which, with the sizes, the mBART folder
    and the store of features that it reads. Names and shapes have to match, one to one.

    \b
    What it needs: a manifest (slt data import), the published mBART folder (weights/mbart_de of the recipe), the table
    of gloss classes, and a store. That is the recipe's own, or one of published features, as below: `uses={}` says
    that there is no encoder to compare it with. Then `slt evaluate --run FOLDER` decodes and scores it.
    It may be packed by gzip. Nothing in it is carried out: what asks for more than plain data and tensors is refused.
    Example:
      $ slt weights import cvslt.ckpt -r cvslt/phoenix14t --gloss-classes gloss2ids.pkl
      $ slt weights import cvslt.ckpt -r cvslt/phoenix14t -o uses={} -o extract.store=features --gloss-classes g.pkl
    """
    from slt_pipeline.stages import weights_import as stage

    recipe = load(recipe_name, overrides)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, checkpoint, gloss_classes))
        return
    result = stage.weights_import(recipe, checkpoint, classes=gloss_classes, overwrite=overwrite)
    told = f"{result['matched']} names matched, {result['score']} {result['best_score']} at step {result['best_step']}"
    click.echo(f"weights import: {told}; {recipe.run_folder(stage.STAGE)}")
