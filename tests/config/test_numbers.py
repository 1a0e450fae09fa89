"""Every number of a recipe, one by one: infinity, what is no number, and counts beyond all counting."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from recipe_refusals import LR, OBJECTIVE, demo_refusal

from slt_pipeline.config.recipe import Recipe, load_recipe
from slt_pipeline.errors import SltError


def _numbers(model: type[BaseModel], kind: type, walked: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Key of every field that holds a number of a kind, and how to write a value into it."""
    for name, field in model.model_fields.items():
        key = ".".join([*walked, name])
        yield from ((key, shape) for shape in _shapes(field.annotation, kind))
        for option in (field.annotation, *get_args(field.annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from _numbers(option, kind, (*walked, name))


def _shapes(annotation: Any, kind: type) -> Iterator[str]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is kind:
        yield "{}"
    elif origin is tuple:
        yield from (f"[{', '.join([shape] * len(inner))}]" for shape in _shapes(inner[0], kind))
    elif origin is dict:
        yield from (f"{{default: {shape}}}" for shape in _shapes(inner[1], kind))
    elif origin is Annotated:
        yield from _shapes(inner[0], kind)
    else:
        yield from dict.fromkeys(shape for option in inner for shape in _shapes(option, kind))


NUMBERS = sorted(set(_numbers(Recipe, float)))
COUNTS = sorted({key for key in _numbers(Recipe, int) if key[0] not in ("seed", "sweep.seeds")})


def test_the_fields_with_numbers_are_found():
    found = {key for key, _ in NUMBERS}
    assert {LR, OBJECTIVE, "video.transform.mean", "translate.generation.length_penalty", "synth.fps"} <= found
    assert len(found) > 50


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(("key", "shape"), NUMBERS, ids=[key for key, _ in NUMBERS])
def test_no_field_takes_infinity_or_what_is_no_number(key, shape, number):
    assert key in demo_refusal(f"{key}={shape.replace('{}', number)}")


def test_nothing_is_counted_beyond_all_counting():
    """A slip of the finger is told when the recipe loads, not by the memory that it would take."""
    assert len(COUNTS) > 50
    taken = []
    for key, shape in COUNTS:
        with suppress(SltError):
            load_recipe("demo/mmtlb", [f"{key}={shape.replace('{}', str(10**12))}"])
            taken.append(key)
    assert not taken


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("{to: .inf, over: 10}", "recognition.to = inf: Input should be a finite number"),
        ("{to: 1, over: 0}", "recognition.over = 0: Input should be greater than or equal to 1"),
        ("{to: 1, ovr: 10}", "recognition.ovr"),
        ("-1", "recognition = -1: Input should be greater than or equal to 0"),
        ("x", "recognition = 'x': Input should be a valid number"),
    ],
)
def test_a_mistake_in_a_weight_is_named_once(weight, message):
    found = demo_refusal(f"{OBJECTIVE}.recognition={weight}")
    assert f"{OBJECTIVE}.{message}" in found
    assert "(number)" not in found and "(ramp)" not in found
