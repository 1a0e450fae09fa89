"""`slt sweep`: many translators over one store, one table."""

import itertools
import json
import logging
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe, save_recipe, with_values
from slt_pipeline.files import read_json, write_json
from slt_pipeline.report.tables import markdown_table, text_table
from slt_pipeline.stages._corpus import load_clips
from slt_pipeline.stages._run import Plan
from slt_pipeline.stages._store import encodable, open_features
from slt_pipeline.stages.evaluate import decode_sign2text, write_hypotheses
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.training.devices import pick_device

STAGE = "sweep"
log = logging.getLogger(__name__)


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    runs = {f"run {i}": recipe.run_folder(STAGE) / slug for i, (slug, _, _) in enumerate(_variants(recipe), 1)}
    return {"clips": recipe.corpus.manifest, "store": recipe.store_folder}, {"table": recipe.run_folder(STAGE), **runs}


def sweep(recipe: Recipe, *, device: str = "auto", overwrite: bool = False) -> dict[str, Any]:
    """Train and score every combination with every seed; finished runs are kept, so a sweep that was killed goes on.

    Writes results.jsonl (every run), table.md (mean and standard deviation over seeds), both rewritten after each run.
    """
    folder = recipe.run_folder(STAGE)
    # All values are checked before the first run.
    variants = [
        (slug, values, seed, with_values(recipe, {**values, "seed": seed})) for slug, values, seed in _variants(recipe)
    ]
    if overwrite and folder.exists():
        shutil.rmtree(folder)
    save_recipe(recipe, folder)
    results: list[dict[str, Any]] = []
    for number, (slug, values, seed, variant) in enumerate(variants, 1):
        log.info("sweep: run %d of %d: %s", number, len(variants), slug)
        # The combination that is the recipe itself is its own translate-train run, not a second one.
        own = variant == recipe
        scores = _run(variant, recipe.run_folder("translate_train") if own else folder / slug, device)
        results.append({"values": values, "seed": seed, "scores": scores})
        lines = "".join(json.dumps(result, ensure_ascii=False) + "\n" for result in results)
        (folder / "results.jsonl").write_text(lines, encoding="utf-8")
    rows = _summarise(results, recipe.sweep.metric)
    (folder / "table.md").write_text(markdown_table(rows) + "\n", encoding="utf-8")
    return {"rows": rows, "results": results, "table": text_table(rows)}


def _run(variant: Recipe, folder: Path, device: str) -> dict[str, dict[str, float]]:
    """Scores by split of one run, trained and decoded if that was not done before."""
    translate_train(variant, device=device, folder=folder)
    done, settings = folder / "scores.json", variant.evaluate.model_dump(mode="json")
    if done.is_file() and (before := read_json(done))["evaluate"] == settings:
        return before["scores"]
    scores = {}
    store = open_features(variant)
    for split in variant.evaluate.splits:
        clips = encodable(variant, store, load_clips(variant, split, needs=("text",)))
        texts, scores[split] = decode_sign2text(variant, store, clips, pick_device(device), folder)
        write_hypotheses(folder / f"sign2text-{split}.json", "sign2text", split, clips, texts, scores[split])
    write_json(done, {"evaluate": settings, "scores": scores})
    return scores


def _variants(recipe: Recipe) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Folder name, values by key and seed of every run."""
    keys = list(recipe.sweep.grid)
    for chosen in itertools.product(*recipe.sweep.grid.values()):
        values = dict(zip(keys, chosen, strict=True))
        name = "_".join(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in values.items())
        for seed in recipe.sweep.seeds:
            yield "".join(c if c.isalnum() or c in "=-_." else "-" for c in f"{name}_seed={seed}"), values, seed


def _summarise(results: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """One row a combination: mean over seeds, with the standard deviation where there are several."""
    rows = []
    for values, group in itertools.groupby(results, key=lambda result: result["values"]):
        runs = list(group)
        row: dict[str, Any] = {key.rsplit(".", 1)[-1]: value for key, value in values.items()}
        row["seeds"] = len(runs)
        for split in runs[0]["scores"]:
            for name in dict.fromkeys(["bleu4", "rouge", metric]):
                figures = [run["scores"][split][name] for run in runs]
                row[f"{split} {name}"] = statistics.fmean(figures)
                if len(figures) > 1:
                    row[f"{split} {name} sd"] = statistics.stdev(figures)
        rows.append(row)
    first = next(iter(results[0]["scores"]))
    return sorted(rows, key=lambda row: -row[f"{first} {metric}"])
