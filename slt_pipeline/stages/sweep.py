"""`slt sweep`: many translators over one store, one table."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.config.names import LOWER_IS_BETTER
from slt_pipeline.config.provenance import flatten
from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.config.stages import EvaluateConfig, SweepConfig
from slt_pipeline.config.variants import Variant, is_defined, key_of, runs_of
from slt_pipeline.errors import SltError
from slt_pipeline.files import (
    file_hash,
    read_json,
    read_json_lines,
    text_hash,
    write_json,
    write_json_lines,
    write_text,
)
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.metrics.significance import NUM_DRAWS
from slt_pipeline.report.sweep_plot import is_number, plot_sweep
from slt_pipeline.report.sweeps import SweepTable, best_run, sweep_groups, sweep_table
from slt_pipeline.stages.evaluate import STAGE as EVALUATE
from slt_pipeline.stages.evaluate import score, score_oracle
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.systems.features import open_features
from slt_pipeline.systems.paired import PairedTest
from slt_pipeline.systems.tasks import Systems, has_oracle
from slt_pipeline.systems.translator import trained_language_model
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.run import RESULT, Plan
from slt_pipeline.training.side_by_side import Ended, Job, side_by_side
from slt_pipeline.training.threads import threads_each

STAGE = "sweep"
RESULTS_FILE, TABLE_FILE, PLOT_FILE, BASE_FILE = "results.jsonl", "table.md", "plot.png", "sweep.json"
SCORED_FILE = "scored.json"
log = logging.getLogger(__name__)


def plan(recipe: Recipe, name: str | None = None) -> Plan:
    """What the stage would read and write."""
    found = _Sweep.of(recipe, name)
    runs = {f"run {i}": found.folder / variant.slug for i, variant in enumerate(found.variants, 1)}
    return {"clips": recipe.corpus.manifest, "store": recipe.store}, {"table": found.folder, **runs}


def sweep(
    recipe: Recipe, name: str | None = None, *, device: str = "auto", overwrite: bool = False, jobs: int = 1
) -> dict[str, Any]:
    """Train and score every combination with every seed; finished runs are kept, so a sweep that was killed goes on.

    A run that fails is a row that says why. Written anew after each run: `results.jsonl` (every run), `table.md` (mean
    and standard deviation over seeds, p-values against the first row; variants in the recipe's order, else best on dev
    first), and of a grid of one number `plot.png`.

    Args:
        recipe: the experiment that is varied.
        name: one of the recipe's `sweeps`; None: its `sweep`.
        device: where it computes.
        overwrite: give up earlier runs of this sweep, each once the new one has a checkpoint.
        jobs: how many runs go side by side, in processes of their own that share the cores.

    Raises:
        SltError: a value is wrong, or a key can make no difference; before the first run.
    """
    found = _Sweep.of(recipe, name)
    made_from = _made_from(recipe, found.config)  # what no run could do without is no row of a table
    found.begin(recipe, made_from, overwrite)
    results = {} if overwrite else {key_of(row): row for row in found.earlier_rows()}
    order = list(dict.fromkeys([*results, *(key_of(_row(variant)) for variant in found.variants)]))
    paired, table = PairedTest(found.folder), SweepTable([], [], [], 0)

    def keep(ended: Ended) -> None:
        nonlocal table
        if not ended.stopped:
            variant: Variant = ended.job.arguments[0]
            outcome = ended.value if ended.error is None else {"error": ended.error}
            row = {**_row(variant), "folder": variant.slug, "scored": found.scored, **outcome}
            results[key_of(row)] = row
            table = found.write([results[key] for key in order if key in results], paired)

    runs = found.jobs(device, overwrite)
    if jobs > 1:
        side_by_side(runs, jobs, threads_each(jobs), keep)
    else:
        for number, run in enumerate(runs, 1):
            log.info("sweep: run %d of %d: %s", number, len(runs), run.name)
            keep(Ended(run, 0.0, value=run.call(*run.arguments)))
    written = [str(found.folder / name) for name in (RESULTS_FILE, TABLE_FILE, PLOT_FILE)]
    return {
        "rows": table.rows,
        "results": found.in_order([results[key] for key in order]),
        "table": table.text(),
        "folder": str(found.folder),
        "best": found.best(list(results.values())),
        "written": [path for path in written if Path(path).is_file()],
    }


def sweep_jobs(recipe: Recipe, name: str | None = None, *, device: str = "auto") -> list[Job]:
    """The runs of a sweep, to be made beside other jobs: `sweep` then finds them done."""
    return _Sweep.of(recipe, name).jobs(device, overwrite=False)


@dataclass(frozen=True)
class _Sweep:
    """A sweep, all of its values checked."""

    config: SweepConfig
    folder: Path
    variants: list[Variant]
    base: str
    """Hash of what the runs have in common."""
    scored: str
    """Hash of how they are scored, and on which clips: rows of one table have it in common."""

    @classmethod
    def of(cls, recipe: Recipe, name: str | None) -> "_Sweep":
        config = _named(recipe, name)
        variants = runs_of(recipe, config)
        if config.oracle and not any(v.recipe and has_oracle(v.recipe) for v in variants):
            where = f"sweeps.{name}" if name else "sweep"
            raise SltError(
                f"{where}.oracle is true, and no run has translator.system = cvslt with a posterior that its objective "
                f"teaches, from which the oracle decodes; set -o {where}.oracle=false"
            )
        # Defaults are left out, so that a later version with more fields finds the sweep again.
        base = _hash(
            recipe.model_dump(mode="json", exclude={*recipe.recorded, "evaluate"}, exclude_defaults=True), config
        )
        scoring = recipe.model_dump(mode="json", include={"evaluate"}, exclude_defaults=True)
        manifest = Path(recipe.corpus.manifest)
        scored = {**scoring, "clips": file_hash(manifest) if manifest.is_file() else None}
        if (version := get_protocol(recipe.corpus.protocol).version) > 1:  # 1 was written nowhere
            scored["protocol_version"] = version
        scored = _hash(scored, config)
        varied = ["variants"] * bool(config.variants) + list(config.grid)
        folder = name or f"{'+'.join(varied)[:80]}-{base[:8]}"
        return cls(config, recipe.run_folder(STAGE) / folder, variants, base, scored[:12])

    def jobs(self, device: str, overwrite: bool) -> list[Job]:
        """Every run, to be made here or in a process of its own; one that was made before takes no process."""
        jobs = []
        for variant in self.variants:
            folder = self.folder / variant.slug
            done = (folder / RESULT).is_file() and (folder / SCORED_FILE).is_file() and not overwrite
            given = (variant, folder, device, overwrite, self.config.oracle)
            jobs.append(Job(variant.slug, _run, given, here=done or variant.recipe is None))
        return jobs

    def earlier_rows(self) -> list[dict[str, Any]]:
        """Return the rows of an earlier call, of another grid too, that can be compared with those of this one."""
        rows = read_json_lines(self.folder / RESULTS_FILE)
        kept = [row for row in rows if row.get("scored") == self.scored]
        if len(kept) < len(rows):
            log.info("sweep: %d earlier rows were scored otherwise, or on other clips", len(rows) - len(kept))
        defined = [row for row in kept if is_defined(row, self.config)]
        if len(defined) < len(kept):
            log.info("sweep: %d earlier rows are of variants that were defined otherwise", len(kept) - len(defined))
        return defined

    def in_order(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return rows in the order of the recipe's variants and their grid; of a grid alone as they came."""
        if not self.config.variants:
            return results
        places = {key_of(_row(variant)): place for place, variant in enumerate(self.variants)}
        return sorted(results, key=lambda row: places.get(key_of(row), len(places)))

    def write(self, results: list[dict[str, Any]], paired: PairedTest) -> SweepTable:
        """Write results, table and plot; return the table."""
        metric, results = self.config.metric, self.in_order(results)
        groups = sweep_groups(results, metric, metric in LOWER_IS_BETTER, ranked=not self.config.variants)
        p_values = [{}, *(paired.p_values(runs, groups[0]) for runs in groups[1:])]
        table = sweep_table(groups, metric, p_values, NUM_DRAWS)
        write_json_lines(self.folder / RESULTS_FILE, results)
        write_text(self.folder / TABLE_FILE, table.markdown())
        key, *others = self.config.grid or ("",)
        if not self.config.variants and not others and all(is_number(row["values"].get(key)) for row in results):
            plot_sweep(groups, key, self.folder / PLOT_FILE)
        return table

    def best(self, results: list[dict[str, Any]]) -> str | None:
        """Return the folder of the run that scores best; None: no run has a score, or its folder is not known."""
        metric = self.config.metric
        run = best_run([results], metric, metric in LOWER_IS_BETTER)
        return str(self.folder / run["folder"]) if run and "folder" in run else None

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


