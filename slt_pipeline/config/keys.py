"""Keys of a recipe and the schema behind them: finding, merging, setting.

A section (a config class) is merged key by key. A free mapping (`dict[...]`: rates by part, weights by part, a sweep's
grid) has keys of its own making, so that a new one replaces the old one whole; with a `null` in it, it is a change of
the old one: these keys go, the others are set.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from slt_pipeline.config.former import ALIASES
from slt_pipeline.errors import SltError

Model = type[BaseModel]


def key_path(root: Model, key: str) -> list[str]:
    """Return the parts of a key; what is below a free mapping is one part, dots and all.

    Raises:
        SltError: `key` is not a path to a field; the nearest valid key is named.
    """
    model: Model = root
    walked: list[str] = []
    parts = key.split(".")
    for number, part in enumerate(parts):
        part = _today(model, part)
        if part not in model.model_fields:
            raise SltError(f"recipe has no key {'.'.join([*walked, part])}{_nearest(root, part, walked, model)}")
        walked.append(part)
        annotation, rest = model.model_fields[part].annotation, parts[number + 1 :]
        if rest and is_free(annotation):
            return [*walked, ".".join(rest)]
        section = section_of(annotation)
        if rest and section is None:
            raise SltError(f"recipe has no key {key}: {'.'.join(walked)} is a value without parts")
        model = section or model
    return walked


def merge(model: Model, base: Mapping[str, Any], change: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return `base` with `change` upon it, both plain data of the section `model`.

    Args:
        model: Config class that says which mappings are free.
        base: Data that is changed.
        change: Keys that are set; those that `model` does not have are taken as they are, for validation to refuse.
        where: Key of the section, for messages.

    Raises:
        SltError: a `null` deletes a key that is not there, or a key is given under two spellings.
    """
    merged = dict(base)
    for given, value in change.items():
        key = _today(model, given)
        if key != given and key in change:
            raise SltError(f"{_join(where, given)} and {_join(where, key)} are one key; keep one of them")
        field = model.model_fields.get(key)
        merged[key] = value if field is None else _changed(field.annotation, merged.get(key), value, _join(where, key))
    return merged


def put(root: Model, data: dict[str, Any], key: str, value: Any) -> None:
    """Set one key of plain data, as `-o key=value` does: a section or free mapping given whole replaces the old one.

    Raises:
        SltError: there is no such key, or `null` deletes one that is not there.
    """
    *parents, last = key_path(root, key)
    node, model, free = data, root, False
    for part in parents:
        child = node.get(part)
        node[part] = dict(child) if isinstance(child, Mapping) else {}
        node, annotation = node[part], model.model_fields[part].annotation
        model, free = section_of(annotation) or model, is_free(annotation)
    if free and value is None:
        _delete(node, last, ".".join(parents))
    elif free:
        node[last] = value
    else:
        field = model.model_fields[last]
        old = node.get(last) if is_free(field.annotation) else defaults_of(field.default)
        node[last] = _changed(field.annotation, old, value, key)


def defaults(model: Model) -> dict[str, Any]:
    """Return the default of every field that has one, as plain data."""
    return {name: defaults_of(field.default) for name, field in model.model_fields.items() if not field.is_required()}


def defaults_of(value: Any) -> Any:
    """Return a default value as plain data."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def leaves(model: Model, data: Mapping[str, Any], walked: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the keys of plain data that are no sections."""
    for given, value in data.items():
        key = _today(model, given)
        section = section_of(model.model_fields[key].annotation) if key in model.model_fields else None
        if section is not None and isinstance(value, Mapping):
            yield from leaves(section, value, (*walked, key))
        else:
            yield ".".join([*walked, str(key)])


def section_of(annotation: Any) -> Model | None:
    """Return the config class inside an annotation such as `SynthConfig | None`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel) and not is_free(annotation):
            return candidate
    return None


def is_free(annotation: Any) -> bool:
    """Return whether a field is a mapping with keys of its own making."""
    return get_origin(annotation) is dict


def did_you_mean(name: str, valid: Iterable[str], cutoff: float = 0.5) -> str:
    """Return `; did you mean X?` for the nearest valid name, else nothing."""
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def _changed(annotation: Any, old: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    old = old if isinstance(old, Mapping) else {}
    section = section_of(annotation)
    if section is not None:
        return merge(section, old, value, where)
    if not is_free(annotation) or None not in value.values():
        return value
    kept = {**old, **{key: inner for key, inner in value.items() if inner is not None}}
    for key, inner in value.items():
        if inner is None:
            _delete(kept, key, where)
    return kept


def _delete(mapping: dict[str, Any], key: str, where: str) -> None:
    if key not in mapping:
        raise SltError(f"{where} has no {key} to delete; it has {', '.join(map(str, mapping)) or 'no key'}")
    del mapping[key]


def _today(model: Model, key: str) -> str:
    """Return the house's spelling of a key."""
    return ALIASES[key] if key in ALIASES and ALIASES[key] in model.model_fields else key


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)


def _nearest(root: Model, part: str, walked: list[str], model: Model) -> str:
    near = difflib.get_close_matches(part, list(model.model_fields), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {'.'.join([*walked, near[0]])}?"
    everywhere = _all_keys(root, [])
    tails = difflib.get_close_matches(part, [k.rsplit(".", 1)[-1] for k in everywhere], n=1, cutoff=0.7)
    if tails:
        return f"; did you mean {next(k for k in everywhere if k.rsplit('.', 1)[-1] == tails[0])}?"
    return f"; valid keys here: {', '.join(model.model_fields)}"


def _all_keys(model: Model, walked: list[str]) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(".".join([*walked, name]))
        section = section_of(field.annotation)
        if section is not None:
            keys += _all_keys(section, [*walked, name])
    return keys
