"""No silent knob: every field of a recipe is read by the code that it is about, and says what it does."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from slt_pipeline.config.base import Config

ROOT = Path(__file__).resolve().parents[2] / "slt_pipeline"

# Fields that no attribute access outside config/ names, and how they are read all the same.
READ_OTHERWISE = {
    "GenerationConfig.num_beams": "the section is handed to `generate` whole",
    "GenerationConfig.length_penalty": "the section is handed to `generate` whole",
    "SweepConfig.seeds": "through Recipe.seeds_of",
    "TransformConfig.brightness": "by name, in the order in which a clip's colours are jittered",
    "TransformConfig.contrast": "as brightness",
    "TransformConfig.saturation": "as brightness",
    "TransformConfig.hue": "as brightness",
}


def _fields() -> list[str]:
    modules = [
        importlib.import_module(f"slt_pipeline.config.{path.stem}") for path in (ROOT / "config").glob("[a-z]*.py")
    ]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Config)
    }
    return sorted(f"{section.__name__}.{name}" for section in classes for name in section.model_fields)


def _attributes(source: str) -> Iterator[str]:
    """Names that a file reads of some object."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr


FIELDS = _fields()
READ = {
    name
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] != "config"
    for name in _attributes(path.read_text(encoding="utf-8"))
}


def test_the_fields_are_found():
    assert {"Recipe.seed", "HeadConfig.hidden", "Ramp.over", "SynthConfig.gop"} <= set(FIELDS)
    assert len(FIELDS) > 130


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_read_outside_config(field):
    if field in READ_OTHERWISE:
        assert field.rpartition(".")[2] not in READ, f"{field} is read: take it out of the table"
    else:
        assert field.rpartition(".")[2] in READ, f"nothing reads {field}: it works, or it goes"


def test_the_table_names_fields_that_exist():
    assert set(READ_OTHERWISE) - set(FIELDS) == set()


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_says_what_it_does(field):
    section, _, name = field.partition(".")
    found = [c for c in _sections(Config) if c.__name__ == section]
    assert all((c.model_fields[name].description or "").strip() for c in found)


def test_what_is_set_or_only_spelled_is_not_read():
    assert set(_attributes("x.beam_size = 3\ny = config.seed\nz = 'width'\n")) == {"seed"}


def _sections(base: type[Config]) -> Iterator[type[Config]]:
    for section in base.__subclasses__():
        yield section
        yield from _sections(section)
