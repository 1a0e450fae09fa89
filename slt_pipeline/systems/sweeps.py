"""A sweep as its folder has it: the rows of its runs, and the tables that are made of them."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slt_pipeline.config.former import ALIASES
from slt_pipeline.config.names import LOWER_IS_BETTER
from slt_pipeline.config.provenance import differences, flatten
from slt_pipeline.config.recipe import Recipe, recipe_of_run, save_recipe
from slt_pipeline.config.runs import SWEEP_FILE
from slt_pipeline.config.search import SearchConfig
from slt_pipeline.config.stages import SweepConfig
from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.config.variants import Variant, is_defined, key_of, probes_of, runs_of
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
from slt_pipeline.report.search_plot import plot_search
from slt_pipeline.report.sweep_plot import is_number, plot_sweep
from slt_pipeline.report.sweeps import SweepTable, best_run, sweep_groups, sweep_table
from slt_pipeline.systems.paired import PairedTest
from slt_pipeline.systems.search import BEGUN, RESULTS_FILE, importances
from slt_pipeline.systems.tasks import has_oracle
from slt_pipeline.training.run import INPUTS

PLOT_FILE = "plot.png"
TABLE_FILES = ("table.md", "table.csv", "table.tex")
_CLIPS = "clips"
"""The manifest's hash, as a sweep and its runs write it down."""
log = logging.getLogger(__name__)