def _row(variant: Variant) -> dict[str, Any]:
    return {"variant": variant.name, "values": variant.values, "shown": variant.shown, "seed": variant.seed}


def _run(variant: Variant, folder: Path, device: str, overwrite: bool, oracle: bool) -> dict[str, Any]:
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
    def of(systems: Systems, split: str) -> dict[str, Any]:
        own = score(systems, "sign2gloss", split, folder / EVALUATE) if recipe.translator.head == "trained" else {}
        return {**own, **score(systems, "sign2text", split, folder / EVALUATE)}

    return _scored_once(recipe, folder, SCORED_FILE, device, of)


def _oracle_scores(recipe: Recipe, folder: Path, device: str) -> dict[str, dict[str, Any]]:
    """Scores by split of what the posterior decodes, which knows the right texts; none without one."""
    if not has_oracle(recipe):
        return {}
    return _scored_once(
        recipe,
        folder,
        "scored-oracle.json",
        device,
        lambda systems, split: score_oracle(systems, split, folder / EVALUATE),
    )


def _scored_once(
    recipe: Recipe, folder: Path, name: str, device: str, score_split: Callable[[Systems, str], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Scores by split, kept in a file of the run until they are asked for under other settings."""
    done, settings = folder / name, recipe.evaluate.model_dump(mode="json")
    if done.is_file() and _is_scored_so(before := read_json(done), recipe):
        return before["scores"]
    systems = Systems(recipe, pick_device(device), folder)
    scores = {split: score_split(systems, split) for split in recipe.evaluate.splits}
    write_json(done, {"evaluate": settings, "scores": scores})
    return scores


def _is_scored_so(before: dict[str, Any], recipe: Recipe) -> bool:
    """Whether scores are those of these settings; one that an earlier version did not have counts as its default."""
    settings, version = recipe.evaluate.model_dump(mode="json"), get_protocol(recipe.corpus.protocol).version
    same = {**EvaluateConfig().model_dump(mode="json"), **before["evaluate"]} == settings
    return same and all(row.get("protocol_version", 1) == version for row in before["scores"].values())


def _hash(data: dict[str, Any], config: SweepConfig) -> str:
    """Hash of plain data of a recipe without the keys of a sweep's grid.

    Those of variants count: a variant that does not set a key has the recipe's value of it.
    """
    varied = (*config.grid, "seed")
    shared = {
        key: value for key, value in flatten(data).items() if not any(f"{key}.".startswith(f"{v}.") for v in varied)
    }
    return text_hash(json.dumps(shared, sort_keys=True))
