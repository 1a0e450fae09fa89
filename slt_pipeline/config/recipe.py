"""A recipe: everything that decides one experiment, as data."""

import difflib
import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from slt_pipeline.config.checks import check_recipe
from slt_pipeline.config.explain import explain, first_key
from slt_pipeline.config.former import refuse_former_keys, upgrade_recipe
from slt_pipeline.config.idle import refuse_idle
from slt_pipeline.config.keys import defaults, key_path, leaves, merge, put
from slt_pipeline.config.paths import at_home, escape_home
from slt_pipeline.config.recipe_text import parse_override, quoted, read_sections, recipe_text
from slt_pipeline.config.runs import holds_encoder, holds_translator
from slt_pipeline.config.sections import Sections
from slt_pipeline.config.stages import SweepConfig
from slt_pipeline.config.written import line_of, write_yaml
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_text

log = logging.getLogger(__name__)


class Recipe(Sections):
    """One experiment, resolved: saved in the run folder before work starts, never changed after."""

    def run_folder(self, stage: str) -> Path:
        """Return the folder that `stage` writes to."""
        return Path(self.runs_dir) / self.name / stage

    @property
    def encoder_folder(self) -> Path:
        """Run folder of the visual encoder that this recipe uses, with its gloss classes."""
        return _lent(_lenders(self, "encoder")[-1], "encoder", "visual_train")

    @property
    def language_folder(self) -> Path:
        """Run folder of the Gloss2Text model that this recipe uses, with its tokenizer and gloss table."""
        return _lent(_lenders(self, "language")[-1], "language", "gloss2text_train")

    @property
    def translator_folder(self) -> Path:
        """Run folder of the translator that joint-train starts from."""
        return _lent(_lenders(self, "translator")[-1], "translator", "translate_train")

    @property
    def store(self) -> Path | str:
        """Folder, or URL, of the feature store: `extract.store`, else beside the encoder that makes its features."""
        lenders = _lenders(self, "encoder")
        if named := next((recipe.extract.store for recipe in lenders if recipe.extract.store), None):
            return named if "://" in named else Path(named)
        last = lenders[-1]
        return self.encoder_folder.with_name("features") if last.uses.encoder else last.run_folder("features")

    def seeds_of(self, sweep: SweepConfig) -> tuple[int, ...]:
        """Return the seeds of a sweep: those that it lists, else the recipe's own."""
        return sweep.seeds or (self.seed,)

    @model_validator(mode="after")
    def _sections_agree(self) -> "Recipe":
        check_recipe(self, lambda key: key_path(Recipe, key))
        return self


Lent = Literal["encoder", "language", "translator"]
"""What a recipe may take from another one."""


def _lenders(recipe: Recipe, what: Lent) -> list[Recipe]:
    """Return a recipe and those that it borrows from, each from the next; the last has its own, or names a run folder.

    Raises:
        SltError: they borrow in a circle, or one does not exist.
    """
    chain, names = [recipe], [recipe.name]
    while (name := getattr(chain[-1].uses, what)) and not Path(name).is_dir():
        if name in names[1:]:
            way = " -> ".join([*names, name])
            raise SltError(f"uses.{what} goes in a circle: {way}; let one of them have its own: -o uses.{what}=null")
        names.append(name)
        chain.append(_other_recipe(name, recipe.runs_dir))
    return chain


def _lent(recipe: Recipe, what: Lent, stage: str) -> Path:
    """Return the folder of a stage: of the recipe itself, or of the run or runs that its `uses` names by folder."""
    name = getattr(recipe.uses, what)
    if not name:
        return recipe.run_folder(stage)
    return Path(name) if (Path(name) / "recipe.yaml").is_file() else Path(name) / stage  # a run itself, or a run's home