class Sweep:
    """A sweep, all of its values checked."""

    def __init__(self, recipe: Recipe, name: str | None, search: bool):
        """Read nothing of its folder yet.

        Args:
            recipe: the experiment that is varied.
            name: one of the recipe's `sweeps`; None: its `sweep`.
            search: whether it is the sweep's `search` that is run, where it has a grid or variants too.

        Raises:
            SltError: a value is wrong, or a key can make no difference.
        """
        whole, where = _named(recipe, name), f"sweeps.{name}" if name else "sweep"
        has_both = whole.search is not None and bool(whole.grid or whole.variants)
        search = search or (whole.search is not None and not has_both)
        config = _asked(recipe, whole, search, where)
        if config.stage == "translate_train":
            recipe.translator.require_reads_signs()
        variants = runs_of(recipe, config, where) if config.search is None else []
        possible = variants if config.search is None else probes_of(recipe, config.search, where)
        if config.oracle and not any(v.recipe and has_oracle(v.recipe) for v in possible):
            raise SltError(
                f"{where}.oracle is true, and no run has translator.system = cvslt with a posterior that its objective "
                f"teaches, from which the oracle decodes; set -o {where}.oracle=false"
            )
        # Defaults are left out, so that a later version with more fields finds the sweep again.
        beside = recipe.model_dump(mode="json", exclude={*recipe.recorded, "evaluate"}, exclude_defaults=True)
        base = _hash({**beside, **config.model_dump(include={"stage"}, exclude_defaults=True)}, config)
        scoring = recipe.model_dump(mode="json", include={"evaluate"}, exclude_defaults=True)
        manifest = Path(recipe.corpus.manifest)
        self._clips = file_hash(manifest) if manifest.is_file() else None
        scored = {**scoring, "clips": self._clips}
        if (version := get_protocol(recipe.corpus.protocol).version) > 1:  # 1 was written nowhere
            scored["protocol_version"] = version
        varied = ["variants"] * bool(config.variants) + _varied(config)
        folder = name or f"{'+'.join(varied)[:80]}-{base[:8]}"
        if name and search and has_both:
            folder = f"{name}-search"
        self.recipe, self.config, self.variants = recipe, config, variants
        self.recipes = [run.recipe for run in possible if run.recipe]
        self.folder, self.scored = recipe.run_folder("sweep") / folder, _hash(scored, config)[:12]
        self.seed = recipe.seeds_of(config)[0]  # of a search
        self.rows: dict[str, dict[str, Any]] = {}
        self._before: list[str] = []  # keys of rows of an earlier call, which stand first in their order
        self._paired = PairedTest(self.folder, config.task(recipe.translator.direction))
        self.explained: dict[str, float] = {}
        """Of a search, as its table was last written: what finished runs owe their scores to, by key."""

    def of_search(self) -> list[dict[str, Any]]:
        """Return the rows of its search, and of its seed, in the order in which they were begun."""
        return [row for row in self.rows.values() if "number" in row and row["seed"] == self.seed]

    def begin(self, made_from: Mapping[str, Any], overwrite: bool) -> None:
        """Take in what an earlier call has done.

        Raises:
            SltError: the folder holds a sweep of the same name over something else, whose rows would be lost.
        """
        path = self.folder / SWEEP_FILE
        before = read_json(path)["base"] if path.is_file() and not overwrite else {}
        for what, value in made_from.items():
            if before.get(what, value) != value:
                raise self._other(what, before[what], value)
        self.rows = {} if overwrite else {key_of(row): row for row in self._earlier_rows(before.get(_CLIPS))}
        self._before = list(self.rows)
        if self.rows:  # from here on the folder holds none that does not go with the recipe, whenever it is killed
            write_json_lines(self.folder / RESULTS_FILE, self.rows.values())
        else:
            self._forget(RESULTS_FILE)
        save_recipe(self.recipe, self.folder)
        tried = {"grid": self.config.grid, "variants": self.config.variants, "seeds": self.recipe.seeds_of(self.config)}
        if self.config.search:
            tried = {"search": self.config.search.model_dump(mode="json"), "seeds": [self.seed]}
        write_json(path, {"base": {**before, **made_from, _CLIPS: self._clips}, "stage": self.config.stage, **tried})
        self._write()

    def note(self, variant: Variant, outcome: Mapping[str, Any]) -> None:
        """Write down how a run ended, or that it has begun."""
        row = {**_row(variant), "folder": variant.slug, "scored": self.scored, **outcome}
        before = self.rows.get(key_of(row), {})
        self.rows[key_of(row)] = {**row, **{key: before[key] for key in ("number",) if key in before}}
        write_json_lines(self.folder / RESULTS_FILE, self._ordered())

    def keep(self, variant: Variant, outcome: Mapping[str, Any]) -> None:
        """Write down how a run ended, and the table anew."""
        self.note(variant, outcome)
        self._write()

    def report(self) -> dict[str, Any]:
        """Return what the stage tells of it."""
        table, rows = self._write(), self._ordered()
        written = [self.folder / name for name in (RESULTS_FILE, *TABLE_FILES, PLOT_FILE)]
        best = best_run([rows], self.config.metric, self.config.metric in LOWER_IS_BETTER)
        return {
            "rows": table.rows,
            "results": rows,
            "table": table.text(),
            "folder": str(self.folder),
            "best": str(self.folder / best["folder"]) if best and "folder" in best else None,
            "written": [str(path) for path in written if path.is_file()],
        }

    def _earlier_rows(self, clips: str | None) -> list[dict[str, Any]]:
        """Return the rows of an earlier call, of another grid too, that can be compared with those of this one.

        Rows that are left out are those whose runs are scored anew: of what was trained otherwise, nothing can be.

        Args:
            clips: hash of the manifest of the earlier call; None: it is not written down.
        """
        rows = read_json_lines(self.folder / RESULTS_FILE)
        defined = [row for row in rows if is_defined(row, self.config)]
        if len(defined) < len(rows):
            log.info("sweep: %d earlier rows are of variants that were defined otherwise", len(rows) - len(defined))
        self._require_clips(defined, clips)
        changed = self._changes() if defined else []
        scoring = [change for change in changed if change[0].startswith("evaluate.")]
        for row in defined:
            if change := _first_unset(row, [change for change in changed if change not in scoring]):
                key, was, is_now = change
                raise SltError(
                    f"{self.folder} holds runs with {key} = {json.dumps(was)}, which now is {json.dumps(is_now)}, and "
                    "a table has one of them; set it back, add --overwrite to start anew, or give this sweep another "
                    "name"
                )
        kept = [row for row in defined if row.get("scored") == self.scored and _first_unset(row, scoring) is None]
        if len(kept) < len(defined):
            log.info("sweep: %d earlier rows were scored otherwise", len(defined) - len(kept))
        return kept

    def _require_clips(self, rows: Sequence[Mapping[str, Any]], clips: str | None) -> None:
        """Refuse rows of another manifest, unless all of them failed."""
        for row in rows:
            inputs = self.folder / row.get("folder", "") / INPUTS
            was = clips or (read_json(inputs).get(_CLIPS) if inputs.is_file() else None)
            if "error" not in row and was not in (None, self._clips):
                raise self._other("clips in its manifest", was, self._clips)

    def _other(self, what: str, was: Any, is_now: Any) -> SltError:
        return SltError(
            f"{self.folder} holds a sweep with other {what} ({str(was)[:8]}, now {str(is_now)[:8]}); add --overwrite "
            "to start anew, give this sweep another name, or put back what was there"
        )

    def _changes(self) -> list[tuple[str, Any, Any]]:
        """Return every key that the recipe of the earlier call had another value of: a row that sets it does not care.

        What it kept agreed with that recipe, so that this says of all rows what they were made with.
        """
        before, stage = recipe_of_run(self.folder, ["sweeps={}"]), self.config.stage
        other = read_json(self.folder / SWEEP_FILE).get("stage", stage)
        stages = [("stage", other, stage)] if other != stage else []
        return [*stages, *differences(_account(before), _account(self.recipe))]

    def _ordered(self) -> list[dict[str, Any]]:
        """Return rows in the order of the recipe's variants and their grid; without variants earlier ones first."""
        mine = [key_of(_row(variant)) for variant in self.variants]
        order = [*mine, *self.rows] if self.config.variants else [*self._before, *mine, *self.rows]
        return [self.rows[key] for key in dict.fromkeys(order) if key in self.rows]

    def _write(self) -> SweepTable:
        """Write table and plot; return the table, in which a run that has not ended is no row yet."""
        metric, results = self.config.metric, [row for row in self._ordered() if BEGUN not in row]
        if not results:
            self._forget(*TABLE_FILES, PLOT_FILE)
            return SweepTable([], [], [], 0)
        groups = sweep_groups(results, metric, metric in LOWER_IS_BETTER, ranked=not self.config.variants)
        # Of a search no row is compared with the first: that is the best because the search looked for it.
        compared = [] if self.config.search else groups[1:]
        p_values = [{} for _ in groups[len(compared) :]] + [self._paired.p_values(runs, groups[0]) for runs in compared]
        table = sweep_table(groups, metric, p_values, NUM_DRAWS)
        for file, text in zip(TABLE_FILES, (table.markdown(), table.csv(), table.latex()), strict=True):
            write_text(self.folder / file, text)
        self._forget(PLOT_FILE)  # the table before may have had one
        key = _one_number(results)
        if self.config.search is not None:
            self._plot_search(self.config.search, results)
        elif key is not None:
            plot_sweep(groups, key, self.folder / PLOT_FILE)
        return table

    def _plot_search(self, search: SearchConfig, results: Sequence[Mapping[str, Any]]) -> None:
        metric = self.config.metric
        runs = [row for row in results if search.keys.keys() == row["values"].keys()]
        finished, pruned = (
            [
                {"values": row["values"], "score": row[of]["dev"][metric]}
                for row in runs
                if metric in row.get(of, {}).get("dev", {})
            ]
            for of in ("scores", "until_then")
        )
        self.explained = importances(search, runs, metric)
        by_ratio = {key: space.log for key, space in search.keys.items()}
        path = self.folder / PLOT_FILE
        plot_search(finished, pruned, metric, metric in LOWER_IS_BETTER, by_ratio, self.explained, path)

    def _forget(self, *files: str) -> None:
        for file in files:
            (self.folder / file).unlink(missing_ok=True)


