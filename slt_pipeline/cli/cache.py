"""`slt cache`: care for feature stores."""

import json
from pathlib import Path

import click

from slt_pipeline.cli.cache_pickle import export_pickle, import_pickle

_STORE = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def cache() -> None:
    """Care for feature stores: look into them, check them, copy and join them.

    \b
    Example:
      $ slt cache info runs/demo/mmtlb/features
    """


cache.add_command(import_pickle)
cache.add_command(export_pickle)


@cache.command()
@click.argument("store", type=_STORE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(store, as_json) -> None:
    """Print streams, clips, steps, bytes and the fingerprint of a store.

    \b
    Example:
      $ slt cache info runs/demo/mmtlb/features
    """
    from cache import FeatureStore
    from cache.verify import info as facts_of

    facts = facts_of(FeatureStore.open(store))
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        shown = "".join(f"\n    {k}: {v}" for k, v in value.items()) if isinstance(value, dict) else f" {value}"
        click.echo(f"{name}:{shown}")


@cache.command()
@click.argument("store", type=_STORE)
def verify(store) -> None:
    """Read a whole store again and list what is damaged; change nothing. Exit status 1 if anything is.

    \b
    Example:
      $ slt cache verify runs/demo/mmtlb/features
    """
    from cache.verify import verify as check

    damage = check(store)
    for piece in damage:
        click.echo(str(piece))
    if damage:
        raise click.exceptions.Exit(1)
    click.echo(f"{store}: all is well")


@cache.command()
@click.argument("store", type=_STORE)
def repair(store) -> None:
    """Drop damaged shards, so that `slt extract` fills them again; what is whole stays.

    \b
    Example:
      $ slt cache repair runs/demo/mmtlb/features
    """
    from cache.repair import repair as mend

    dropped = mend(store)
    click.echo(f"{store}: {len(dropped)} clips dropped" + "".join(f"\n  {clip}" for clip in dropped))


@cache.command()
@click.argument("source", type=_STORE)
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--backend", type=click.Choice(["zarr", "hdf5"]), help="File format.  [default: that of SOURCE]")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), help="Number format.  [default: that of SOURCE]")
def convert(source, target, backend, dtype) -> None:
    """Copy a store to another file or number format, and check the copy.

    \b
    Example:
      $ slt cache convert runs/demo/mmtlb/features features_h5 --backend hdf5
    """
    from cache import FeatureStore
    from cache.convert import convert as copy

    click.echo(repr(copy(FeatureStore.open(source), target, backend=backend, dtype=dtype)))


@cache.command()
@click.argument("sources", type=_STORE, nargs=-1, required=True)
@click.argument("target", type=click.Path(path_type=Path))
def merge(sources, target) -> None:
    """Join stores of one fingerprint into one, and check it. Run again, it goes on where it was stopped.

    \b
    Example:
      $ slt cache merge part1 part2 features
    """
    from cache import FeatureStore
    from cache.convert import merge as join

    click.echo(repr(join([FeatureStore.open(source) for source in sources], target)))
