"""`slt sweep`: many translators over one store, one table."""

import itertools
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.config.names import LOWER_IS_BETTER
from slt_pipeline.config.provenance import flatten
from slt_pipeline.config.recipe import Recipe, save_recipe, with_values
from slt_pipeline.config.stages import SweepConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import (
    file_hash,
    json_line,
    read_json,
    read_json_lines,
    text_hash,
    write_json,
    write_json_lines,
    write_text,
)
from slt_pipeline.report.sweeps import sweep_rows
from slt_pipeline.report.tables import markdown_table, text_table
from slt_pipeline.stages.evaluate import STAGE as EVALUATE
from slt_pipeline.stages.evaluate import score, score_oracle
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.systems.features import open_features
from slt_pipeline.systems.tasks import Systems
from slt_pipeline.systems.translator import trained_language_model
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.run import Plan

STAGE = "sweep"
RESULTS_FILE, TABLE_FILE, BASE_FILE = "results.jsonl", "table.md", "sweep.json"
log = logging.getLogger(__name__)


def plan(recipe: Recipe, name: str | None = None) -> Plan:
    """What the stage would read and write."""
    found = _Sweep.of(recipe, name)
    runs = {f"run {i}": found.folder / variant.slug for i, variant in enumerate(found.variants, 1)}
    return {"clips": recipe.corpus.manifest, "store": recipe.store}, {"table": found.folder, **runs}


def sweep(recipe: Recipe, name: str | None = None, *, device: str = "auto", overwrite: bool = False) -> dict[str, Any]:
    """Train and score every combination with every seed; finished runs are kept, so a sweep that was killed goes on.

    A run that fails is a row that says why. `results.jsonl` (every run) and `table.md` (mean and standard deviation
    over seeds, best on dev first) are written anew after each run.

    Args:
        recipe: the experiment that is varied.
        name: one of the recipe's `sweeps`; None: its `sweep`.
        device: where it computes.
        overwrite: give up earlier runs of this sweep, each once the new one has a checkpoint.

    Raises:
        SltError: a value is wrong, or a key can make no difference; before the first run.
    """
    found = _Sweep.of(recipe, name)
    made_from = _made_from(recipe, found.config)  # what no run could do without is no row of a table
    found.begin(recipe, made_from, overwrite)
    results = {} if overwrite else {_key(row): row for row in found.earlier_rows()}
    rows: list[dict[str, Any]] = []
    for number, variant in enumerate(found.variants, 1):
        log.info("sweep: run %d of %d: %s", number, len(found.variants), variant.slug)
        row = {"variant": variant.name, "values": variant.values, "shown": variant.shown, "seed": variant.seed}
        row |= {"folder": variant.slug, "scored": found.scored}
        row |= _run(variant, found.folder / variant.slug, device, overwrite, found.config.oracle)
        results[_key(row)] = row
        write_json_lines(found.folder / RESULTS_FILE, results.values())
        rows = sweep_rows(list(results.values()), found.config.metric, found.config.metric in LOWER_IS_BETTER)
        write_text(found.folder / TABLE_FILE, markdown_table(rows) + "\n")
    return {"rows": rows, "results": list(results.values()), "table": text_table(rows), "folder": str(found.folder)}


@dataclass(frozen=True)
class _Variant:
    """One run of a sweep."""

    name: str
    """Its name among the sweep's variants; empty: a sweep of a grid alone."""
    values: dict[str, Any]
    """Every key that it sets."""
    shown: dict[str, Any]
    """Those of the grid, which the table shows."""
    seed: int
    recipe: Recipe | None
    error: str = ""
    """Why the values do not go together, where they do not."""

    @property
    def slug(self) -> str:
        """Name of its folder: every key that it sets, whole."""
        pairs = {**({"variant": self.name} if self.name else {}), **self.shown, "seed": self.seed}.items()
        text = "_".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in pairs)
        plain = re.sub(r"[^\w=.+-]+", "-", text.replace('"', ""))
        return plain if len(plain) <= 120 else f"{plain[:110]}-{text_hash(text)[:8]}"


@dataclass(frozen=True)
class _Sweep:
    """A sweep, all of its values checked."""

    config: SweepConfig
    folder: Path
    variants: list[_Variant]
    base: str
    """Hash of what the runs have in common."""
    scored: str
    """Hash of how they are scored, and on which clips: rows of one table have it in common."""

    @classmethod
    def of(cls, recipe: Recipe, name: str | None) -> "_Sweep":
        config = _named(recipe, name)
        variants = [
            _variant(recipe, name, values, dict(zip(config.grid, chosen, strict=True)), seed)
            for name, values in (config.variants or {"": {}}).items()
            for chosen in itertools.product(*config.grid.values())
            for seed in recipe.seeds_of(config)
        ]
        _require_sound_values(config, variants)
        # Defaults are left out, so that a later version with more fields finds the sweep again.
        base = _hash(
            recipe.model_dump(mode="json", exclude={*recipe.recorded, "evaluate"}, exclude_defaults=True), config
        )
        scoring = recipe.model_dump(mode="json", include={"evaluate"}, exclude_defaults=True)
        manifest = Path(recipe.corpus.manifest)
        scored = _hash({**scoring, "clips": file_hash(manifest) if manifest.is_file() else None}, config)
        folder = name or f"{'+'.join(config.tried)[:80]}-{base[:8]}"
        return cls(config, recipe.run_folder(STAGE) / folder, variants, base, scored[:12])

    def earlier_rows(self) -> list[dict[str, Any]]:
        """Return the rows of an earlier call, of another grid too, that can be compared with those of this one."""
        rows = read_json_lines(self.folder / RESULTS_FILE)
        kept = [row for row in rows if row.get("scored") == self.scored]
        if len(kept) < len(rows):
            log.info("sweep: %d earlier rows were scored otherwise, or on other clips", len(rows) - len(kept))
        return kept

    def begin(self, recipe: Recipe, made_from: dict[str, Any], overwrite: bool) -> None:
        """Refuse a folder that holds a sweep of the same name over something else: its rows would be lost."""
        path, now = self.folder / BASE_FILE, {"settings beside its grid": self.base, **made_from}
        before = read_json(path)["base"] if path.is_file() and not overwrite else now
        for what, value in now.items():
            if before.get(what, value) != value:
                raise SltError(
                    f"{self.folder} holds a sweep with other {what} ({str(before[what])[:8]}, now {str(value)[:8]}); "
                    "add --overwrite to start anew, or give this sweep another name"
                )
        save_recipe(recipe, self.folder)
        tried = {"grid": self.config.grid, "variants": self.config.variants, "seeds": recipe.seeds_of(self.config)}
        write_json(path, {"base": now, **tried})


