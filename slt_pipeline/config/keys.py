"""Keys of a recipe and the schema behind them: finding, merging, setting.

A section (a config class) is merged key by key. A free mapping (`dict[...]`: rates by part, weights by part, a sweep's
grid) has keys of its own making, so that a new one replaces the old one whole; with a `null` in it, it is a change of
the old one: these keys go, the others are set. A section that is one of several (`translator`, by its `system`) has the
keys of all of them here, and validation refuses those of the others; a change of `system` takes over what was set.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from slt_pipeline.config.former import ALIASES
from slt_pipeline.errors import SltError

Model = type[BaseModel]
KIND = "system"
"""The field that tells the classes of one section apart."""


def key_path(root: Model, key: str) -> list[str]:
    """Return the parts of a key; what is below a free mapping is one part, dots and all, up to a field of its values.

    Raises:
        SltError: `key` is not a path to a field; the nearest valid key is named.
    """
    return _path(root, fields_of(root), key.split("."), [])


def kind_having(root: Model, key: str) -> str:
    """Return `section.system=name` of the class of a section that has a key which its others lack; empty: none has."""
    *walked, last = key_path(root, key)
    models: Sequence[Model] = [root]
    for part in walked:
        models = sections_of(fields_of(*models)[part].annotation)
    having = next(
        (model.model_fields[KIND].default for model in models if {last, KIND} <= model.model_fields.keys()), ""
    )
    return having and f"{'.'.join(walked)}.{KIND}={having}"


def merge(
    models: Model | Sequence[Model], base: Mapping[str, Any], change: Mapping[str, Any], where: str = ""
) -> dict[str, Any]:
    """Return `base` with `change` upon it, both plain data of a section.

    Args:
        models: Config class of the section, or the classes that it may be of: they say which mappings are free.
        base: Data that is changed.
        change: Keys that are set; those that no class has are taken as they are, for validation to refuse.
        where: Key of the section, for messages.

    Raises:
        SltError: a `null` deletes a key that is not there, or a key is given under two spellings.
    """
    models = [models] if isinstance(models, type) else models
    fields = fields_of(*models)
    merged = _taken_over(models, base, change)
    for given, value in change.items():
        key = _today(fields, given)
        if key != given and key in change:
            raise SltError(f"{_join(where, given)} and {_join(where, key)} are one key; keep one of them")
        field = fields.get(key)
        merged[key] = value if field is None else _changed(field.annotation, merged.get(key), value, _join(where, key))
    return merged


def put(root: Model, data: dict[str, Any], key: str, value: Any) -> None:
    """Set one key of plain data, as `-o key=value` does: a section or free mapping given whole replaces the old one.

    Raises:
        SltError: there is no such key, or `null` deletes one that is not there.
    """
    *parents, last = key_path(root, key)
    node, annotation = data, root
    for part in parents:
        child = node.get(part)
        node[part] = dict(child) if isinstance(child, Mapping) else {}
        node, annotation = node[part], _inside(annotation, part)
    if is_free(annotation) and value is None:
        _delete(node, last, ".".join(parents))
    elif is_free(annotation):
        node[last] = value
    else:
        models = sections_of(annotation)
        if last == KIND:
            whole = _taken_over(models, node, {last: value})
            node.clear()
            node.update(whole)
        field = fields_of(*models)[last]
        old = node.get(last) if is_free(field.annotation) else defaults_of(field.default)
        node[last] = _changed(field.annotation, old, value, key)


def defaults(model: Model) -> dict[str, Any]:
    """Return the default of every field that has one, as plain data."""
    return {name: defaults_of(field.default) for name, field in model.model_fields.items() if not field.is_required()}


def defaults_of(value: Any) -> Any:
    """Return a default value as plain data."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def leaves(models: Model | Sequence[Model], data: Mapping[str, Any], walked: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the keys of plain data that are no sections; of a free mapping of sections (`sweeps`) those of each."""
    fields = fields_of(*([models] if isinstance(models, type) else models))
    for given, value in data.items():
        key = _today(fields, given)
        annotation = fields[key].annotation if key in fields else None
        sections = sections_of(annotation)
        if sections and isinstance(value, Mapping):
            yield from leaves(sections, value, (*walked, key))
        elif (section := _section_of_each(annotation)) and isinstance(value, Mapping):
            for name, inner in value.items():
                if isinstance(inner, Mapping):
                    yield from leaves(section, inner, (*walked, key, str(name)))
        else:
            yield ".".join([*walked, str(key)])


def sections_of(annotation: Any) -> list[Model]:
    """Return the config classes inside an annotation: of `SynthConfig | None` one, of a union each."""
    if is_free(annotation):
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in sections_of(inner)]


