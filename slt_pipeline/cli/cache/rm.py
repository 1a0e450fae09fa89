"""`slt cache rm` and `slt cache restore`: whole stores, or clips that nobody needs any more, and how they come back."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slt_pipeline.cli.cache.common import (
    ID_FILE,
    STORE,
    byte_bar,
    goes_with,
    local,
    null_option,
    read_ids,
    shown,
    size,
    some,
)
from slt_pipeline.cli.options import Command, load, recipe_options
from slt_pipeline.errors import SltError

if TYPE_CHECKING:
    from cache import FeatureStore
    from slt_pipeline.config.recipe import Recipe


@click.command(cls=Command)
@click.argument("stores", metavar="STORE...", type=STORE, nargs=-1, required=True)
@click.option("--clips", type=ID_FILE, help="Only these clips: a file of clip ids, one a line; - is standard input.")
@null_option
@click.option(
    "--unused",
    is_flag=True,
    help="Only clips that the recipe's manifest does not have, or has in another version, and leftovers.",
)
@click.option("--purge", is_flag=True, help="Free the space of removed clips, also of earlier ones: none comes back.")
@recipe_options
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; do it even if the data are away.")
def rm(stores, clips, ends_with_null, unused, purge, recipe_name, overrides, dry_run, yes) -> None:
    """Remove whole stores, or clips of them; asks first.

    \b
    A folder is removed only if it is a feature store, nothing else is in it, and nobody writes to it. Removed clips
    are kept in the store's folder lost/ until --purge, and `slt cache restore` brings them back. Others may read and
    write the store meanwhile. A clip id with a line break is named as a JSON string ("two\\nlines"), or with -0.
    Example:
      $ slt cache rm runs/old/features
      $ slt cache rm runs/demo/mmtlb/features --unused -r demo/mmtlb --dry-run
      $ slt cache rm runs/demo/mmtlb/features --clips ids.txt --yes
      $ slt cache rm runs/demo/mmtlb/features --purge
    """
    from cache import FeatureStore
    from cache.care.lost import purge as purge_lost
    from cache.care.repair import remove

    goes_with("unused", "recipe_name", "overrides")
    goes_with("clips", "ends_with_null")
    if clips and unused:
        raise click.UsageError("--clips and --unused both say which clips: give one of them")
    # A store that is named twice, in whatever way, is one.
    paths = list({os.path.realpath(path): path for path in map(local, reversed(stores))}.values())[::-1]
    if not (clips or unused or purge):
        _remove_stores(paths, dry_run, yes)
        return
    ids = read_ids(clips, ends_with_null=ends_with_null) if clips else []
    recipe = load(recipe_name, overrides) if unused else None
    unwanted = {}
    for path in paths:
        store = FeatureStore.open(path)
        why = _not_needed(recipe, store) if recipe else _named(ids, path, store)
        if _show(path, store, why, dry_run, purge):
            unwanted[path] = why
    if dry_run or not unwanted:
        return
    _confirm(yes, "Remove this for good?" if purge else "Remove this?")
    for path, why in unwanted.items():
        if clips or unused:
            with byte_bar("rm") as progress:
                removed = remove(path, why, yes=yes, progress=progress)
            cure = "" if purge or not removed else f"; `slt cache restore {path}` brings them back"
            click.echo(f"{path}: {len(removed):,} clips removed{cure}")
        if purge:
            click.echo(f"{path}: {size(purge_lost(path))} freed")


@click.command(cls=Command)
@click.argument("store", type=STORE)
def restore(store) -> None:
    """Bring back clips that were removed or dropped.

    \b
    Those that repairs and removals have taken out lie in the store's folder lost/ until `slt cache rm STORE --purge`.
    A clip that the store has meanwhile got anew stays as it is. Exit status 1 if a clip cannot come back because its
    data are damaged or away.
    Example:
      $ slt cache restore runs/demo/mmtlb/features
    """
    from cache.care.lost import restore as bring_back

    with byte_bar("restore") as progress:
        restored = bring_back(local(store), progress=progress)
    click.echo(f"{store}: {len(restored.clips):,} clips are back" + "".join(f"\n  {shown(c)}" for c in restored.clips))
    if restored.present:
        click.echo(f"{store}: {len(restored.present):,} clips had been made again, and stay: {some(restored.present)}")
    if restored.damaged:
        click.echo(
            f"{store}: {len(restored.damaged):,} clips stay in {store}/lost, their data are damaged or away: "
            f"{some(restored.damaged)}"
        )
        raise click.exceptions.Exit(1)


def _remove_stores(paths: list[Path], dry_run: bool, yes: bool) -> None:
    from cache.care.delete import deletable, delete

    for path, parts in [(path, deletable(path)) for path in paths]:
        num_bytes = sum(part.stat().st_blocks * 512 for part in parts if part.is_file())
        click.echo(f"{path}: the whole store, {size(num_bytes)} on disk")
    if dry_run:
        return
    _confirm(yes, "Remove this for good?")
    for path in paths:
        delete(path)
        click.echo(f"{path}: removed")


def _not_needed(recipe: "Recipe", store: "FeatureStore") -> dict[str, str]:
    from slt_pipeline.stages.cache_care import unused_clips

    unused, manifest = unused_clips(recipe, store), recipe.corpus.manifest
    return {
        **dict.fromkeys(unused.gone, f"not in {manifest}"),
        **dict.fromkeys(unused.changed, f"has changed since it was stored, in {manifest} or in its video"),
    }


def _named(ids: list[str], path: Path, store: "FeatureStore") -> dict[str, str]:
    missing = [clip for clip in ids if clip not in store]
    if missing:
        click.echo(f"{path}: {len(missing):,} of the clips named are not in it: {some(missing)}", err=True)
    return {clip: "named for removal" for clip in ids if clip in store}


def _show(path: Path, store: "FeatureStore", why: dict[str, str], in_full: bool, purge: bool) -> bool:
    """Print what is to be removed; say whether there is anything."""
    from cache.care.info import info

    facts = info(store)
    num_bytes = sum(store.length(clip) * spec.row_bytes for clip in why for spec in store.streams.values())
    line = f"{path}: {len(why):,} of {len(store):,} clips, {size(num_bytes)}"
    if facts["unfinished_files"]:
        line += f"; {facts['unfinished_files']:,} leftovers of killed writers, {size(facts['unfinished_bytes'])}"
    if purge:
        line += f"; {facts['lost_files']:,} files of earlier ones, {size(facts['lost_bytes'])}"
    click.echo(line)
    for reason, count in Counter(why.values()).items():
        click.echo(f"  {count:,} {reason}")
    if in_full:
        for clip, reason in why.items():
            click.echo(f"    {shown(clip)}: {reason}")
    return bool(why or facts["unfinished_files"] or (purge and facts["lost_files"]))


def _confirm(yes: bool, question: str) -> None:
    """Ask.

    Raises:
        SltError: the answer is not yes.
    """
    try:
        confirmed = yes or click.confirm(question, err=True)
    except click.Abort:  # nobody is there to answer
        click.echo(err=True)
        confirmed = False
    if not confirmed:
        raise SltError("nothing was removed, as that was not confirmed; --yes does not ask")
