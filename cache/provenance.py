"""What made a store: the fingerprint, and its comparison in words.

A fingerprint is a JSON object (nested as you like). Two are the same when their canonical JSON is.
"""

import hashlib
import json
from typing import Any

from cache.errors import StoreError

_MISSING = object()


def canonical(fingerprint: dict[str, Any]) -> str:
    """Return the one JSON text of a fingerprint: keys sorted, no spaces, UTF-8. Raises StoreError if it is not JSON."""
    if not isinstance(fingerprint, dict):
        raise StoreError(f"a fingerprint is a dict, got {type(fingerprint).__name__}: pass fingerprint={{...}}")
    for path in _bad_keys(fingerprint, ""):
        raise StoreError(f"fingerprint key {path} is not a string: JSON objects have string keys only")
    try:
        return json.dumps(fingerprint, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the fingerprint is not JSON ({error}): use str, int, float, bool, None, list, dict"
        ) from error


def fingerprint_hash(fingerprint: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON, in hex: the short name of what made a store."""
    return hashlib.sha256(canonical(fingerprint).encode()).hexdigest()


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return one phrase per differing key, naming both values: `transform.size is 224 here, 256 expected`."""
    flat_found, flat_expected = _flatten(found), _flatten(expected)
    phrases = []
    for key in sorted({*flat_found, *flat_expected}):
        here, wanted = flat_found.get(key, _MISSING), flat_expected.get(key, _MISSING)
        if _text(here) != _text(wanted):
            phrases.append(f"{key} is {_text(here)} here, {_text(wanted)} expected")
    return phrases


def require_same(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    """Raise StoreError naming every differing key and both values; return quietly when the two are the same."""
    if canonical(found) == canonical(expected):
        return
    phrases = differences(json.loads(canonical(found)), json.loads(canonical(expected)))
    raise StoreError(
        f"{where} was made by something else: {'; '.join(phrases)}: "
        "extract into another folder, or go back to the settings that made this store"
    )


def _bad_keys(value: Any, path: str) -> list[str]:
    if isinstance(value, dict):
        bad = [f"{path}{key!r}" for key in value if not isinstance(key, str)]
        return bad + [name for key, item in value.items() for name in _bad_keys(item, f"{path}{key}.")]
    if isinstance(value, list | tuple):
        return [name for item in value for name in _bad_keys(item, path)]
    return []


def _flatten(value: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            flat.update(_flatten(item, f"{path}{key}."))
        else:
            flat[f"{path}{key}"] = item
    return flat


def _text(value: Any) -> str:
    return "missing" if value is _MISSING else json.dumps(value, sort_keys=True, ensure_ascii=False)
