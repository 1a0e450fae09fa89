"""`slt report embedding`: where signs and texts lie in mBART's encoder, layer by layer, drawn in a plane."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slt_pipeline.files import write_text
from slt_pipeline.report.modality import plot_embedding
from slt_pipeline.report.tables import csv_table, text_table
from slt_pipeline.report.tsne import tsne
from slt_pipeline.systems.analyses import Analysis, Opened, Run, begin_report, opened, reads, report_folder
from slt_pipeline.systems.sentences import sentences
from slt_pipeline.training.run import Plan

STAGE = "embedding"
POINTS_FILE, PICTURE = "embedding.csv", "embedding.png"


def plan(runs: Sequence[Run], run: Run, out: Path | None = None) -> Plan:
    """What the stage would read of one of the runs, and write."""
    return reads(run), {"report": report_folder(runs, STAGE, out)}


def embedding(
    runs: Sequence[Run],
    split: str = "dev",
    *,
    device: str = "auto",
    clips: int | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> Analysis:
    """Lay the sentence-level representations of signs and of texts out by t-SNE, for each layer of each run.

    Figure 5 of the CV-SLT paper. Only neighbours mean something in such a picture: distances are what
    `slt report modality-gap` is for.

    Args:
        runs: trained translators.
        split: whose clips are shown.
        device: where they compute.
        clips: as many clips, spread over the split; None: all.
        seed: of t-SNE.
        out: folder to write; None: the run's own, or beside all.
    """
    points, rows = [], []
    for run in opened(runs, split, device, clips):
        points += (found := _laid_out(run, seed))
        rows.append({"run": run.name, "clips": len(run.features), "layers": len({row["layer"] for row in found})})
    folder = begin_report(runs, STAGE, out)
    write_text(folder / POINTS_FILE, csv_table(points))
    plot_embedding(points, split, folder / PICTURE)
    return Analysis(text_table(rows), rows, [folder / POINTS_FILE, folder / PICTURE])


def _laid_out(run: Opened, seed: int) -> list[dict[str, Any]]:
    """Return a row for each layer, modality and clip of a run."""
    found = sentences(run.systems.sign2text, run.features, run.systems.recipe.evaluate.batch_size)
    rows = []
    for layer, signs, texts in zip(found.layers, found.signs, found.texts, strict=True):
        places = tsne(np.concatenate([signs, texts]), seed).tolist()
        named = [(modality, clip.id) for modality in ("signs", "text") for clip in run.features.clips]
        for (modality, clip), (x, y) in zip(named, places, strict=True):
            rows.append({"run": run.name, "layer": layer, "modality": modality, "clip": clip, "x": x, "y": y})
    return rows