def _named(recipe: Recipe, name: str | None) -> SweepConfig:
    if name is None:
        return recipe.sweep
    if name not in recipe.sweeps:
        known = ", ".join(recipe.sweeps) or "none"
        raise SltError(f"recipe {recipe.name} has no sweep {name}; its named sweeps are: {known}")
    return recipe.sweeps[name]


def _variant(recipe: Recipe, name: str, own: dict[str, Any], of_grid: dict[str, Any], seed: int) -> _Variant:
    values = {**own, **of_grid}
    try:
        return _Variant(name, values, of_grid, seed, with_values(recipe, {**values, "seed": seed}))
    except SltError as error:
        return _Variant(name, values, of_grid, seed, None, str(error))


def _require_sound_values(config: SweepConfig, variants: list[_Variant]) -> None:
    """A value that no combination can have is a mistake; one that some cannot have is a row that says so."""
    for key, values in config.tried.items():
        for value in values:
            those = [variant for variant in variants if key in variant.values and variant.values[key] == value]
            if those and all(variant.recipe is None for variant in those):
                raise SltError(those[0].error)


def _run(variant: _Variant, folder: Path, device: str, overwrite: bool, oracle: bool) -> dict[str, Any]:
    """Scores by split of one run, trained and decoded if that was not done before; or why there are none."""
    if variant.recipe is None:
        return {"error": variant.error}
    try:
        translate_train(variant.recipe, device=device, overwrite=overwrite, folder=folder)
        scores = _scores(variant.recipe, folder, device)
        return {"scores": scores, **({"oracle": _oracle_scores(variant.recipe, folder, device)} if oracle else {})}
    except SltError as error:
        log.warning("sweep: %s failed: %s", variant.slug, error)
        return {"error": str(error)}
    except Exception as error:  # one run that a GPU has no room for is a row, too
        log.warning("sweep: %s failed", variant.slug, exc_info=True)
        return {"error": f"{type(error).__name__}: {error}"}


def _made_from(recipe: Recipe, config: SweepConfig) -> dict[str, Any]:
    """Weights that all runs start from or read the features of.

    Raises:
        SltError: they are not there, or are others than the recipe says.
    """
    varied = {key.split(".")[0] for key in config.tried}
    if not varied.isdisjoint(("extract", "uses")):
        return {}
    made_from = {"encoder": open_features(recipe).fingerprint.get("encoder_weights")}
    if recipe.translate_train.init_language and "translate_train.init_language" not in config.tried:
        made_from["language model"] = trained_language_model(recipe, recipe.language_folder).weights_hash
    return made_from


def _scores(recipe: Recipe, folder: Path, device: str) -> dict[str, dict[str, Any]]:
    done, settings = folder / "scored.json", recipe.evaluate.model_dump(mode="json")
    if done.is_file() and (before := read_json(done))["evaluate"] == settings:
        return before["scores"]
    systems = Systems(recipe, pick_device(device), folder)
    scores: dict[str, dict[str, Any]] = {}
    for split in recipe.evaluate.splits:
        scores[split] = {
            **(score(systems, "sign2gloss", split, folder / EVALUATE) if recipe.translator.head == "trained" else {}),
            **score(systems, "sign2text", split, folder / EVALUATE),
        }
    write_json(done, {"evaluate": settings, "scores": scores})
    return scores


def _oracle_scores(recipe: Recipe, folder: Path, device: str) -> dict[str, dict[str, Any]]:
    """Scores by split of what the posterior decodes, which knows the right texts; none of a system without one."""
    if recipe.translator.system != "cvslt":
        return {}
    done, settings = folder / "scored-oracle.json", recipe.evaluate.model_dump(mode="json")
    if done.is_file() and (before := read_json(done))["evaluate"] == settings:
        return before["scores"]
    systems = Systems(recipe, pick_device(device), folder)
    scores = {split: score_oracle(systems, split, folder / EVALUATE) for split in recipe.evaluate.splits}
    write_json(done, {"evaluate": settings, "scores": scores})
    return scores


def _hash(data: dict[str, Any], config: SweepConfig) -> str:
    """Hash of plain data of a recipe without the keys that a sweep varies."""
    varied = (*config.tried, "seed")
    shared = {
        key: value for key, value in flatten(data).items() if not any(f"{key}.".startswith(f"{v}.") for v in varied)
    }
    return text_hash(json.dumps(shared, sort_keys=True))


def _key(row: Mapping[str, Any]) -> str:
    return json_line([row.get("variant", ""), row["values"], row["seed"]])
