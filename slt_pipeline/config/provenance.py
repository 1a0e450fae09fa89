"""What decides a result, by dotted key, and how two such accounts compare.

A run's `inputs.json` and a store's fingerprint are accounts. Two rules keep them readable by later versions: a key that
an older account lacks counts as its default, so that a new field refuses nothing (a mapping that it does list, such as
rates by part, it lists whole); and what is only recorded (versions, places, the number of loader processes) is never
compared, unless an account lists it beside its section.
"""

import json
from collections.abc import Mapping
from typing import Any

from slt_pipeline.config.base import Config
from slt_pipeline.config.former import ABSENT, BEFORE, upgrade
from slt_pipeline.errors import SltError

_VERSIONS = frozenset({"decoder", "slt"})
"""Parts of the first stores' fingerprints that only say by which versions they were made."""

_FIRST: dict[str, Any] = {
    "features": 1,
    "system": "mmtlb",
    "encoder.engine": "torch",
    "encoder.precision": "float32",
    "video.decoder": "pyav",
    "pool": "mean",
    "clip": "whole",
    "gloss_input": "vectors",
    "direction": "gloss2text",
    "also": [],
    "text.order": "forward",
    "language_model.language_model": "mbart",
}
"""What an account stands for that lacks a key of no section, or whose default is not that of today's section."""


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings and config sections by dotted key, in JSON's types, so that a difference has a name.

    Fields that are only recorded are left out.
    """
    if isinstance(value, Config):
        value = {name: getattr(value, name) for name in type(value).model_fields if name not in value.recorded}
    if isinstance(value, Mapping) and value:
        flat: dict[str, Any] = {}
        for key, inner in value.items():
            flat.update(flatten(inner, f"{prefix}.{key}" if prefix else str(key)))
        return flat
    return {prefix: json.loads(json.dumps(value, default=str))}


def plain(account: Mapping[str, Any]) -> dict[str, Any]:
    """Return an account as nested JSON, without what is only recorded: what a store keeps as its fingerprint."""
    return {
        key: value.model_dump(mode="json", exclude=set(value.recorded)) if isinstance(value, Config) else value
        for key, value in account.items()
    }


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, unfinished: bool = False
) -> list[tuple[str, Any, Any]]:
    """Return every key that decides and differs, with both values.

    Args:
        before: an account as it was written, flat or nested.
        now: the account of today; its config sections say the defaults of keys that `before` lacks.
        unfinished: `before` is of work that is to go on: what a key stood for before it existed (`former.BEFORE`) is
            compared too, since half of a run cannot be made in one way and half in another.
    """
    old = upgrade(flatten(before))
    new, defaults, recorded, free = flatten(now), _defaults(now), _recorded(now), _free_mappings(now)
    found = []
    for key in sorted(old.keys() | new.keys(), key=lambda key: (not key.endswith((".system", ".language_model")), key)):
        if (key in recorded and key not in new) or key.removeprefix("store.") in _VERSIONS:
            continue
        if key not in old:
            known = None if _is_added(key, old, free) else _before(key, defaults, unfinished)
            if known is _UNKNOWN or known in (ABSENT, new[key]):
                continue
            found.append((key, known, new[key]))
        elif old[key] != (now_is := new.get(key, _first(key))) and ABSENT not in (old[key], now_is):
            found.append((key, old[key], now_is))
    return found


def require_made_with(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    what: str,
    cure: str,
    *,
    in_part: bool = False,
    unfinished: bool = False,
) -> None:
    """Refuse something that was made with other settings than those of today.

    Args:
        before: an account as it was written.
        now: the account of today.
        what: begins the message: "the store x".
        cure: ends it.
        in_part: `now` is a part of the account; what else `before` says is not compared.
        unfinished: as in `differences`.

    Raises:
        SltError: it was made with another value of a key; the first such key and both values are named.
    """
    said = flatten(now)
    for key, was, is_now in differences(before, now, unfinished=unfinished):
        if key in said or not in_part:
            raise SltError(f"{what} was made with {key} = {was!r}, but now it is {is_now!r}; {cure}")


_UNKNOWN = object()


def _before(key: str, defaults: Mapping[str, Any], unfinished: bool) -> Any:
    for suffix, value in BEFORE.items():
        if key == suffix or key.endswith(f".{suffix}"):
            return value if unfinished else _UNKNOWN
    first = _first(key)
    return defaults.get(key, _UNKNOWN) if first is None else first


def _first(key: str) -> Any:
    return next((value for end, value in _FIRST.items() if f".{key}".endswith(f".{end}")), None)


def _is_added(key: str, old: Mapping[str, Any], free: set[str]) -> bool:
    """Return whether an older account says that a key was not set: it lists the mapping that the key is of."""
    above = [key[:end] for end, character in enumerate(key) if character == "."]
    listed = {name for name in above if name in free and any(other.startswith(f"{name}.") for other in old)}
    return bool(listed) or any(name in old for name in above)


def _sections(value: Any, prefix: str = "") -> list[tuple[str, Config]]:
    """Every config section inside an account with the key that it stands under."""
    if isinstance(value, Config):
        inner = {name: getattr(value, name) for name in type(value).model_fields}
        return [(prefix, value), *_sections(inner, prefix)]
    if not isinstance(value, Mapping):
        return []
    return [
        found for key, inner in value.items() for found in _sections(inner, f"{prefix}.{key}" if prefix else str(key))
    ]


def _defaults(now: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for prefix, section in _sections(now):
        for name, field in type(section).model_fields.items():
            if not field.is_required():
                default = field.get_default(call_default_factory=True)
                flat.update(flatten(default, f"{prefix}.{name}"))
    return flat


def _recorded(now: Mapping[str, Any]) -> set[str]:
    return {f"{prefix}.{name}" for prefix, section in _sections(now) for name in section.recorded}


def _free_mappings(now: Mapping[str, Any]) -> set[str]:
    """Keys of the mappings whose own keys are no fields: rates and weights by part."""
    found = ((prefix, section, name) for prefix, section in _sections(now) for name in type(section).model_fields)
    return {f"{prefix}.{name}" for prefix, section, name in found if isinstance(getattr(section, name), Mapping)}
