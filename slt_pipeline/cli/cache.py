"""`slt cache`: care for feature stores."""

import json
from pathlib import Path

import click

_STORE = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def cache() -> None:
    """Look into feature stores.

    \b
    Example:
      $ slt cache info runs/demo/mmtlb/features
    """


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

    opened = FeatureStore.open(store)
    facts = {
        "path": str(store),
        "backend": opened.backend,
        "clips": len(opened),
        "steps": sum(opened.length(key) for key in opened),
        "bytes": sum(f.stat().st_size for f in store.rglob("*") if f.is_file()),
        "streams": {name: f"{spec.dim} x {spec.dtype}" for name, spec in opened.streams.items()},
        "fingerprint": opened.fingerprint,
    }
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        shown = "".join(f"\n    {k}: {v}" for k, v in value.items()) if isinstance(value, dict) else f" {value}"
        click.echo(f"{name}:{shown}")
