"""A recipe: everything that decides one experiment, as data."""

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError

from slt_pipeline.config.base import Config
from slt_pipeline.config.corpus import CorpusConfig
from slt_pipeline.config.encoder import EncoderConfig
from slt_pipeline.config.stages import (
    EvaluateConfig,
    ExtractConfig,
    Gloss2TextTrainConfig,
    SweepConfig,
    TranslateConfig,
    TranslateTrainConfig,
    VisualPretrainConfig,
    VisualTrainConfig,
)
from slt_pipeline.config.synth import SynthConfig
from slt_pipeline.config.text import TextConfig
from slt_pipeline.config.translator import TranslatorConfig
from slt_pipeline.config.video import VideoConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_text


class Recipe(Config):
    """One experiment, resolved: saved in the run folder before work starts, never changed after."""

    name: str
    """Name of the recipe: its path below recipes/ without `.yaml`, or the stem of a file of one's own."""
    description: str = ""
    """One line for `slt recipe list`."""
    seed: int = Field(default=42, ge=0)
    """Seed of initialisation, order, augmentation and dropout."""
    runs_dir: str = "runs"
    """Folder of all runs; a stage writes to <runs_dir>/<name>/<stage>."""
    corpus: CorpusConfig
    """The clips and how they are scored."""
    synth: SynthConfig | None = None
    """The synthetic corpus that `slt data synth` renders for this recipe."""
    video: VideoConfig = VideoConfig()
    """Frame sampling, cropping and augmentation."""
    encoder: EncoderConfig = EncoderConfig()
    """S3D and the visual head."""
    text: TextConfig = TextConfig()
    """Tokenizer and language."""
    translator: TranslatorConfig = TranslatorConfig()
    """V-L mapper and mBART."""
    visual_pretrain: VisualPretrainConfig = VisualPretrainConfig()
    """`slt visual-pretrain`."""
    visual_train: VisualTrainConfig = VisualTrainConfig()
    """`slt visual-train`."""
    extract: ExtractConfig = ExtractConfig()
    """`slt extract`."""
    gloss2text_train: Gloss2TextTrainConfig = Gloss2TextTrainConfig()
    """`slt gloss2text-train`."""
    translate_train: TranslateTrainConfig = TranslateTrainConfig()
    """`slt translate-train`."""
    sweep: SweepConfig = SweepConfig()
    """`slt sweep`."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """`slt evaluate`."""
    translate: TranslateConfig = TranslateConfig()
    """`slt translate`."""

    def run_folder(self, stage: str) -> Path:
        """Folder that `stage` writes to."""
        return Path(self.runs_dir) / self.name / stage

    @property
    def store_folder(self) -> Path:
        """Folder of the feature store."""
        return Path(self.extract.store) if self.extract.store else self.run_folder("features")


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name (`demo/mmtlb`) or file, resolve `extends:`, apply `key.path=value` overrides.

    **Raises:** SltError that names an unknown recipe, key or a bad value, with the nearest valid one.
    """
    path = _find(name)
    data = _resolve(path, seen=())
    for override in overrides:
        _apply_override(data, override)
    data.setdefault("name", _name_of(path))
    return recipe_from_data(data, where=str(name))


