"""`slt cache diff`: what differs between two stores, in words."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from slt_pipeline.cli.cache.common import STORE, plain, some
from slt_pipeline.cli.options import Command

if TYPE_CHECKING:
    from cache.care.diff import StoreDiff

WORDS = {
    "features": "the same settings give other features by now",
    "encoder_weights": "the encoder's weights differ",
    "encoder": "the encoder is built differently",
    "sampling": "frames are sampled differently",
    "transform": "pictures are prepared differently",
    "decoder": "videos were decoded by other software",
    "dtype": "features were extracted in another number format",
    "slt": "features were extracted by other versions of slt",
    "imported_from": "features were imported from other files",
}
"""What it means that a part of the fingerprint differs (`slt_pipeline.systems.features.fingerprint`)."""


@click.command(cls=Command)
@click.argument("a", type=STORE)
@click.argument("b", type=STORE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(a, b, as_json) -> None:
    """Say what differs between two stores. Exit status 1 if anything does.

    Compared are what made them, how they are kept, and their clips.

    \b
    The status is 0 for stores of the same features from the same making, however they are kept (backend, shards,
    compression without rounding). Features are compared by their checksums.
    Example:
      $ slt cache diff runs/demo/mmtlb/features features_h5
    """
    from cache import FeatureStore
    from cache.care.diff import diff as compare

    found = compare(FeatureStore.open(a), FeatureStore.open(b))
    if as_json:
        click.echo(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        click.echo(f"A: {a}\nB: {b}")
        for line in lines(found):
            click.echo(line)
    if not found.same:
        raise click.exceptions.Exit(1)


def lines(found: "StoreDiff") -> Iterator[str]:
    """The differences in words."""
    yield from _made(found.fingerprint)
    for name, values in found.streams.items():
        yield f"stream {name}: {_sides({side: _spec(spec) for side, spec in values.items()})}"
    for name, bits in found.rounding.items():
        yield f"stream {name} was rounded differently, to bits of mantissa: {_sides(bits)}"
    for name, values in found.layout.items():
        shown = {side: _codec(value) if name == "compression" else value for side, value in values.items()}
        yield f"{name.replace('_', ' ')}: {_sides(shown)} (no number depends on it)"
    yield f"{found.num_common:,} clips are in both"
    for side, clips in (("A", found.only_a), ("B", found.only_b)):
        if clips:
            yield f"{len(clips):,} clips are only in {side}: {some(clips)}"
    if found.sources:
        yield f"{len(found.sources):,} clips were made from other videos or frames: {some(found.sources)}"
    for name, clips in found.features.items():
        if clips:
            yield f"{len(clips):,} clips have other features in stream {name}: {some(clips)}"
    other = [name for name, values in found.streams.items() if len(values) == 2] + list(found.rounding)
    if other:
        yield f"features cannot be compared in {', '.join(other)}: their numbers are of other widths or rounding"
    if found.same:
        yield "the same features, made by the same"


def _made(fingerprint: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The fingerprint, part by part: `transform.size` and `transform.mean` are one part."""
    parts: dict[str, list[str]] = {}
    for key, values in fingerprint.items():
        part, _, inner = key.partition(".")
        parts.setdefault(part, []).append(f"{inner} is {_sides(values)}" if inner else _sides(values))
    for part, said in parts.items():
        yield f"{WORDS.get(part, f'{part} differs')}: {'; '.join(said)}"


def _sides(values: dict[str, Any]) -> str:
    return ", ".join(f"{_short(values[side]) if side in values else 'nothing'} in {side.upper()}" for side in "ab")


def _short(value: Any) -> str:
    text = plain(value)
    is_hash = len(text) == 64 and not set(text) - set("0123456789abcdef")
    return f"{text[:8]}…" if is_hash else text


def _codec(packed: dict[str, Any] | None) -> str:
    return "{codec} level {level} in pieces of {chunk_steps} steps".format(**packed) if packed else "none"


def _spec(spec: dict[str, Any]) -> str:
    return f"{spec['dim']} x {spec['dtype']}"
