"""Isolated signs, one gloss a clip, for pre-training: a folder per class (Kinetics style), or a WLASL list."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.importing import ImportReport, finish_import, relative_to_root
from slt_pipeline.errors import SltError
from slt_pipeline.video.base import decoded_length
from slt_pipeline.video.pictures import SUFFIXES, natural_key
from slt_pipeline.video.reader import open_video

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".flv")
_SPLITS = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}


def import_class_folders(
    videos: Path,
    out: Path,
    *,
    media_root: Path | None = None,
    dev_every: int = 10,
    fps: float = 25.0,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write a manifest of `videos/<class>/<clip>` or `videos/<split>/<class>/<clip>`.

    A clip is a video file or a folder of pictures; its gloss is the name of its class, white space replaced by `-`.

    Args:
        videos: the folder of classes, or of splits.
        out: the manifest to write.
        media_root: what the references are relative to; the manifest's folder if None.
        dev_every: without split folders, every n-th clip of a class is `dev`, the others are `train`; 0 keeps all in
            train.
        fps: of folders of pictures.
        strict: stop at the first video that cannot be read, instead of listing it as rejected.
        progress: wraps the clips, such as `tqdm`.
    """
    if not videos.is_dir():
        raise SltError(f"{videos}: no such folder")
    top = _folders(videos)
    by_split = bool(top) and all(folder.name.lower() in _SPLITS for folder in top)
    found = []
    for split_folder in top if by_split else [videos]:
        for class_folder in _folders(split_folder):
            clips = sorted(filter(_is_clip, class_folder.iterdir()), key=lambda path: natural_key(path.name))
            for position, path in enumerate(clips):
                held_out = dev_every and position % dev_every == dev_every - 1
                split = _SPLITS[split_folder.name.lower()] if by_split else ("dev" if held_out else "train")
                clip_id = path.relative_to(videos).as_posix()
                found.append((clip_id, path, class_folder.name, split, "unknown"))
    if not found:
        raise SltError(f"{videos}: no clips; expected <class>/<clip> or <split>/<class>/<clip>")
    return _import(found, out, media_root, fps, strict, progress)


def import_wlasl(
    annotations: Path,
    videos: Path,
    out: Path,
    *,
    media_root: Path | None = None,
    fps: float = 25.0,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write a manifest of a WLASL list: `[{"gloss": ..., "instances": [{"video_id": ..., "split": ...}, ...]}, ...]`.

    Videos that are missing, as many are, or cannot be read are rejected and listed.

    Args:
        annotations: the list.
        videos: folder with `<video_id>.mp4` (or another suffix), one sign each, as the data set's own scripts cut them.
        out: the manifest to write.
        media_root: what the references are relative to; the manifest's folder if None.
        fps: of folders of pictures.
        strict: stop at the first video that cannot be read, instead of listing it as rejected.
        progress: wraps the clips, such as `tqdm`.
    """
    try:
        entries = json.loads(annotations.read_text(encoding="utf-8"))
        listed = [
            (str(i["video_id"]), str(e["gloss"]), _SPLITS[str(i["split"])], str(i.get("signer_id", "unknown")))
            for e in entries
            for i in e["instances"]
        ]
    except FileNotFoundError:
        raise SltError(f"{annotations}: no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SltError(f"{annotations}: not a WLASL list (gloss, instances, video_id, split): {error!r}") from None
    if not videos.is_dir():
        raise SltError(f"{videos}: no such folder of videos")
    present = {path.stem: path for path in sorted(videos.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES}
    found = [
        (video_id, present.get(video_id, videos / f"{video_id}.mp4"), gloss, split, signer)
        for video_id, gloss, split, signer in listed
    ]
    return _import(found, out, media_root, fps, strict, progress)


def _import(
    found: list[tuple[str, Path, str, str, str]],
    out: Path,
    media_root: Path | None,
    fps: float,
    strict: bool,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> ImportReport:
    report = ImportReport(out, media_root or out.parent)
    clips = []
    for clip_id, path, gloss, split, signer in progress(found):
        try:
            reference = relative_to_root(path, report.media_root)
            video = open_video(reference, report.media_root, fps)
            num_frames = decoded_length(video)
        except SltError as error:
            if strict:
                raise
            report.rejected.append({"id": clip_id, "reason": str(error)})
            continue
        label = "-".join(gloss.split())
        clips.append(Clip(clip_id, reference, num_frames, video.fps, signer, (label,), None, split))
    classes = {clip.gloss for clip in clips}
    report.notes.append(f"{len(classes)} classes")
    return finish_import(report, clips)


def _folders(path: Path) -> list[Path]:
    return sorted((p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: p.name)


def _is_clip(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any(p.suffix.lower() in SUFFIXES for p in path.iterdir())
    return path.suffix.lower() in VIDEO_SUFFIXES