def _named(recipe: Recipe, name: str | None) -> SweepConfig:
    if name is None:
        return recipe.sweep
    if name not in recipe.sweeps:
        known = ", ".join(recipe.sweeps) or "none"
        raise SltError(f"recipe {recipe.name} has no sweep {name}; its named sweeps are: {known}")
    return recipe.sweeps[name]


def _asked(recipe: Recipe, whole: SweepConfig, search: bool, where: str) -> SweepConfig:
    """Return what of a sweep is to be run.

    Raises:
        SltError: it is to be searched, and has no search, or no dev score to go by.
    """
    if search and whole.search is None:
        raise SltError(
            f"{where} has no search; say what it may try and for how long: "
            f"-o '{where}.search={{keys: {{translator.label_smoothing: {{low: 0.0, high: 0.3}}}}, runs: 20}}'"
        )
    if search and "dev" not in recipe.evaluate.splits:
        raise SltError(
            f"evaluate.splits is {', '.join(recipe.evaluate.splits)}, and a search decides by dev alone; "
            "set -o 'evaluate.splits=[dev, test]'"
        )
    if search and len(recipe.seeds_of(whole)) > 1:
        log.info("search: each run is made with one seed, the first of %s.seeds", where)
    if search and whole.search:
        _warn_of(whole.search, getattr(recipe, whole.stage).training, f"{where}.search")
    return whole.alone(search)


