"""`slt confidence`: how far a translator's texts can be trusted, fitted to it on dev, for `slt translate` to say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.files import require_place
from slt_pipeline.metrics.correlation import spearman
from slt_pipeline.report.tables import text_table
from slt_pipeline.systems.confidence import CONFIDENCE_FILE
from slt_pipeline.systems.confidence_fit import Fitted, fit_run
from slt_pipeline.systems.tasks import Systems
from slt_pipeline.systems.translator import require_reads_signs
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.run import Plan


@dataclass(frozen=True)
class Report:
    """What was fitted."""

    table: str
    """A row a measure."""
    notes: list[str]
    file: Path


def plan(recipe: Recipe, run: Path | None = None) -> Plan:
    """What the stage would read and write."""
    folder = run or recipe.run_folder("translate_train")
    reads = {"clips": recipe.corpus.manifest, "store": recipe.store, "translator": folder}
    return reads, {"confidence": folder / CONFIDENCE_FILE}


def confidence(recipe: Recipe, *, device: str = "auto", run: Path | None = None) -> Report:
    """Decode dev, fit what `slt translate` says of its texts, and write it into the translator's run folder.

    Args:
        recipe: names the systems, and is what they are checked against.
        device: where they compute.
        run: folder of the translator; None: the recipe's own.
    """
    require_reads_signs(recipe, run)
    systems = Systems(recipe, pick_device(device), run)
    require_place(systems.run / CONFIDENCE_FILE)
    fitted = fit_run(systems)
    return Report(text_table(_rows(fitted), decimals=3), _notes(fitted), systems.run / CONFIDENCE_FILE)


def _rows(fitted: Fitted) -> list[dict[str, Any]]:
    """A row a measure: within what it lies, where a warning begins, and what it says of the quality."""
    found = fitted.confidence
    return [
        {
            "measure": name,
            "clips": limit.clips,
            "least": limit.least,
            "most": limit.most,
            "warned below": limit.below,
            "warned above": limit.above,
            "weight": found.terms[name].sign * found.terms[name].weight + 0.0 if name in found.terms else None,
        }
        for name, limit in found.limits.items()
    ]


def _notes(fitted: Fitted) -> list[str]:
    found, clips = fitted.confidence, fitted.confidence.clips
    ranks = spearman(fitted.held_out, fitted.quality)
    beside = f", beside the references of other clips {found.chance:.3f}" if clips["dev"] > 1 else ""
    return [
        f"{clips['train']} clips of train, {clips['dev']} of dev; quality is sentence chrF / 100: mean of dev "
        f"{found.mean_quality:.3f}{beside}",
        "rank correlation of confidence and quality, each dev clip predicted without it: "
        + ("none" if ranks is None else f"{ranks:.2f}"),
    ]
