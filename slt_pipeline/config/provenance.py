"""What decides a result, by dotted key, and how two such accounts compare.

A run's `inputs.json` and a store's fingerprint are accounts. Two rules keep them readable by later versions: a key that an
older account lacks counts as the default that the field has (or had before it existed, `former.BEFORE`), so a new
field refuses nothing; and what is only recorded (versions, places, the number of loader processes) is never compared.
"""

import json
from collections.abc import Mapping
from typing import Any

from slt_pipeline.config.base import Config
from slt_pipeline.config.former import BEFORE, upgrade
from slt_pipeline.errors import SltError

_VERSIONS = frozenset({"decoder", "slt"})
"""Parts of the first stores' fingerprints that only say by which versions they were made."""


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and config sections as one mapping by dotted key, in JSON's types, so that a difference has a name.

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
    """An account as JSON, nested as it is, without what is only recorded: what a store keeps as its fingerprint."""
    return {
        key: value.model_dump(mode="json", exclude=set(value.recorded)) if isinstance(value, Config) else value
        for key, value in account.items()
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Every key that decides and differs, with both values.

    Args:
        before: an account as it was written, flat or nested.
        now: the account of today; its config sections say the defaults of keys that `before` lacks.
    """
    old = upgrade(flatten(before))
    new, defaults, recorded = flatten(now), _defaults(now), _recorded(now)
    found = []
    for key in sorted(old.keys() | new.keys()):
        if key in recorded or key.removeprefix("store.") in _VERSIONS:
            continue
        if key not in old:
            known = _before(key, defaults)
            if known is _UNKNOWN or known == new[key]:
                continue
            found.append((key, known, new[key]))
        elif old[key] != new.get(key):
            found.append((key, old[key], new.get(key)))
    return found


def require_made_with(before: Mapping[str, Any], now: Mapping[str, Any], what: str, cure: str) -> None:
    """Refuse something that was made with other settings than those of today; the first difference is named.

    Raises:
        SltError: `what` was made with another value of a key; the key, both values and `cure` are named.
    """
    for key, was, is_now in differences(before, now):
        raise SltError(f"{what} was made with {key} = {was!r}, but now it is {is_now!r}; {cure}")


_UNKNOWN = object()


def _before(key: str, defaults: Mapping[str, Any]) -> Any:
    for suffix, value in BEFORE.items():
        if key == suffix or key.endswith(f".{suffix}"):
            return value
    return defaults.get(key, _UNKNOWN)


def _sections(value: Any, prefix: str = "") -> list[tuple[str, Config]]:
    """Every config section inside an account with the key that it stands under."""
    if isinstance(value, Config):
        inner = {name: getattr(value, name) for name in type(value).model_fields}
        return [(prefix, value), *_sections(inner, prefix)]
    if not isinstance(value, Mapping):
        return []
    return [
        found
        for key, inner in value.items()
        for found in _sections(inner, f"{prefix}.{key}" if prefix else str(key))
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
