"""Isolated signs or actions, one gloss a clip, for pre-training: a folder a class, and what all their lists share."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.importing import ImportReport, finish_import, relative_to_root
from slt_pipeline.corpora.manifest import as_read
from slt_pipeline.corpora.media_files import contents, is_video, why_no_clip
from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of
from slt_pipeline.errors import SltError
from slt_pipeline.video.base import decoded_length
from slt_pipeline.video.reader import Video, open_video

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validate", "validation"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a split is called elsewhere."""
_LOOSE = "lies in no folder of a class; move it into that of its sign"


@dataclass(frozen=True)
class Listed:
    """A clip that is to be imported, before anything of it was opened."""

    id: str
    path: Path
    label: str
    """Its class; white space becomes `-`."""
    split: str
    signer: str = "unknown"
    part: Callable[[Video], tuple[int, int] | None] = lambda video: None
    """Which frames of the video are the clip; None: all."""
    extra: dict[str, Any] | None = None


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

    Raises:
        SltError: the folder is missing, holds no clip, or a folder that is no split beside splits.
    """
    if not videos.is_dir():
        raise SltError(f"{videos}: no such folder")
    inside_videos = contents(videos)
    top, no_clips = _folders(inside_videos), {_id(path, videos): _LOOSE for path in inside_videos if is_video(path)}
    other = [folder.name for folder in top if folder.name.lower() not in SPLITS]
    by_split = bool(top) and not other

    def inside(folder: Path) -> list[Path]:
        try:
            return contents(folder)
        except OSError as error:
            if strict:
                raise
            no_clips[_id(folder, videos)] = reason_of(error)
            return []

    found = []
    for split_folder in top if by_split else [videos]:
        within = inside(split_folder)
        no_clips |= {_id(path, videos): _LOOSE for path in within if is_video(path)}
        for class_folder in _folders(within):
            no_clip = {path: why_no_clip(path) for path in inside(class_folder)}
            no_clips |= {_id(path, videos): reason for path, reason in no_clip.items() if reason}
            for position, path in enumerate(path for path, reason in no_clip.items() if not reason):
                held_out = dev_every and position % dev_every == dev_every - 1
                split = SPLITS[split_folder.name.lower()] if by_split else ("dev" if held_out else "train")
                found.append(Listed(_id(path, videos), path, class_folder.name, split))
    if not found and not by_split and len(other) < len(top):
        raise SltError(f"{videos}: {', '.join(other)}: no name of a split; call it train, dev or test, or move it away")
    if not found and not no_clips:
        raise SltError(f"{videos}: no clips; expected <class>/<clip> or <split>/<class>/<clip>")
    return import_listed(found, out, media_root, fps=fps, strict=strict, progress=progress, left_out=no_clips)


def import_listed(
    found: Sequence[Listed],
    out: Path,
    media_root: Path | None,
    *,
    fps: float = 25.0,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    left_out: Mapping[str, str] | None = None,
) -> ImportReport:
    """Open every clip of a list, count its frames, and write the manifest of those that can be read.

    Args:
        found: the clips.
        out: the manifest to write.
        media_root: what the references are relative to; the manifest's folder if None.
        fps: of folders of pictures.
        strict: stop at the first that cannot be read, instead of listing it as rejected.
        progress: wraps the clips, such as `tqdm`.
        left_out: what else is to be listed as rejected: reasons by id.

    Raises:
        SltError: no clip can be read; `strict`: one cannot.
    """
    report = ImportReport(out, media_root or out.parent)
    clips: dict[str, Clip] = {}
    for listed in progress(found):
        try:
            if listed.id in clips:
                raise SltError(f"{listed.id} is listed twice, as {clips[listed.id].gloss} before")
            clips[listed.id] = as_read(_clip(listed, report.media_root, fps), listed.id)
        except UNREADABLE as error:
            if strict:
                raise
            report.rejected.append({"id": listed.id, "reason": reason_of(error)})
    # Behind the others, of which the first is told where none can be read.
    report.rejected += [{"id": name, "reason": reason} for name, reason in (left_out or {}).items()]
    report.notes.append(f"{len({clip.gloss for clip in clips.values()})} classes")
    return finish_import(report, list(clips.values()))


def _clip(listed: Listed, root: Path, fps: float) -> Clip:
    reference = relative_to_root(listed.path, root)
    video = open_video(reference, root, fps)
    num_frames, part = decoded_length(video), listed.part(video)
    label = "-".join(listed.label.split())
    if not label.isprintable():
        raise SltError(f"the name of its class, {label!a}, is no text; rename it")
    return Clip(
        listed.id,
        reference,
        num_frames if part is None else part[1] - part[0],
        video.fps,
        listed.signer,
        (label,),
        None,
        listed.split,
        frames=part,
        extra=listed.extra,
    )


def _id(path: Path, videos: Path) -> str:
    """Return the id of a clip; bytes of its name that are no text are escaped, since an id is."""
    return os.fsencode(path.relative_to(videos).as_posix()).decode("utf-8", "backslashreplace")


def _folders(paths: Iterable[Path]) -> list[Path]:
    return sorted((path for path in paths if path.is_dir()), key=lambda path: path.name)