@cache
def _other_recipe(name: str, runs_dir: str) -> Recipe:
    return load_recipe(name, [f"runs_dir={quoted(runs_dir)}"])


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, resolve `extends:` and apply overrides.

    Args:
        name: Name of a shipped recipe (`demo/mmtlb`), or a YAML file.
        overrides: `key.path=value`, the value in YAML. A section or free mapping given whole replaces the old one;
            below a free mapping `null` deletes a key.

    Raises:
        SltError: an unknown recipe or key, or a bad value, with the nearest valid one.
    """
    path = _find(name)
    own = _read(path)
    # A saved recipe names every key, and nothing in it is anybody's choice.
    chosen = set() if Recipe.model_fields.keys() <= own.keys() else set(leaves(Recipe, own))
    data = _resolve(path)
    data.setdefault("name", _name_of(path))
    if not overrides:
        return recipe_from_data(data, name, chosen, path)
    with suppress(ValidationError):  # alone it may lack what the overrides bring
        refuse_idle(_validate(data), chosen, f"recipe {name}: ")
    chosen = set()
    for override in overrides:
        key, value = parse_override(override)
        put(Recipe, data, key, value)
        parts = key_path(Recipe, key)
        chosen |= {".".join(parts), *leaves(Recipe, _nested(parts, value))}
    return recipe_from_data(data, name, chosen)


def recipe_from_data(
    data: Mapping[str, Any], where: str, chosen: Collection[str] = (), path: Path | None = None
) -> Recipe:
    """Validate plain data as a recipe.

    Args:
        data: The recipe; a section or key that is absent has its default.
        where: What errors call it.
        chosen: Keys that somebody set on purpose: one that cannot matter is refused.
        path: The file that the data are of, whose line errors name.

    Raises:
        SltError: an unknown key, a bad value, or a chosen one that changes nothing.
    """
    try:
        recipe = _validate(data)
    except ValidationError as error:
        line = line_of(recipe_text(path), first_key(error)) if path else None
        raise SltError(explain(Recipe, error, f"{where}:{line}" if line else where)) from error
    refuse_idle(recipe, chosen, f"recipe {where}: ")
    return recipe


def recipe_of_run(folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe that a run was made with, whichever version saved it, with overrides.

    That of a joint run uses the encoder of that run, whose own head makes what its translator reads.

    Raises:
        SltError: the folder is no run, or an override is wrong.
    """
    path = folder / "recipe.yaml"
    if not path.is_file():
        raise SltError(f"{folder} is no run folder: it has no recipe.yaml; name one such as runs/NAME/translate_train")
    data = upgrade_recipe(read_sections(path))
    if holds_encoder(folder) and holds_translator(folder):
        data = _opened(data, folder)
    chosen = set()
    for override in overrides:
        key, value = parse_override(override)
        put(Recipe, data, key, value)
        chosen.add(".".join(key_path(Recipe, key)))
    return recipe_from_data(data, where=str(path), chosen=chosen)


