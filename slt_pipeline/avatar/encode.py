"""Write frames as an H.264 file or a folder of PNG images; a name appears only when all of it is there."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from slt_pipeline.files import replacing

UNFINISHED = ".tmp"
"""Suffix of what is being written, as `replacing` gives it."""


def write_mp4(path: Path, frames: np.ndarray, fps: float, *, crf: int, gop: int) -> None:
    """Encode (T, H, W, 3) uint8 RGB; one thread and a fixed preset, so that equal frames give equal bytes."""
    with replacing(path) as scratch, av.open(scratch, "w", format="mp4") as container:
        options = {"crf": str(crf), "preset": "ultrafast", "g": str(gop), "threads": "1"}
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_folder(path: Path, frames: np.ndarray) -> None:
    """Write (T, H, W, 3) uint8 RGB as `images0001.png` and so on, numbered from 1 as PHOENIX-2014T does."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    unfinished.mkdir(parents=True)
    for number, image in enumerate(frames, 1):
        Image.fromarray(image).save(unfinished / f"images{number:04d}.png", compress_level=3)
    unfinished.replace(path)


def remove_unfinished(folder: Path) -> None:
    """Remove what an interrupted writer left in `folder` and below."""
    for path in list(folder.rglob(f".*{UNFINISHED}")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