def fields_of(*models: Model) -> dict[str, FieldInfo]:
    """Return the fields of a section, whichever of its classes has them."""
    return {name: field for model in reversed(models) for name, field in model.model_fields.items()}


def is_free(annotation: Any) -> bool:
    """Return whether a field is a mapping with keys of its own making."""
    return get_origin(annotation) is dict


def _section_of_each(annotation: Any) -> Model | None:
    """Return the config class of what a free mapping holds, where it holds nothing else."""
    inner = get_args(annotation)[1] if is_free(annotation) else None
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def did_you_mean(name: str, valid: Iterable[str], cutoff: float = 0.5) -> str:
    """Return `; did you mean X?` for the nearest valid name, else nothing."""
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def _changed(annotation: Any, old: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    old = old if isinstance(old, Mapping) else {}
    if sections := sections_of(annotation):
        return merge(sections, old, value, where)
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


def _inside(annotation: Any, part: str) -> Any:
    """Return the annotation of what a section or free mapping holds under a name."""
    return get_args(annotation)[1] if is_free(annotation) else fields_of(*sections_of(annotation))[part].annotation


def _path(root: Model, fields: Mapping[str, FieldInfo], parts: Sequence[str], walked: list[str]) -> list[str]:
    """Return the parts of a key behind those that were walked, in sections that have these fields."""
    for number, part in enumerate(parts):
        part = _today(fields, part)
        if part not in fields:
            raise SltError(f"recipe has no key {'.'.join([*walked, part])}{_nearest(root, part, walked, fields)}")
        walked = [*walked, part]
        annotation, rest = fields[part].annotation, parts[number + 1 :]
        if rest and is_free(annotation):
            return _below_free(root, annotation, rest, walked)
        sections = sections_of(annotation)
        if rest and not sections:
            raise SltError(
                f"recipe has no key {'.'.join([*walked, *rest])}: {'.'.join(walked)} is a value without parts"
            )
        fields = fields_of(*sections) if sections else fields
    return walked


def _below_free(root: Model, annotation: Any, rest: Sequence[str], walked: list[str]) -> list[str]:
    """Split what is below a free mapping into a name of its own making and, of its value, a field and what is below."""
    fields = fields_of(*sections_of(get_args(annotation)[1]))
    for place in range(1, len(rest)):
        field = fields.get(rest[place])
        if field and (place + 1 == len(rest) or is_free(field.annotation) or sections_of(field.annotation)):
            return _path(root, fields, rest[place:], [*walked, ".".join(rest[:place])])
    return [*walked, ".".join(rest)]


def _taken_over(models: Sequence[Model], base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` for the class that `change` makes of the section.

    What stood at the former class's default gets the new one's, and what the new class does not have is left out.
    """
    was, becomes = _kind(models, base), _kind(models, change)
    if was is None or becomes is None or was is becomes:
        return dict(base)
    former, fields = defaults(was), becomes.model_fields
    kept = {key: value for key, value in base.items() if key in fields and former.get(key, _NOTHING) != value}
    return {**defaults(becomes), **{key: value for key, value in kept.items() if key != KIND}}


_NOTHING = object()


def _kind(models: Sequence[Model], data: Mapping[str, Any]) -> Model | None:
    """Return the class of a section that its data name, where there are several."""
    several = (model for model in models if KIND in model.model_fields)
    return next((model for model in several if model.model_fields[KIND].default == data.get(KIND)), None)


def _today(fields: Mapping[str, FieldInfo], key: str) -> str:
    """Return the house's spelling of a key."""
    return ALIASES[key] if key in ALIASES and ALIASES[key] in fields else key


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)


def _nearest(root: Model, part: str, walked: list[str], fields: Mapping[str, FieldInfo]) -> str:
    near = difflib.get_close_matches(part, list(fields), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {'.'.join([*walked, near[0]])}?"
    everywhere = _all_keys([root], [])
    tails = difflib.get_close_matches(part, [k.rsplit(".", 1)[-1] for k in everywhere], n=1, cutoff=0.7)
    if tails:
        return f"; did you mean {next(k for k in everywhere if k.rsplit('.', 1)[-1] == tails[0])}?"
    return f"; valid keys here: {', '.join(fields)}"


def _all_keys(models: Sequence[Model], walked: list[str]) -> list[str]:
    keys: list[str] = []
    for name, field in fields_of(*models).items():
        keys.append(".".join([*walked, name]))
        if sections := sections_of(field.annotation):
            keys += _all_keys(sections, [*walked, name])
    return keys
