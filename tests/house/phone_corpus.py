"""A person's own corpus: twenty clips as phones record them, one of them broken, and a spreadsheet as Excel saves."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from video_files import lay, write_stamped

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.video.reader import open_video

TURNED = (0, 1, -1, 0)
"""The display matrix of a phone that was held upright: pictures lie on their side, and are turned when shown."""
SIZES = ((32, 32), (64, 48), (48, 64))


def make_phone_corpus(data: Path, folder: Path) -> None:
    """Make `folder/clips.csv` and its videos, of the clips that a manifest in `data` lists."""
    clips = read_manifest(data / "manifest.jsonl")
    chosen = [clip for split in ("train", "dev", "test") for clip in clips if clip.split == split]
    rows = [_row(number, chosen[number % len(chosen)], data, folder) for number in range(20)]
    broken = folder / rows[-1]["path"]
    broken.write_bytes(broken.read_bytes()[:-400])  # the index stands at the end
    with (folder / "clips.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, rows[0], delimiter=";")
        table.writeheader()
        table.writerows(rows)


def _row(number: int, clip: Clip, data: Path, folder: Path) -> dict[str, str]:
    path = folder / "videos" / f"IMG {number:04d}.MOV"
    path.parent.mkdir(parents=True, exist_ok=True)
    _record(path, open_video(clip.video, data), number)
    sentence = f"{(clip.text or '').removesuffix(' .').capitalize()}."
    return {
        "name": f"clip {number}",
        "path": path.relative_to(folder).as_posix(),
        "sentence": sentence,
        "glosses": " ".join(clip.gloss or ()),
        "split": {"train": "Training", "dev": "dev", "test": "test"}[clip.split],
    }


def _record(path: Path, video, number: int) -> None:
    """Write a video again as a phone would: at a varying rate, of one of several sizes, some of them turned."""
    size = SIZES[number % len(SIZES)]
    pictures = [
        np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
        for frame in video.frames(range(video.num_frames))
    ]
    uneven = np.random.default_rng(number).integers(-8, 8, len(pictures))
    stamps = [40 * index + (int(uneven[index]) if index else 0) for index in range(len(pictures))]
    turned = number % 2 == 1
    write_stamped(path, [np.rot90(picture) if turned else picture for picture in pictures], stamps)
    if turned:
        lay(path, TURNED)
