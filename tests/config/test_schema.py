"""The JSON Schema that editors get says what the loader says; a small checker of the words in use stands in for one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import recipes
from slt_pipeline.config.recipe import Recipe, list_recipes, recipe_schema

SCHEMA = json.loads(recipe_schema())
TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value == int(value),
}
LIMITS = {
    "enum": lambda value, limit: value in limit,
    "const": lambda value, limit: value == limit,
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
    "multipleOf": lambda value, limit: value % limit == 0,
    "minItems": lambda value, limit: len(value) >= limit,
    "maxItems": lambda value, limit: len(value) <= limit,
    "minProperties": lambda value, limit: len(value) >= limit,
}
SILENT = {"title", "description", "default", "format", "type"}
NESTING = {"$defs", "$ref", "anyOf", "oneOf", "properties", "additionalProperties", "items", "prefixItems"}
NESTING |= {"patternProperties"}


def problems(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    if "$ref" in schema:
        return problems(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], where)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        tried = [problems(value, option, where) for option in options]
        if "oneOf" in schema and tried.count([]) > 1:
            return [f"{where}: {value!r} is more than one of {len(tried)}"]
        return [] if [] in tried else min(tried, key=len)
    if "type" in schema and not TYPES[schema["type"]](value):
        return [f"{where}: {value!r} is no {schema['type']}"]
    words = schema.keys() - SILENT - NESTING
    found = [
        f"{where}: {value!r} against {word} {schema[word]!r}" for word in words if not LIMITS[word](value, schema[word])
    ]
    named, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    if isinstance(value, dict):
        for key, inner in value.items():
            matching = [s for pattern, s in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
            inner_schema = named.get(key, matching[0] if matching else others)
            if inner_schema is False:
                found.append(f"{where}: unknown key {key}")
            elif inner_schema is not True:
                found += problems(inner, inner_schema, f"{where}.{key}")
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        rest = [schema.get("items", {})] * (len(value) - len(first))
        for number, (inner, inner_schema) in enumerate(zip(value, [*first, *rest], strict=False)):
            found += problems(inner, inner_schema, f"{where}.{number}")
    return found


def sections(schema: Any):
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from sections(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from sections(value)


@pytest.mark.parametrize("name", list_recipes())
def test_the_schema_accepts_a_shipped_recipe_as_it_is_written(name):
    text = (Path(recipes.__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")
    assert problems(yaml.safe_load(text), SCHEMA) == []


@pytest.mark.parametrize(
    "text",
    [
        "extends: demo/mmtlb",
        "{extends: demo/mmtlb, corpus: {protocol: phoenix14t}}",
        "synth: null",
        "translator: {mapper: {input: s3d}}",
        "video: {transform: {pre_resize: [320, 320]}}",
    ],
)
def test_the_schema_accepts_a_short_change_of_another_recipe(text):
    assert problems(yaml.safe_load(text), SCHEMA) == []


@pytest.mark.parametrize(
    "text",
    [
        "sead: 1",
        "seed: -1",
        "seed: many",
        "visual_train: {training: {epocs: 3}}",
        "visual_train: {training: {epochs: 0}}",
        "extract: {streams: []}",
        "extract: {backend: tar}",
        "encoder: {head: {hidden: 3}}",
        "video: {transform: {pre_resize: [320]}}",
        "translate_train: {training: {optimiser: {lr: {default: fast}}}}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text):
    assert problems(yaml.safe_load(text), SCHEMA) != []


def test_every_reference_leads_somewhere():
    references = {section["$ref"] for section in sections(SCHEMA) if isinstance(section.get("$ref"), str)}
    assert len(references) > 10
    assert {reference.removeprefix("#/$defs/") for reference in references} <= SCHEMA["$defs"].keys()


def test_every_key_has_a_description():
    assert set(SCHEMA["properties"]) == {*Recipe.model_fields, "extends"}
    bare = [
        f"{name}.{key}"
        for name, section in (("Recipe", SCHEMA), *SCHEMA["$defs"].items())
        for key, value in section["properties"].items()
        if not value.get("description") and "$ref" not in value  # a section may describe itself
    ]
    assert bare == []
