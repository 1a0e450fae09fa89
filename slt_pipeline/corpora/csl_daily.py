"""CSL-Daily from its annotation files as distributed with public code (FACTS 1.1, 1.6, 1.7)."""

from collections.abc import Sequence
from pathlib import Path

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.importing import (
    SPLITS,
    ImportReport,
    annotation_files,
    finish_import,
    frame_pattern,
    read_records,
)
from slt_pipeline.text.normalise import to_half_width

LAYOUTS = (
    "sentence_frames-512x512/<name>/%06d.jpg",
    "sentence/frames_512x512/<name>/%06d.jpg",
    "frames_512x512/<name>/%06d.jpg",
    "<name>/%06d.jpg",
)
"""Where the frames of a clip may lie below the folder, or inside the zip, that holds them."""


def import_csl_daily(
    annotations: Path,
    out: Path,
    *,
    half_width: bool = False,
    frames: Path | None = None,
    media_root: Path | None = None,
    splits: Sequence[str] = SPLITS,
    fps: float = 25.0,
) -> ImportReport:
    """Write a manifest of CSL-Daily.

    Args:
        annotations: folder with `csl-daily.{train,dev,test}`.
        out: the manifest to write.
        half_width: write the punctuation ，？！： as , ? ! : in text. Scores with it compare with CV-SLT's, scores
            without it with the older literature, and neither with the other.
        frames: folder or zip of the frames. None: annotations only.
        media_root: what the references are relative to; the manifest's folder if None.
        splits: which of the files to read.
        fps: frames per second, which the annotations do not say; it only scales times that are shown.
    """
    fields = {"name": str, "signer": int, "gloss": str, "text": str, "num_frames": int}
    files = annotation_files(annotations, "csl-daily", splits)
    records = [(split, record) for split, path in files.items() for record in read_records(path, fields)]
    report = ImportReport(out, media_root or out.parent)
    example = records[0][1]["name"] if records else ""
    pattern, found = frame_pattern(frames, report.media_root, LAYOUTS, example, LAYOUTS[0])
    if not found:
        report.notes.append(f"annotations only: frames are expected as {report.media_root}/{pattern}")
    clips = [
        Clip(
            id=record["name"],
            video=pattern.replace("<name>", record["name"]),
            num_frames=record["num_frames"],
            fps=fps,
            signer=str(record["signer"]),
            gloss=tuple(record["gloss"].split()),
            text=to_half_width(record["text"]) if half_width else record["text"],
            split=split,
        )
        for split, record in records
    ]
    if half_width:
        changed = sum(to_half_width(record["text"]) != record["text"] for _, record in records)
        report.notes.append(f"punctuation of {changed} texts written in half width")
    return finish_import(report, clips)
