"""`slt sweep`: many translators over one store, or of glosses, one table."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe, recipe_of_run
from slt_pipeline.config.stages import EvaluateConfig, SweepConfig, Task
from slt_pipeline.config.variants import Variant, run_of_search
from slt_pipeline.errors import SltError
from slt_pipeline.files import held, read_json, write_json
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.stages.evaluate import STAGE as EVALUATE
from slt_pipeline.stages.evaluate import score, score_oracle
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.systems.confidence import CONFIDENCE_FILE
from slt_pipeline.systems.confidence_fit import fit_run, fitted_if_possible
from slt_pipeline.systems.given import made_from
from slt_pipeline.systems.rerank import weights_of_judges
from slt_pipeline.systems.search import Pruning, Search, best_until
from slt_pipeline.systems.sweeps import Sweep
from slt_pipeline.systems.tasks import Systems, has_oracle
from slt_pipeline.training.checkpoint import RESULT
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.run import PRUNED, Plan
from slt_pipeline.training.side_by_side import Ended, Job, side_by_side
from slt_pipeline.training.threads import threads_each

STAGE = "sweep"
SCORED_FILE = "scored.json"
log = logging.getLogger(__name__)


def plan(recipe: Recipe, name: str | None = None, *, search: bool = False) -> Plan:
    """What the stage would read and write; the runs of a search are not known before."""
    found = Sweep(recipe, name, search)
    runs = {f"run {i}": found.folder / variant.slug for i, variant in enumerate(found.variants, 1)}
    store = {"store": recipe.store} if found.config.stage == "translate_train" else {}
    return {"clips": recipe.corpus.manifest, **store}, {"table": found.folder, **runs}


def sweep(
    recipe: Recipe,
    name: str | None = None,
    *,
    search: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    jobs: int = 1,
) -> dict[str, Any]:
    """Train and score every combination with every seed; finished runs are kept, so a sweep that was killed goes on.

    Of a search: combinations that are chosen one by one, until its budget is spent. A run that fails is a row that says
    why. Written anew after each run: `results.jsonl` (every run), `table.md`, `table.csv` and `table.tex` (mean and
    standard deviation over seeds, p-values against the first row; variants in the recipe's order, else best on dev
    first), and of one number that is varied, or of a search, `plot.png`.

    Args:
        recipe: the experiment that is varied.
        name: one of the recipe's `sweeps`; None: its `sweep`.
        search: run the sweep's `search`, and not its grid or variants.
        device: where it computes.
        overwrite: give up earlier runs of this sweep, each once the new one has a checkpoint.
        jobs: how many runs go side by side, in processes of their own that share the cores.

    Raises:
        SltError: a value is wrong, a key can make no difference, or another process is at this sweep; before the first
            run.
    """
    found = Sweep(recipe, name, search)
    weights = made_from(found.recipes, recipe, found.config.stage)  # what no run could do without is no row of a table
    with held(found.folder.with_name(f".{found.folder.name}.lock"), f"the sweep {found.folder}"):
        found.begin(weights, overwrite)
        return _run_all(found, device, overwrite, jobs)


def _run_all(found: Sweep, device: str, overwrite: bool, jobs: int) -> dict[str, Any]:
    runs, config = _jobs(found, device, overwrite), found.config
    searched = config.search and Search(config.search, config.metric, found.folder, found.seed, found.of_search)
    more = partial(_next_of_search, found, searched, device, overwrite)

    def keep(ended: Ended) -> None:
        if not ended.stopped:
            outcome = ended.value if ended.error is None else {"error": ended.error}
            found.keep(ended.job.arguments[0], {**outcome, **(searched.clock() if searched else {})})

    if jobs > 1:
        side_by_side(runs, jobs, threads_each(jobs), keep, more)
    else:
        for number, run in enumerate(runs, 1):
            log.info("sweep: run %d of %d: %s", number, len(runs), run.name)
            keep(Ended(run, 0.0, value=run.call(*run.arguments)))
        while (run := more()) is not None:
            keep(Ended(run, 0.0, value=run.call(*run.arguments)))
    if searched:
        log.info("search: %s", searched.ending())
    told = found.report()
    if found.explained:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in found.explained.items())
        log.info("search: what scores of finished runs differ by (fANOVA): %s", shares)
    if told["best"] is not None and config.stage == "translate_train":
        _fit(Path(told["best"]), device)
    return told


def _fit(best: Path, device: str) -> None:
    """Fit the confidence of the best run, if it has none; `slt confidence` fits that of another one."""
    result = read_json(best / RESULT) if (best / RESULT).is_file() else {}  # an earlier one may have been deleted
    if result.get("score") == "bleu4" and not (best / CONFIDENCE_FILE).is_file():
        fitted_if_possible(lambda: fit_run(Systems(recipe_of_run(best), pick_device(device), best)))


def sweep_jobs(recipe: Recipe, name: str | None = None, *, device: str = "auto") -> list[Job]:
    """The runs of a sweep, to be made beside other jobs: `sweep` then finds them done."""
    return _jobs(Sweep(recipe, name, search=False), device, overwrite=False)


def _jobs(sweep: Sweep, device: str, overwrite: bool) -> list[Job]:
    return [_job(sweep, variant, device, overwrite) for variant in sweep.variants]


def _job(sweep: Sweep, variant: Variant, device: str, overwrite: bool) -> Job:
    """One run, to be made here or in a process of its own; one that was made before takes no process."""
    folder, config = sweep.folder / variant.slug, sweep.config
    done = (folder / RESULT).is_file() and (folder / SCORED_FILE).is_file() and not overwrite
    pruning = None
    if config.search is not None and config.search.prune:
        pruning = Pruning(config.search, config.metric, sweep.folder, folder)
    given = (variant, folder, device, overwrite, config, pruning)
    return Job(variant.slug, _run, given, here=done or variant.recipe is None)


def _next_of_search(sweep: Sweep, search: Search | None, device: str, overwrite: bool) -> Job | None:
    """The next run of a search, which the journal knows of before it begins; None: there is none."""
    turn = search.next() if search else None
    if search is None or turn is None:
        return None
    number, values = turn
    variant = run_of_search(sweep.recipe, values, number, sweep.seed)
    log.info("search: %s: %s", search.progress(number), variant.slug)
    sweep.note(variant, search.mark())
    return _job(sweep, variant, device, overwrite)


def _run(
    variant: Variant, folder: Path, device: str, overwrite: bool, config: SweepConfig, pruning: Pruning | None
) -> dict[str, Any]:
    """Scores by split of one run, trained and decoded if that was not done before; or why there are none."""
    if variant.recipe is None:
        return {"error": variant.error}
    of_glosses = config.stage == "gloss2text_train"
    train = gloss2text_train if of_glosses else partial(translate_train, fit=False)
    try:
        if of_glosses:
            weights_of_judges(variant.recipe)  # what cannot be judged is not trained
        given_up = pruning is not None and (folder / PRUNED).is_file() and not overwrite
        ended = (
            read_json(folder / PRUNED)
            if given_up
            else train(variant.recipe, device=device, overwrite=overwrite, folder=folder, give_up=pruning)
        )
        if pruning and "pruned_at" in ended:
            return {"pruned_at": ended["pruned_at"], "until_then": best_until(folder, pruning.metric)}
        task = config.task(variant.recipe.translator.direction)
        scores = _scores(variant.recipe, folder, device, task)
        oracle = {"oracle": _oracle_scores(variant.recipe, folder, device)} if config.oracle else {}
        return {"scores": scores, **oracle}
    except SltError as error:
        log.warning("sweep: %s failed: %s", variant.slug, error)
        return {"error": str(error)}
    except Exception as error:  # one run that a GPU has no room for is a row, too
        log.warning("sweep: %s failed", variant.slug, exc_info=True)
        return {"error": f"{type(error).__name__}: {error}"}


def _scores(recipe: Recipe, folder: Path, device: str, task: Task) -> dict[str, dict[str, Any]]:
    recognises = task == "sign2text" and recipe.translator.head == "trained"

    def of(systems: Systems, split: str) -> dict[str, Any]:
        own = score(systems, "sign2gloss", split, folder / EVALUATE) if recognises else {}
        return {**own, **score(systems, task, split, folder / EVALUATE)}

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
