"""WLASL by its list: signs with the frames of a video that show them, in videos that are cut already or are not."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from slt_pipeline.corpora.importing import ImportReport
from slt_pipeline.corpora.isolated import SPLITS, Listed, import_listed
from slt_pipeline.corpora.media_files import videos_by_name
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_lines
from slt_pipeline.video.reader import Video

_YOUTUBE_ID = 11
"""Characters of the name that YouTube gives a video: the end of its address, and what it is downloaded as."""


def import_wlasl(
    annotations: Path,
    videos: Path,
    out: Path,
    *,
    media_root: Path | None = None,
    num_glosses: int | None = None,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write a manifest of a WLASL list: `[{"gloss": ..., "instances": [{"video_id": ..., "split": ...}, ...]}, ...]`.

    `frame_start` (from 1) to `frame_end` (-1: to the end) are the clip, counted at the list's `fps`, 25. A video that
    is no longer than the part that should be cut from it was cut by the data set's own scripts, and is taken whole.
    Videos that are missing, as many are, or cannot be read are rejected and listed, as are instances that are no clip.

    Args:
        annotations: the list.
        videos: folder with `<video_id>.mp4` (or another suffix), or with videos under the names that YouTube gave them.
        out: the manifest to write.
        media_root: what the references are relative to; the manifest's folder if None.
        num_glosses: take that many of the list only, the first: WLASL100, 300, 1000; None: all.
        strict: stop at the first video that cannot be read, or instance that is none, instead of listing it.
        progress: wraps the clips, such as `tqdm`.

    Raises:
        SltError: the list is none of WLASL, or no clip can be read.
    """
    try:
        entries = json.loads("\n".join(read_lines(annotations)))
        instances = [(str(e["gloss"]), i) for e in entries[:num_glosses] for i in list(e["instances"])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SltError(f"{annotations}: not a WLASL list (gloss, instances, video_id, split): {error!r}") from None
    present = videos_by_name(videos)
    found, wrong = [], {}
    for number, (gloss, listed) in enumerate(instances, 1):
        try:
            instance = _plain(listed)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            wrong[f"instance {number}"] = f"{annotations}: {listed!s:.60} of {gloss}: {error!r}"
            if strict:
                raise SltError(wrong[f"instance {number}"]) from None
            continue
        name, uncut = instance["video_id"], instance["url"][-_YOUTUBE_ID:]
        path = present.get(name) or present.get(uncut) or videos / f"{name}.mp4"
        extra = {"bbox": instance["bbox"]} if instance["bbox"] else None
        part = partial(_part, *(instance[key] for key in ("frame_start", "frame_end", "fps")))
        found.append(Listed(name, path, gloss, instance["split"], instance["signer_id"], part, extra))
    return import_listed(found, out, media_root, strict=strict, progress=progress, left_out=wrong)


def _plain(instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is read of an instance, in the right types; raises what Python does where it is none."""
    rate = float(instance.get("fps", 25))
    if not 0 < rate < float("inf"):
        raise ValueError(f"fps is {rate:g}")
    return {
        "video_id": str(instance["video_id"]),
        "split": SPLITS[str(instance["split"])],
        "signer_id": str(instance.get("signer_id", "unknown")),
        "url": str(instance.get("url", "")),
        "bbox": [int(edge) for edge in instance.get("bbox", ())],
        "frame_start": int(instance.get("frame_start", 1)),
        "frame_end": int(instance.get("frame_end", -1)),
        "fps": rate,
    }


def _part(first: int, last: int, fps: float, video: Video) -> tuple[int, int] | None:
    """Return the frames of a video that are listed as `first` to `last`, at `fps`; None: all.

    Raises:
        SltError: the video ends before them.
    """
    num_frames, rate = video.num_frames, video.fps / fps
    start = round((max(first, 1) - 1) * rate)
    if last < 1:
        last, stop = num_frames, num_frames
    else:
        stop = round(last * rate)
        if stop > num_frames and num_frames <= max(stop - start, last - first + 1):
            return None  # it was cut already
    stop = min(stop, num_frames)
    if start >= stop:
        raise SltError(f"{video.name}: frames {first} to {last} at {fps:g} fps are listed, and it has {num_frames}")
    return None if (start, stop) == (0, num_frames) else (start, stop)
