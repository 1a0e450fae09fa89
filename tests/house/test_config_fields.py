"""No silent knob: every field of a recipe is read by the code that it is about, and says what it does."""

import ast
import importlib
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from slt_pipeline.config.base import Config

ROOT = Path(__file__).resolve().parents[2] / "slt_pipeline"

# Fields that nothing outside config/ reads of their section by name, and how they are read all the same.
READ_OTHERWISE = {
    "GenerationConfig.length_penalty": "the section is handed to `generate` whole",
    "GenerationConfig.no_repeat_ngram_size": "the section is handed to `generate` whole",
    "JointTrainConfig.generation": "through Sections.joint_generation",
    "JointTrainConfig.objective": "through Sections.joint_objective",
    "Sections.description": "`slt recipe list` shows it of what `load_recipe` returns",
    "SweepConfig.seeds": "through Recipe.seeds_of",
    "TransformConfig.brightness": "by name, in the order in which a clip's colours are jittered",
    "TransformConfig.contrast": "as brightness",
    "TransformConfig.saturation": "as brightness",
    "TransformConfig.hue": "as brightness",
    "TranslatorConfig.system": "as that of each system, which tells their classes apart",
    "VisualPretrainConfig.use_blocks": "through VisualPretrainConfig.s3d",
}


def _classes() -> dict[str, type[Config]]:
    modules = [
        importlib.import_module(f"slt_pipeline.config.{path.stem}") for path in (ROOT / "config").glob("[a-z]*.py")
    ]
    values = [value for module in modules for value in vars(module).values()]
    found = {value.__name__: value for value in values if isinstance(value, type) and issubclass(value, Config)}
    return {name: found[name] for name in sorted(found)}


CLASSES = _classes()


def _types(annotation: typing.Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _types(inner)


def _sections_by_name() -> dict[str, set[str]]:
    """Name of a field -> the config classes that stand under it: `training` -> `TrainingConfig`."""
    found: dict[str, set[str]] = {"recipe": {"Recipe"}}
    for section in CLASSES.values():
        for name, field in section.model_fields.items():
            found.setdefault(name, set()).update(each.__name__ for each in _types(field.annotation))
    return found


SECTIONS = _sections_by_name()


def _home(section: str, field: str) -> str:
    """`Class.field` of the class that defines a field, which those that inherit it share."""
    lines = CLASSES[section].__mro__
    return next(f"{each.__name__}.{field}" for each in lines if field in vars(each).get("__annotations__", ()))


def _reads(source: str) -> set[str]:
    """Fields that a file reads, as `Class.field`: of what is named like a section, or annotated as one.

    A name means the same in a whole file, which is as exact as needed: `extract.batch_size` and `training.batch_size`
    are told apart.
    """
    tree = ast.parse(source)
    known = {name: set(classes) for name, classes in SECTIONS.items()}
    nodes = list(ast.walk(tree))
    for node in nodes:
        annotated = isinstance(node, ast.arg | ast.AnnAssign) and node.annotation
        if annotated:
            names = {inner.id for inner in ast.walk(annotated) if isinstance(inner, ast.Name)} & CLASSES.keys()
            heirs = {n for n, c in CLASSES.items() for name in names if issubclass(c, CLASSES[name])}
            known.setdefault(_last(node), set()).update(heirs)
    for node in nodes:
        for target, value in _assigned(node):
            known.setdefault(_last(target), set()).update(known.get(_last(value), set()))
    return {
        _home(section, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        for section in known.get(_last(node.value), set())
        if node.attr in CLASSES[section].model_fields
    }


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            yield from zip(target.elts, node.value.elts, strict=False) if both else [(target, node.value)]


def _last(node: ast.AST) -> str:
    """Last part of a dotted name; of `s3d.config`, as a network keeps its section, the one before."""
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.AnnAssign):
        return _last(node.target)
    if isinstance(node, ast.Attribute):
        return _last(node.value) if node.attr == "config" and _last(node.value) in SECTIONS else node.attr
    return node.id if isinstance(node, ast.Name) else ""


FIELDS = sorted({_home(section, name) for section, c in CLASSES.items() for name in c.model_fields})
READ = {
    field
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] != "config"
    for field in _reads(path.read_text(encoding="utf-8"))
}


def test_the_fields_are_found():
    assert {"Sections.seed", "HeadConfig.hidden", "Ramp.over", "SynthConfig.gop"} <= set(FIELDS)
    assert len(FIELDS) > 130


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_read_outside_config(field):
    if field in READ_OTHERWISE:
        assert field not in READ, f"{field} is read: take it out of the table"
    else:
        assert field in READ, f"nothing reads {field}: it works, or it goes"


def test_the_table_names_fields_that_exist():
    assert set(READ_OTHERWISE) - set(FIELDS) == set()


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_says_what_it_does(field):
    section, _, name = field.partition(".")
    assert (CLASSES[section].model_fields[name].description or "").strip()


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("x.extract.dtype", {"ExtractConfig.dtype"}),
        ("config = recipe.extract\nconfig.dtype", {"Sections.extract", "ExtractConfig.dtype"}),
        ("def f(config: ExtractConfig | None):\n    config.dtype", {"ExtractConfig.dtype"}),
        ("evaluate.batch_size", {"EvaluateConfig.batch_size"}),
        ("model.batch_size\nx.beam_size = 3\ny = 'extract.dtype'", set()),
    ],
)
def test_a_field_is_read_of_its_own_section(source, fields):
    """A name that other sections have too, as `batch_size`, is not read by reading theirs."""
    assert _reads(source) == fields
