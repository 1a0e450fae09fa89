"""`slt cache`: care for feature stores."""

import json

import click

from slt_pipeline.cli.cache.common import STORE, byte_bar, goes_with, local, plain, shown, size, some, table
from slt_pipeline.cli.cache.copy import convert, merge, subset
from slt_pipeline.cli.cache.diff import diff
from slt_pipeline.cli.cache.feature_pickles import export_pickle, import_pickle
from slt_pipeline.cli.cache.rm import restore, rm
from slt_pipeline.cli.options import Group, load, recipe_options
from slt_pipeline.errors import SltError


@click.group(cls=Group)
def cache() -> None:
    """Care for feature stores: check, copy, join, prune.

    \b
    A STORE that is only read may be a URL too: s3://bucket/features, gs://, az://, https://, file:///...
    Example:
      $ slt cache info runs/demo/mmtlb/features
    """


cache.add_command(convert)
cache.add_command(subset)
cache.add_command(merge)
cache.add_command(rm)
cache.add_command(restore)
cache.add_command(diff)
cache.add_command(import_pickle)
cache.add_command(export_pickle)


@cache.command()
@click.argument("store", type=STORE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(store, as_json) -> None:
    """Print what is in a store, and what made it. That is streams, clips, steps, bytes and the fingerprint.

    \b
    Example:
      $ slt cache info runs/demo/mmtlb/features
    """
    from cache import FeatureStore
    from cache.care.info import info as facts_of

    opened = FeatureStore.open(store)
    facts = facts_of(opened)
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    for line in _info_lines(facts, {name: spec.row_bytes for name, spec in opened.streams.items()}):
        click.echo(line)


@cache.command()
@click.argument("store", type=STORE)
@recipe_options
@click.option(
    "--sample",
    "num_sampled",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also encode N random clips again with the recipe's encoder, and compare.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws other clips.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-5,
    show_default=True,
    help="Difference that is allowed beyond the store's own rounding, as a part of the clip's largest number.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...: encodes the sample.")
def verify(store, recipe_name, overrides, num_sampled, seed, tolerance, device) -> None:
    """Read a whole store again and list what is damaged. Changes nothing; exit status 1 if anything is wrong.

    \b
    The clips that are lost are listed in full by `slt cache repair STORE --dry-run`.
    With --sample, clips are drawn, encoded again and compared, once the store is known to be the recipe's. Numbers
    may differ by the store's rounding (dtype, keep_bits) and by the tolerance: another number of threads or another
    kind of CPU changes the last bits of float32. Features that a GPU made differ by more on a CPU: use --device, or
    a larger --tolerance. The largest difference is shown for each stream. Clips whose video is gone are listed, and
    they too make the exit status 1.
    Example:
      $ slt cache verify runs/demo/mmtlb/features
      $ slt cache verify runs/demo/mmtlb/features --sample 20 -r demo/mmtlb
    """
    from cache.care.verify import verify as check

    goes_with("num_sampled", "recipe_name", "overrides", "seed", "tolerance", "device")
    sampler = None
    if num_sampled and _opens(store):  # if it does not, that is what is to be told
        from slt_pipeline.stages.cache_care import Sampler

        sampler = Sampler(load(recipe_name, overrides), store, device=device)
    with byte_bar("verify") as progress:
        damage = check(store, progress=progress)
    for line in _damage_lines(damage):
        click.echo(line)
    if damage:
        if num_sampled:
            click.echo("no clip was encoded again: repair the store first", err=True)
        raise click.exceptions.Exit(1)
    click.echo(f"{store}: all is well")
    if sampler:
        from functools import partial

        from tqdm import tqdm

        bar = partial(tqdm, desc="encode", unit="clip", disable=None)
        sample = sampler.run(num_sampled, seed=seed, tolerance=tolerance, progress=bar)
        for line in _sample_lines(sample):
            click.echo(line)
        if not sample.ok:
            raise click.exceptions.Exit(1)


@cache.command()
@click.argument("store", type=STORE)
@click.option("--dry-run", is_flag=True, help="List what is damaged and which clips would be dropped.")
@click.option("-y", "--yes", is_flag=True, help="Do it even if much would go, or the data are away.")
def repair(store, dry_run, yes) -> None:
    """Drop damaged clips, so that they can be made again.

    `slt extract` makes them. What is whole stays, leftovers of killed writers go.

    \b
    It looks twice before it believes that something is damaged, and says what will go before it goes. What goes is kept
    in the store's folder lost/ until `slt cache rm STORE --purge`; `slt cache restore STORE` brings it back. It is
    refused if the data are away (a disk that is not mounted), or more than a tenth of the clips would go, unless --yes
    says so, which also moves data that nothing explains. Others may read and write the store meanwhile.
    Example:
      $ slt cache repair runs/demo/mmtlb/features --dry-run
      $ slt cache repair runs/demo/mmtlb/features
    """
    from cache.care.repair import repair as repair_store
    from cache.care.verify import verify as check
    from cache.header import HEADER_PATH

    path = local(store)
    if not dry_run:
        with byte_bar("repair") as progress:
            dropped = repair_store(path, yes=yes, progress=progress, tell=lambda plan: _tell(store, plan, yes))
        click.echo(_dropped(store, "dropped", dropped.clips, dropped.num_records))
        return
    with byte_bar("verify") as progress:
        damage = check(path, progress=progress)
    for line in _damage_lines(damage):
        click.echo(line)
    if any(piece.file == HEADER_PATH for piece in damage):
        raise SltError(
            f"{store} can be repaired only with a copy of its {HEADER_PATH}, which never changes: put it back"
        )
    clips = sorted({clip for piece in damage for clip in piece.clips or ()})
    click.echo(_dropped(store, "would be dropped", clips, sum(piece.clips is None for piece in damage)))


def _tell(store, plan, yes):
    """Say what goes, before it does."""
    if plan.clips or plan.num_records:
        unnamed = f" and those of {plan.num_records:,} index records" if plan.num_records else ""
        what = f"{len(plan.clips):,} clips{unnamed} go to {store}/lost: {some(plan.clips)}"
        click.echo(f"{store}: {what}; `slt cache restore {store}` brings back what is sound of them", err=True)
    if plan.files:
        what = f"{len(plan.files):,} files of data that no record names: {some(plan.files)}"
        click.echo(
            f"{store}: {what}: {f'moved to {store}/lost' if yes else 'left as they are; --yes moves them'}", err=True
        )


def _opens(store):
    from cache import FeatureStore, StoreError

    try:
        FeatureStore.open(store)
    except StoreError:
        return False
    return True


def _dropped(store, verb, clips, num_records):
    unnamed = f", and those of {num_records:,} index records that cannot be read" if num_records else ""
    return f"{store}: {len(clips):,} clips {verb}{unnamed}" + "".join(f"\n  {shown(clip)}" for clip in clips)


def _damage_lines(damage):
    for piece in damage:
        lost = f"{len(piece.clips):,} clips are lost: {some(piece.clips)}" if piece.clips else "no clip is lost"
        yield f"{piece.file}: {piece.reason}: {'its clips are lost' if piece.clips is None else lost}"


def _sample_lines(sample):
    num_compared = len(sample.clips) - len(sample.not_compared)
    yield f"{num_compared} of {len(sample.clips)} clips encoded again and compared"
    yield from table(
        {
            name: f"largest difference {stream.largest_difference:<8.3g} (largest value {stream.largest_value:.3g}); "
            f"{stream.num_equal} clips equal in every bit, {len(stream.differing)} differ"
            for name, stream in sample.streams.items()
        }
    )
    for clip, reason in sample.not_compared.items():
        yield f"{clip}: not compared: {reason}"
    for clip in sample.clips:
        streams = [name for name, stream in sample.streams.items() if clip in stream.differing]
        if streams:
            yield f"{clip}: differs in {', '.join(streams)}"


def _info_lines(facts, row_bytes):
    from cache.provenance import fingerprint_hash, flatten

    packed, unfinished = facts["compression"], facts["unfinished_files"]
    yield facts["path"]
    yield from table(
        {
            "backend": facts["backend"],
            "compression": ", ".join(f"{key} {value}" for key, value in packed.items()) if packed else "none",
            "clips": f"{facts['clips']:,}",
            "steps": f"{facts['steps']:,} in all, {facts['longest_clip']:,} in the longest clip",
            "shards": f"{facts['shards']:,} of up to {facts['shard_steps']:,} steps, {facts['fill']:.1%} full",
            "features": _exact(facts["bytes"]),
            "on disk": _exact(facts["bytes_on_disk"]),
            "unfinished files": f"{unfinished:,}, {_exact(facts['unfinished_bytes'])}" if unfinished else "0",
            **({"lost files": f"{lost:,}, {_exact(facts['lost_bytes'])}"} if (lost := facts["lost_files"]) else {}),
        }
    )
    yield "streams"
    yield from table(
        {
            name: f"{stream['dim']:>5} x {stream['dtype']}  {_exact(facts['steps'] * row_bytes[name])}"
            for name, stream in facts["streams"].items()
        }
    )
    yield f"fingerprint {fingerprint_hash(facts['fingerprint'])[:12]}"
    yield from table({key: plain(value) for key, value in flatten(facts["fingerprint"]).items()})
    if facts["recorded"]:
        yield "recorded, and never compared"
        yield from table({key: plain(value) for key, value in flatten(facts["recorded"]).items()})


def _exact(num_bytes: int) -> str:
    return f"{size(num_bytes)} ({num_bytes:,} bytes)"