def recipe_from_data(data: Mapping[str, Any], where: str) -> Recipe:
    """Validate plain data as a recipe; `where` is named in errors."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise SltError(_explain(error, where)) from error


def list_recipes() -> list[str]:
    """Names of the shipped recipes. A file whose name starts with `_` is only there to be extended."""
    root = _root()
    found = sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))
    return [name for name in found if not Path(name).name.startswith("_")]


def save_recipe(recipe: Recipe, folder: Path) -> Path:
    """Write the resolved recipe to folder/recipe.yaml, atomically; `slt ... -r` reads it again."""
    target = folder / "recipe.yaml"
    write_text(target, dump_recipe(recipe))
    return target


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def recipe_schema() -> str:
    """JSON Schema of a recipe file, for editors. Nothing is required: `extends` may bring it."""
    schema = Recipe.model_json_schema()
    schema["properties"]["extends"] = {"type": "string", "description": "Recipe that this one changes."}
    for section in (schema, *schema["$defs"].values()):
        section.pop("required", None)
    return json.dumps(schema, indent=2, ensure_ascii=False)


def default_recipe() -> str:
    """Recipe used when none is named: $SLT_RECIPE, else the demo."""
    return os.environ.get("SLT_RECIPE") or "demo/mmtlb"


def _root() -> Path:
    return Path(str(resources.files("recipes")))


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if path.is_file():
            return path
        raise SltError(f"recipe file {name} does not exist")
    path = _root() / f"{name}.yaml"
    if path.is_file() and path.resolve().is_relative_to(_root().resolve()):
        return path
    near = difflib.get_close_matches(name, list_recipes(), n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SltError(f"no recipe is called {name}{hint} (`slt recipe list` names all; a file of your own ends in .yaml)")


def _name_of(path: Path) -> str:
    root = _root().resolve()
    absolute = path.resolve()
    if absolute.is_relative_to(root):
        return absolute.relative_to(root).with_suffix("").as_posix()
    return path.stem


def _resolve(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise SltError(f"recipe {path} extends itself: " + " -> ".join(str(p) for p in (*seen, path)))
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SltError(f"recipe {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise SltError(f"recipe {path} holds {type(data).__name__}, not a mapping of sections")
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise SltError(f"recipe {path}: extends is {base!r}, not the name or file of one recipe")
    beside = path.parent / (base if base.endswith((".yaml", ".yml")) else f"{base}.yaml")
    parent = _resolve(beside if beside.is_file() else _find(base), (*seen, path.resolve()))
    parent.pop("name", None)
    return _merge(parent, data)


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise SltError(f"override {override!r} is not of the form key.path=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SltError(f"override {override!r}: the value is not YAML: {' '.join(str(error).split())}") from error
    _set(data, key, value)


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key_path(key)
    node = data
    for part in parents:
        child = node.get(part)
        node[part] = dict(child) if isinstance(child, dict) else {}
        node = node[part]
    node[last] = value


def with_values(recipe: Recipe, values: Mapping[str, Any], name: str | None = None) -> Recipe:
    """The same recipe with other values by key path, for sweeps."""
    data = recipe.model_dump(mode="json")
    for key, value in values.items():
        _set(data, key, value)
    if name is not None:
        data["name"] = name
    return recipe_from_data(data, where=recipe.name)


def key_path(key: str) -> list[str]:
    """The parts of a key; what is below a free mapping (rates by part, the sweep's grid) is one part, dots and all.

    **Raises:** SltError naming the nearest valid key if `key` is not a path to a field of a recipe.
    """
    model: Any = Recipe
    walked: list[str] = []
    parts = key.split(".")
    for number, part in enumerate(parts):
        fields = model.model_fields
        if part not in fields:
            raise SltError(f"recipe has no key {'.'.join([*walked, part])}{_nearest(part, walked, fields)}")
        walked.append(part)
        annotation, rest = fields[part].annotation, parts[number + 1 :]
        model = _section_of(annotation)
        if rest and model is None:
            if get_origin(annotation) is not dict:
                raise SltError(f"recipe has no key {key}: {'.'.join(walked)} is a value without parts")
            return [*walked, ".".join(rest)]
    return walked


def _section_of(annotation: Any) -> Any:
    """The config class inside an annotation such as `SynthConfig | None`, else None."""
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _nearest(part: str, walked: list[str], fields: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(part, list(fields), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {'.'.join([*walked, near[0]])}?"
    everywhere = _all_keys(Recipe, [])
    tails = difflib.get_close_matches(part, [k.rsplit(".", 1)[-1] for k in everywhere], n=1, cutoff=0.7)
    if tails:
        return f"; did you mean {next(k for k in everywhere if k.rsplit('.', 1)[-1] == tails[0])}?"
    return f"; valid keys here: {', '.join(fields)}"


def _all_keys(model: Any, walked: list[str]) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(".".join([*walked, name]))
        section = _section_of(field.annotation)
        if section is not None:
            keys += _all_keys(section, [*walked, name])
    return keys


def _explain(error: ValidationError, where: str) -> str:
    """One line of the first problem, with the number of further ones; a misspelt key explains a missing one."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        try:
            key_path(key)
        except SltError as unknown:
            text = str(unknown)
        else:
            text = f"key {key} is not known"
    elif first["type"] == "missing":
        text = f"key {key} is missing"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        found = first.get("input")
        # Of a section whose values contradict each other the reason names them; all its values would bury it.
        text = f"{key}: {reason}" if isinstance(found, Mapping | BaseModel) else f"{key} = {found!r}: {reason}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(f"recipe {where}: {text}{more}".split())