def recipe_of_encoder(folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a run that has a visual encoder, with overrides, as one that uses this encoder.

    Raises:
        SltError: the folder is no run or has no encoder, or an override is wrong.
    """
    if (folder / "recipe.yaml").is_file() and not holds_encoder(folder):
        raise SltError(
            f"{folder} holds no visual encoder, which makes the features of a store; name a run of `slt visual-train` "
            "or `slt joint-train`, or the recipe with -r"
        )
    recipe = recipe_of_run(folder, [f"uses.encoder={quoted(str(folder))}", *overrides])
    home, name = folder.resolve().parent, Path(recipe.name)
    if not home.match(str(name)) or any(override.startswith("runs_dir=") for override in overrides):
        return recipe
    runs_dir = home.parents[len(name.parts) - 1]  # a run that was copied brings its folder along
    if runs_dir == Path(recipe.runs_dir).resolve():
        return recipe
    return with_values(recipe, {"runs_dir": escape_home(str(runs_dir))})


def opened_as(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with which a joint run in `folder` is opened.

    Raises:
        SltError: it asks for what only a trained head has.
    """
    return recipe_from_data(_opened(recipe.model_dump(mode="json"), folder), where=recipe.name)


def _opened(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return plain data of a joint run's recipe as it is opened: encoder, head and store are those of the run."""
    opened = dict(data)
    for key, value in {
        "uses.encoder": escape_home(str(folder)),
        "translator.head": "stored",
        "extract.store": None,
    }.items():
        put(Recipe, opened, key, value)
    return opened


def with_values(recipe: Recipe, values: Mapping[str, Any], name: str | None = None) -> Recipe:
    """Return the same recipe with other values by key path, for sweeps.

    Raises:
        SltError: as `load_recipe` does for overrides.
    """
    data = recipe.model_dump(mode="json")
    for key, value in values.items():
        put(Recipe, data, key, value)
    if name is not None:
        data["name"] = name
    return recipe_from_data(data, where=recipe.name, chosen=values.keys())


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes; a file whose name starts with `_` is only there to be extended."""
    root = _root()
    found = sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))
    return [name for name in found if not Path(name).name.startswith("_")]


def recipes_using(recipe: Recipe, overrides: Sequence[str] = ()) -> list[Recipe]:
    """Return the shipped recipes beside a shipped one that use its encoder and store, with the same overrides.

    One that has no such key, or would not be what it is named with it, is left out, and the log says so.
    """
    found = []
    for name in list_recipes():
        if name.rpartition("/")[0] == recipe.name.rpartition("/")[0] and name != recipe.name:
            try:
                other = load_recipe(name, overrides)
            except SltError as error:
                log.warning("%s is left out: %s", name, error)
                continue
            if other.name == name and other.uses.encoder == recipe.name:
                found.append(other)
    return found


def save_recipe(recipe: Recipe, folder: Path) -> Path:
    """Write the resolved recipe to folder/recipe.yaml, atomically; `slt ... -r` reads it again."""
    target = folder / "recipe.yaml"
    write_text(target, dump_recipe(recipe))
    return target


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML."""
    return write_yaml(recipe.model_dump(mode="json"))


def recipe_schema() -> str:
    """Return the JSON Schema of a recipe file, for editors. Nothing is required: `extends` may bring it."""
    schema = Recipe.model_json_schema()
    names = {"type": "string"}
    schema["properties"]["extends"] = {
        "anyOf": [names, {"type": "array", "items": names}],
        "description": "Recipe that this one changes; of several, each is laid upon those before it.",
    }
    translator = schema["properties"]["translator"]
    translator["anyOf"] = translator.pop("oneOf")  # a file may set what all have, and extend one that says which
    for section in (schema, *schema["$defs"].values()):
        section.pop("required", None)
    return json.dumps(schema, indent=2, ensure_ascii=False)


def default_recipe() -> str:
    """Return the recipe that is used when none is named: $SLT_RECIPE, else the demo."""
    return os.environ.get("SLT_RECIPE") or "demo/mmtlb"


def _root() -> Path:
    return Path(str(resources.files("recipes")))


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(_at_home(name))
        if path.is_file():
            return path
        raise SltError(f"recipe file {name} does not exist")
    path = _root() / f"{name}.yaml"
    if path.is_file() and path.resolve().is_relative_to(_root().resolve()):
        return path
    near = difflib.get_close_matches(name, list_recipes(), n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SltError(f"no recipe is called {name}{hint} (`slt recipe list` names all; a file of your own ends in .yaml)")


def _at_home(name: str) -> str:
    try:
        return at_home(name)
    except ValueError as error:
        raise SltError(f"recipe {name}: {error}") from error


def _name_of(path: Path) -> str:
    root = _root().resolve()
    absolute = path.resolve()
    if absolute.is_relative_to(root):
        return absolute.relative_to(root).with_suffix("").as_posix()
    return path.stem


def _read(path: Path) -> dict[str, Any]:
    data = read_sections(path)
    refuse_former_keys(data, f"recipe {path}: ")
    return data


def _resolve(path: Path) -> dict[str, Any]:
    """Return the file's data upon that of what it extends, upon the defaults.

    What several of its bases extend is laid once, below all of them: it would undo what the first of them has changed.
    """
    data, laid = defaults(Recipe), set()
    for layer, change in _layers(path, seen=()):
        if layer.resolve() in laid:
            continue
        laid.add(layer.resolve())
        if "manifest" in (change.get("corpus") or ()):  # gates were measured on another corpus
            data = {key: _without_gate(section) for key, section in data.items()}
        try:
            data = merge(Recipe, data, change)
        except SltError as error:
            raise SltError(f"recipe {layer}: {error}") from error
    return data


def _without_gate(section: Any) -> Any:
    has_gate = isinstance(section, Mapping) and "training" in section
    return {**section, "training": {**section["training"], "gate": None}} if has_gate else section


def _layers(path: Path, seen: tuple[Path, ...]) -> list[tuple[Path, dict[str, Any]]]:
    """Return a file with those that it extends, in the order in which they are laid upon each other."""
    if path.resolve() in seen:
        raise SltError(f"recipe {path} extends itself: " + " -> ".join(str(p) for p in (*seen, path)))
    own = _read(path)
    bases = own.pop("extends", [])
    names = [bases] if isinstance(bases, str) else bases
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SltError(f"recipe {path}: extends is {bases!r}, not the name or file of a recipe, or a list of them")
    layers: list[tuple[Path, dict[str, Any]]] = []
    for name in names:
        beside = path.parent / (_at_home(name) if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
        layers += _layers(beside if beside.is_file() else _find(name), (*seen, path.resolve()))
    return [*((layer, {k: v for k, v in data.items() if k != "name"}) for layer, data in layers), (path, own)]


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {first: _nested(rest, value) if rest else value}


def _validate(data: Mapping[str, Any]) -> Recipe:
    runs_dir = data.get("runs_dir", "runs")
    with suppress(ValueError, TypeError, AttributeError):  # validation says what is wrong with it
        runs_dir = at_home(runs_dir)
    return Recipe.model_validate(data, context={"runs_dir": runs_dir})
