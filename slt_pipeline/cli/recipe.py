"""`slt recipe list|show|schema`."""

import click

from slt_pipeline.cli.options import Group, load, recipe_options


@click.group(cls=Group)
def recipe() -> None:
    """List and show recipes; each is one experiment as data.

    \b
    Example:
      $ slt recipe show -r demo/mmtlb -o seed=3
    """


@recipe.command("list")
def list_() -> None:
    """List the recipes that ship, one a line.

    \b
    Example:
      $ slt recipe list
    """
    from slt_pipeline.config.recipe import list_recipes, load_recipe

    names = list_recipes()
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:{width}}  {load_recipe(name).description}")


@recipe.command()
@recipe_options
@click.argument("name", required=False)
def show(name, recipe_name, overrides) -> None:
    """Print a recipe with `extends:` and overrides resolved.

    \b
    Example:
      $ slt recipe show demo/mmtlb -o translate_train.training.epochs=5
    """
    from slt_pipeline.config.recipe import dump_recipe

    click.echo(dump_recipe(load(name or recipe_name, overrides)), nl=False)


@recipe.command()
def schema() -> None:
    """Print the JSON Schema of recipe files. An editor completes and checks recipes by it.

    \b
    Example:
      $ slt recipe schema > recipe.schema.json
    """
    from slt_pipeline.config.recipe import recipe_schema

    click.echo(recipe_schema())