def _warn_of(search: SearchConfig, training: TrainingConfig, where: str) -> None:
    """Say where scores decide nothing, or prune nothing: in a short try of a long search."""
    last = (training.epochs - 1) // training.validate_every * training.validate_every
    if search.is_random:
        log.warning(
            "search: every run is drawn at random, and scores decide nothing: %s.startup is %d and runs %d; lower the "
            "first or raise the second",
            *(where, search.startup, search.runs),
        )
    elif search.prune and search.prune_after > last:
        log.warning(
            "search: no run of %d epochs is pruned: %s.prune_after is %d, and the last validation before the end is "
            "after %d",
            *(training.epochs, where, search.prune_after, last),
        )


def _varied(config: SweepConfig) -> list[str]:
    """Keys of its grid, or of its search."""
    return [*config.grid, *(config.search.keys if config.search else ())]


def _row(variant: Variant) -> dict[str, Any]:
    number = {"number": variant.number} if variant.number else {}
    return {"variant": variant.name, "values": variant.values, "shown": variant.shown, "seed": variant.seed, **number}


def _one_number(results: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the key that alone tells rows apart, by numbers; None: there is no such key."""
    key, *others = dict.fromkeys(key for row in results for key in row["values"]) or ("",)
    numbers = not others and all(is_number(row["values"].get(key)) for row in results)
    return key if numbers and not any(row.get("variant") for row in results) else None


def _account(recipe: Recipe) -> dict[str, Any]:
    """Return what of a recipe decides its runs and their scores."""
    return {name: getattr(recipe, name) for name in type(recipe).model_fields if name not in recipe.recorded}


def _first_unset(row: Mapping[str, Any], changed: Sequence[tuple[str, Any, Any]]) -> tuple[str, Any, Any] | None:
    """Return the first change of a key that a row does not set."""
    own = [".".join(ALIASES.get(part, part) for part in key.split(".")) for key in (*row["values"], "seed")]
    return next((change for change in changed if not any(f"{change[0]}.".startswith(f"{key}.") for key in own)), None)


def _hash(data: dict[str, Any], config: SweepConfig) -> str:
    """Hash of plain data of a recipe without the keys of a sweep's grid or search.

    Those of variants count: a variant that does not set a key has the recipe's value of it.
    """
    varied = (*_varied(config), "seed")
    shared = {
        key: value for key, value in flatten(data).items() if not any(f"{key}.".startswith(f"{v}.") for v in varied)
    }
    return text_hash(json.dumps(shared, sort_keys=True))
