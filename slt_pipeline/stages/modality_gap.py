"""`slt report modality-gap`: how far signs and texts lie apart in mBART's encoder, and what that costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slt_pipeline.files import write_text
from slt_pipeline.metrics.correlation import spearman
from slt_pipeline.report.modality import plot_modality_gap
from slt_pipeline.report.tables import csv_table, text_table
from slt_pipeline.systems.analyses import Analysis, Opened, Run, begin_report, opened, reads, report_folder
from slt_pipeline.systems.scores import score_sentences, score_texts
from slt_pipeline.systems.sentences import sentences
from slt_pipeline.training.run import Plan

STAGE = "modality_gap"
LAYERS_FILE, PARTS_FILE, CLIPS_FILE = "gap_by_layer.csv", "bleu_by_gap.csv", "gap_by_clip.csv"
RUNS_FILE, PICTURE = "runs.csv", "modality_gap.png"
PARTS = 5
"""Into how many parts of equal number the clips are sorted by their gap."""


def plan(runs: Sequence[Run], run: Run, out: Path | None = None) -> Plan:
    """What the stage would read of one of the runs, and write."""
    return reads(run), {"report": report_folder(runs, STAGE, out)}


def modality_gap(
    runs: Sequence[Run],
    split: str = "dev",
    *,
    device: str = "auto",
    clips: int | None = None,
    out: Path | None = None,
) -> Analysis:
    """Measure the gap of every clip after every layer of each run's encoder, and BLEU by the gap after the last.

    The gap is the L2 distance between the mean of the encoder's states of the signs alone and that of the text alone
    (figures 1 and 4 of the CV-SLT paper).

    Args:
        runs: trained translators, such as the ablations of a sweep.
        split: whose clips are looked at.
        device: where they compute.
        clips: as many clips, spread over the split; None: all.
        out: folder to write; None: the run's own, or beside all.
    """
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in (RUNS_FILE, LAYERS_FILE, PARTS_FILE, CLIPS_FILE)}
    for run in opened(runs, split, device, clips):
        for name, rows in _measured(run).items():
            tables[name] += [{"run": run.name, **row} for row in rows]
    folder = begin_report(runs, STAGE, out)
    for name, rows in tables.items():
        write_text(folder / name, csv_table(rows))
    plot_modality_gap(tables[LAYERS_FILE], tables[PARTS_FILE], split, folder / PICTURE)
    rows = tables[RUNS_FILE]
    return Analysis(text_table(rows), rows, [folder / name for name in (*tables, PICTURE)])


def _measured(run: Opened) -> Mapping[str, list[dict[str, Any]]]:
    """Return the rows of each file for one run."""
    found = sentences(run.systems.sign2text, run.features, run.systems.recipe.evaluate.batch_size)
    decoded, protocol = run.systems.translated(run.features), run.systems.recipe.corpus.protocol
    last = found.gaps[-1].astype(float)
    bleu = score_sentences(protocol, decoded.hypotheses, decoded.clips)
    parts = []
    for number, those in enumerate(np.array_split(np.argsort(last, kind="stable"), min(PARTS, len(last))), 1):
        part: list[int] = those.tolist()
        scores = score_texts(protocol, [decoded.hypotheses[i] for i in part], [decoded.clips[i] for i in part])
        gaps = {"smallest_gap": last[part[0]], "largest_gap": last[part[-1]]}
        parts.append({"part": number, "clips": len(part), **gaps, "bleu4": scores["bleu4"]})
    layers = [
        {"layer": layer, "gap": float(gaps.mean()), "sd": float(gaps.std())}
        for layer, gaps in zip(found.layers, found.gaps.astype(float), strict=True)
    ]
    means = {f"gap {name}": layer["gap"] for name, layer in (("embedding", layers[0]), ("last", layers[-1]))}
    bleu4, rank = decoded.scores["bleu4"], spearman(last, bleu)
    split = run.features.clips[0].split
    summary = {"split": split, "clips": len(last), **means, "bleu4": bleu4, "spearman": rank, "protocol": run.protocol}
    each = [
        {"clip": clip.id, "gap": gap, "sentence_bleu": score}
        for clip, gap, score in zip(decoded.clips, last.tolist(), bleu, strict=True)
    ]
    return {RUNS_FILE: [summary], LAYERS_FILE: layers, PARTS_FILE: parts, CLIPS_FILE: each}
