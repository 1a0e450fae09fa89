"""`slt cache import-pickle | export-pickle`: feature dumps of the published systems."""

from pathlib import Path

import click

from slt_pipeline.cli.cache.common import STORE, local
from slt_pipeline.cli.options import OUT_FILE, Command, Resuming, load, recipe_options

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _facts(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
        if facts.setdefault(key, value) != value:
            raise click.BadParameter(f"{key} is {facts[key]!r} and {value!r}; give it once")
        if key == "imported_from":
            raise click.BadParameter("imported_from is written by the import itself; choose another key")
    return facts


@click.command("import-pickle", cls=Resuming)
@click.argument("pickles", type=_FILE, nargs=-1, required=True)
@click.argument("store", type=STORE)
@click.option("--stream", default="s3d", show_default=True, help="What the store calls the features.")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Number format; the files have float32.",
)
@click.option("--backend", type=click.Choice(["zarr", "hdf5"]), default="zarr", show_default=True, help="File format.")
@click.option(
    "--fingerprint",
    "facts",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_facts,
    help="What you know of how the features were made; may be given several times.",
)
@click.option(
    "--max-gib",
    type=click.FloatRange(min=0, min_open=True),
    default=4,
    show_default=True,
    help="Largest file, unpacked.",
)
def import_pickle(pickles, store, stream, dtype, backend, facts, max_gib) -> None:
    """Read features that the published code has dumped. They lie in head_rgb_input/SPLIT.pkl and go into a store.

    \b
    Name all files that belong into the store: its fingerprint holds their SHA-256. Files that the ranks of a
    distributed dump wrote (SPLIT.pkl.rank0, ...) will do. Nothing in them is carried out: whatever asks for more
    than plain data and tensors is refused. Stopped and run again, it goes on.
    They hold no videos and so make no manifest: `slt data import` makes that, with the same clip ids.
    Example:
      $ slt cache import-pickle head_rgb_input/train.pkl head_rgb_input/dev.pkl head_rgb_input/test.pkl features
    """
    from functools import partial

    from tqdm import tqdm

    from slt_pipeline.corpora.feature_pickles import import_features

    report = import_features(
        pickles,
        local(store),
        stream=stream,
        dtype=dtype,
        backend=backend,
        fingerprint=facts,
        max_bytes=int(max_gib * 2**30),
        progress=partial(tqdm, desc="import", unit="clip", disable=None),
    )
    counts = f"{report.num_written} clips written, {report.num_present} were there, {report.num_repeated} repeated"
    click.echo(f"import-pickle: {counts}; {report.store!r}")


@click.command("export-pickle", cls=Command)
@click.argument("store", type=STORE)
@click.argument("pickle", type=OUT_FILE)
@recipe_options
@click.option("--manifest", type=_FILE, help="Which clips, their glosses and texts.  [default: the recipe's]")
@click.option("--split", default="all", show_default=True, help="Of the manifest: train, dev, test or all.")
@click.option("--stream", default="s3d", show_default=True, help="The features to write.")
@click.option("--overwrite", is_flag=True, help="Replace PICKLE, if it is a gzip pickle.")
def export_pickle(store, pickle, recipe_name, overrides, manifest, split, stream, overwrite) -> None:
    """Write features as a pickle that the published code reads. It is a gzip pickle, one file a split.

    \b
    Example:
      $ slt cache export-pickle runs/demo/mmtlb/features head_rgb_input/train.pkl --split train
    """
    from tqdm import tqdm

    from slt_pipeline.corpora.feature_pickles import export_features
    from slt_pipeline.corpora.manifest import read_manifest
    from slt_pipeline.errors import SltError

    if manifest and (recipe_name or overrides):
        raise click.UsageError("--manifest and a recipe both say which clips: give one of them")
    manifest = manifest or Path(load(recipe_name, overrides).corpus.manifest)
    clips = read_manifest(manifest, None if split == "all" else split)
    if not clips:
        raise SltError(f"{manifest} has no clips" + ("" if split == "all" else f" of split {split}"))
    with tqdm(total=len(clips), desc="export", unit="clip", disable=None) as bar:
        export_features(store, pickle, clips, stream=stream, overwrite=overwrite, advance=bar.update)
    click.echo(f"export-pickle: {len(clips)} clips; {pickle}")
