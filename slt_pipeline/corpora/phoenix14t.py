"""RWTH-PHOENIX-Weather 2014T from its annotation files as distributed with public code (FACTS 1.1, 1.4, 1.6)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.importing import (
    SPLITS,
    ImportReport,
    annotation_files,
    finish_import,
    frame_pattern,
    read_records,
)

FPS = 25.0
LAYOUTS = (
    "fullFrame-210x260px/<name>/images%04d.png",
    "features/fullFrame-210x260px/<name>/images%04d.png",
    "images/<name>/images%04d.png",
    "<name>/images%04d.png",
)
"""Where the frames of a clip may lie below the folder, or inside the zip, that holds them. Names carry their split."""


def import_phoenix14t(
    annotations: Path,
    out: Path,
    *,
    variant: Literal["plain", "cleaned"] = "cleaned",
    frames: Path | None = None,
    media_root: Path | None = None,
    splits: Sequence[str] = SPLITS,
    alignments: bool = True,
) -> ImportReport:
    """Write a manifest of PHOENIX-2014T.

    Args:
        annotations: folder with `phoenix-2014t.{train,dev,test}` or `phoenix-2014t_cleaned.*`.
        out: the manifest to write.
        variant: gloss spelling. All single-stream systems use `cleaned`, for references too.
        frames: folder or zip of the frames. None: annotations only, as for re-enactment by the synthetic signer.
        media_root: what the references are relative to; the manifest's folder if None.
        splits: which of the files to read.
        alignments: keep the per-frame labels `pami0`, `pami1`, `pami2`, which only re-enactment needs; they make up
            nine tenths of the manifest. Those whose count is not the clip's number of frames are left out and reported.
    """
    stem = "phoenix-2014t_cleaned" if variant == "cleaned" else "phoenix-2014t"
    fields = {"name": str, "signer": str, "gloss": str, "text": str, "num_frames": int}
    files = annotation_files(annotations, stem, splits)
    records = [(split, record) for split, path in files.items() for record in read_records(path, fields)]
    report = ImportReport(out, media_root or out.parent)
    example = records[0][1]["name"] if records else ""
    pattern, found = frame_pattern(frames, report.media_root, LAYOUTS, example, LAYOUTS[0])
    if not found:
        report.notes.append(f"annotations only: frames are expected as {report.media_root}/{pattern}")
    if not alignments:
        records = [(split, {**record, "alignments": None}) for split, record in records]
    clips = [_clip(split, record, pattern, report) for split, record in records]
    return finish_import(report, clips)


def _clip(split: str, record: dict, pattern: str, report: ImportReport) -> Clip:
    alignments = {}
    told = record.get("alignments") or {}
    if not isinstance(told, Mapping):
        report.notes.append(f"{record['name']}: alignments left out: a {type(told).__name__}, not labels by name")
        told = {}
    for name, text in told.items():
        labels = _labels(text)
        if labels is not None and len(labels) == record["num_frames"]:
            alignments[name] = labels
        else:
            count = "labels that are no numbers" if labels is None else f"{len(labels)} labels"
            report.notes.append(
                f"{record['name']}: alignment {name} left out: {count} for {record['num_frames']} frames"
            )
    return Clip(
        id=record["name"],
        video=pattern.replace("<name>", record["name"]),
        num_frames=record["num_frames"],
        fps=FPS,
        signer=record["signer"],
        gloss=tuple(record["gloss"].split()),
        text=record["text"],
        split=split,
        alignments=alignments or None,
    )


def _labels(text: object) -> tuple[int, ...] | None:
    try:
        return tuple(map(int, str(text).split()))
    except ValueError:
        return None
