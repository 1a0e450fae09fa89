"""`slt cache convert | subset | merge`: stores from stores."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from slt_pipeline.cli.cache.common import (
    ID_FILE,
    STORE,
    byte_bar,
    describe,
    goes_with,
    new_store,
    null_option,
    read_ids,
)
from slt_pipeline.cli.options import Resuming, load, recipe_options

if TYPE_CHECKING:
    from cache import Compression, FeatureStore


def _form_options(command):
    """How the target is kept; what is not said stays as it is in the (first) source."""
    for option in (
        click.option("--single-file", is_flag=True, help="One shard for everything: with hdf5, a single file."),
        click.option(
            "--shard-steps",
            type=click.IntRange(min=1),
            metavar="N",
            help="Steps of a shard, what a writer holds in memory.  [default: convert: as in the source; merge: 4096]",
        ),
        click.option("--keep-bits", type=click.IntRange(1, 23), help="Bits of mantissa to keep, the rest is rounded."),
        click.option("--level", type=click.IntRange(1, 9), help="Compression: 1 is fast, 9 is small.  [default: 5]"),
        click.option(
            "--compression",
            "codec",
            type=click.Choice(["blosc", "zstd", "gzip", "none"]),
            help="blosc or zstd with zarr, gzip with hdf5.  [default: as in the source]",
        ),
        click.option(
            "--dtype", type=click.Choice(["float16", "float32"]), help="Number format.  [default: as in the source]"
        ),
        click.option(
            "--backend", type=click.Choice(["zarr", "hdf5"]), help="File format.  [default: as in the source]"
        ),
    ):
        command = option(command)
    return command


@click.command(cls=Resuming)
@click.argument("source", type=STORE)
@click.argument("target", type=STORE)
@_form_options
def convert(source, target, **form) -> None:
    """Copy a store to another format, and check the copy. Another file format, number format or compression.

    \b
    Run again, it goes on where it was stopped. What is not asked for stays as it is.
    Example:
      $ slt cache convert runs/demo/mmtlb/features features_h5 --backend hdf5 --single-file
      $ slt cache convert runs/demo/mmtlb/features small --compression blosc --keep-bits 7
    """
    from cache import FeatureStore
    from cache.care.convert import merge as join

    target, opened = new_store(target, source), FeatureStore.open(source)
    options = _options(opened, opened.shard_steps, **form)
    with byte_bar("convert") as progress:
        copy = join([opened], target, **options, progress=progress)
    click.echo(f"convert: {describe(copy)}")


@click.command(cls=Resuming)
@click.argument("source", type=STORE)
@click.argument("target", type=STORE)
@click.option("--clips", type=ID_FILE, help="File of clip ids, one a line; - is standard input.")
@null_option
@click.option("--split", help="The clips of this split of the recipe's manifest.")
@click.option("--streams", metavar="A,B", help="Streams to keep.  [default: all]")
@recipe_options
def subset(source, target, clips, ends_with_null, split, streams, recipe_name, overrides) -> None:
    """Copy some clips or some streams of a store. The copy is checked. Run again, it goes on where it was stopped.

    \b
    Example:
      $ slt cache subset runs/demo/mmtlb/features dev_features --split dev -r demo/mmtlb
      $ slt cache subset runs/demo/mmtlb/features some --clips ids.txt --streams gloss_rep,gloss_logits
    """
    from cache import FeatureStore
    from cache.care.convert import convert as copy

    goes_with("split", "recipe_name", "overrides")
    goes_with("clips", "ends_with_null")
    if clips and split:
        raise click.UsageError("--clips and --split both say which clips: give one of them")
    if not (clips or split or streams):
        raise click.UsageError("say what to keep: --clips, --split or --streams")
    target, opened, wanted = new_store(target, source), FeatureStore.open(source), None
    if clips:
        wanted = read_ids(clips, ends_with_null=ends_with_null)
    if split:
        from slt_pipeline.stages.cache_care import split_clips

        wanted = split_clips(load(recipe_name, overrides), opened, split)
    names = [name.strip() for name in streams.split(",")] if streams else None
    with byte_bar("subset") as progress:
        made = copy(opened, target, clips=wanted, streams=names, progress=progress)
    click.echo(f"subset: {describe(made)}")


@click.command(cls=Resuming)
@click.argument("sources", type=STORE, nargs=-1, required=True)
@click.argument("target", type=STORE)
@_form_options
def merge(sources, target, **form) -> None:
    """Join stores of one fingerprint into one, and check it. Run again, it goes on where it was stopped.

    \b
    A store in a single HDF5 file takes one writer: let each process write a part, and merge the parts with
    --single-file. The whole of it is held in memory while it is written.
    Example:
      $ slt cache merge part1 part2 features
      $ slt cache merge part1 part2 features_h5 --backend hdf5 --single-file
    """
    from cache import FeatureStore
    from cache.care.convert import merge as join
    from cache.header import DEFAULT_SHARD_STEPS

    target, opened = new_store(target, *sources), [FeatureStore.open(source) for source in sources]
    options = _options(opened[0], DEFAULT_SHARD_STEPS, **form)
    with byte_bar("merge") as progress:
        joined = join(opened, target, **options, progress=progress)
    click.echo(f"merge: {describe(joined)}")


def _options(
    first: "FeatureStore", default_steps: int, *, backend, dtype, codec, level, keep_bits, shard_steps, single_file
) -> dict[str, Any]:
    """The options of `_form_options` as `cache.care.convert.merge` takes them."""
    if shard_steps and single_file:
        raise click.UsageError("--single-file is one shard, whatever its steps: leave out --shard-steps")
    return {
        "backend": backend,
        "dtype": dtype,
        "shard_steps": None if single_file else shard_steps or default_steps,
        "compression": _compression(first, backend, codec, level, keep_bits),
    }


def _compression(
    source: "FeatureStore", backend: str | None, codec: str | None, level: int | None, keep_bits: int | None
) -> "Compression | None":
    from cache import Compression
    from cache.compression import CODECS

    chosen = {name: value for name, value in (("level", level), ("keep_bits", keep_bits)) if value is not None}
    if codec not in (None, "none"):
        # What was rounded stays rounded, whatever packs it.
        return replace(source.compression or Compression(codec), codec=codec, **chosen)
    if codec is None and source.compression:
        known, had = CODECS[backend or source.backend], source.compression.codec
        if had not in known:
            raise click.UsageError(
                f"{source.path} has compression {had}, which {backend} has not: say --compression "
                + " or ".join([*known, "none"])
            )
        return replace(source.compression, **chosen)
    if chosen:
        raise click.UsageError("--level and --keep-bits go with a --compression other than none")
    return None
