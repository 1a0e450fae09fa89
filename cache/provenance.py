"""What made a store: the fingerprint, and its comparison in words.

A fingerprint is a JSON object (nested as you like). Two are the same when their canonical JSON is.
"""

import hashlib
import json
from typing import Any

from cache.errors import MadeByOtherError, StoreError

_CURE = "choose another folder, or go back to the settings that made this store"


def canonical(fingerprint: dict[str, Any]) -> str:
    """Return the one JSON text of a fingerprint: keys sorted, no spaces, UTF-8. Raises StoreError if it is not JSON."""
    if not isinstance(fingerprint, dict):
        raise StoreError(f"a fingerprint is a dict, got {type(fingerprint).__name__}: pass fingerprint={{...}}")
    try:
        for path in _bad_keys(fingerprint, ""):
            raise StoreError(f"fingerprint key {path} is not a string: JSON objects have string keys only")
        text = json.dumps(fingerprint, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
        return text
    except RecursionError as error:
        raise StoreError("the fingerprint is nested too deeply to be JSON: make it flatter") from error
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the fingerprint is not JSON ({error}): use str, int, float, bool, None, list, dict"
        ) from error


def is_text(value: str) -> bool:
    """Say whether a string can be written as UTF-8; a file name that is not UTF-8 has lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def fingerprint_hash(fingerprint: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON, in hex: the short name of what made a store."""
    return hashlib.sha256(canonical(fingerprint).encode()).hexdigest()


def flatten(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Return the values by dotted key: `{"transform": {"size": 224}}` gives `{"transform.size": 224}`.

    A key that has a dot itself is quoted.
    """
    flat: dict[str, Any] = {}
    for key, item in fingerprint.items():
        key = json.dumps(key) if "." in key else key
        inner = flatten(item) if isinstance(item, dict) else {}
        flat.update({f"{key}.{name}": value for name, value in inner.items()} or {key: item})
    return flat


def changes(a: dict[str, Any], b: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return both values of every dotted key that differs: `{"transform.size": {"a": 224, "b": 256}}`.

    The side that lacks the key is left out.
    """
    sides = {"a": flatten(a), "b": flatten(b)}
    found = {}
    for key in sorted({*sides["a"], *sides["b"]}):
        values = {side: flat[key] for side, flat in sides.items() if key in flat}
        if value_text(values, "a") != value_text(values, "b"):
            found[key] = values
    return found


def value_text(values: dict[str, Any], side: str) -> str:
    """Return one side of a change as JSON text, `missing` where it is left out."""
    return json.dumps(values[side], sort_keys=True, ensure_ascii=False) if side in values else "missing"


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return one phrase per differing key, naming both values: `transform.size is 224 here, 256 expected`."""
    return [
        f"{key} is {value_text(values, 'a')} here, {value_text(values, 'b')} expected"
        for key, values in changes(found, expected).items()
    ]


def require_same(found: dict[str, Any], expected: dict[str, Any], where: str, cure: str = _CURE) -> None:
    """Raise StoreError naming every differing key and both values; return quietly when the two are the same."""
    if canonical(found) == canonical(expected):
        return
    phrases = differences(json.loads(canonical(found)), json.loads(canonical(expected)))
    raise MadeByOtherError(f"{where} was made by something else: {'; '.join(phrases)}: {cure}")


def _bad_keys(value: Any, path: str) -> list[str]:
    if isinstance(value, dict):
        bad = [f"{path}{key!r}" for key in value if not isinstance(key, str)]
        return bad + [name for key, item in value.items() for name in _bad_keys(item, f"{path}{key}.")]
    if isinstance(value, list | tuple):
        return [name for item in value for name in _bad_keys(item, path)]
    return []
