"""`slt report grounding`: does a translator use the video? Scores with features that are not the clip's own."""

from collections.abc import Sequence
from pathlib import Path

from slt_pipeline.corpora.replaced import AnotherClips, Noise, Nothing
from slt_pipeline.files import write_text
from slt_pipeline.report.tables import csv_table, markdown_table, text_table
from slt_pipeline.systems.analyses import Analysis, Run, begin_report, opened, reads, report_folder
from slt_pipeline.training.run import Plan

STAGE = "grounding"
TABLE_FILE, CSV_FILE = "grounding.md", "grounding.csv"
COLUMNS = ("run", "features", "bleu1", "bleu2", "bleu3", "bleu4", "rouge", "chrf")


def plan(runs: Sequence[Run], run: Run, out: Path | None = None) -> Plan:
    """What the stage would read of one of the runs, and write."""
    return reads(run), {"report": report_folder(runs, STAGE, out)}


def grounding(
    runs: Sequence[Run],
    split: str = "dev",
    *,
    device: str = "auto",
    clips: int | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> Analysis:
    """Score each run on a split by each clip's own features, by another clip's, by noise and by nothing.

    The first row of a run is what `slt evaluate` says of it. What the others keep of its score, the translator knows
    without the video.

    Args:
        runs: trained translators.
        split: whose clips are translated.
        device: where they compute.
        clips: as many clips, spread over the split; None: all.
        seed: decides which clip gets whose features, and the noise, which has the mean and the standard deviation that
            each channel has in these clips.
        out: folder to write; None: the run's own, or beside all.
    """
    rows = []
    for run in opened(runs, split, device, clips):
        own = run.features
        for name, features in (
            ("own", own),
            ("another clip's", AnotherClips(own, seed)),
            ("noise", Noise(own, seed)),
            ("nothing", Nothing(own)),
        ):
            scores = run.systems.translated(features).scores
            of = {"split": split, "clips": len(own), "seed": seed, "protocol": run.protocol}
            rows.append({"run": run.name, "features": name, **scores, **of})
    folder = begin_report(runs, STAGE, out)
    write_text(folder / TABLE_FILE, markdown_table(rows) + "\n")
    write_text(folder / CSV_FILE, csv_table(rows))
    return Analysis(text_table(rows, COLUMNS), rows, [folder / TABLE_FILE, folder / CSV_FILE])
