"""Video to features: the share of time that an encoder waits for frames, and the peak memory of large and long videos.

    python tests/benchmarks/visual.py --parts extraction memory          (--minutes 2: a shorter long video)

`visual.py` prints the rows. Memory is measured in a process of its own, by the kernel; what importing takes is told
beside it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from process_status import kibibytes

from slt_pipeline.config.encoder import EncoderConfig, HeadConfig, S3DConfig
from slt_pipeline.config.video import SamplingConfig, TransformConfig, VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import EvalClips, EvalVideo
from slt_pipeline.models.engines import build_engine
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.systems.encoding import ClipEncoder, FrameReader
from slt_pipeline.training.devices import pick_device
from slt_pipeline.video.prepared import FrameShape
from slt_pipeline.video.reader import open_video

CPU = torch.device("cpu")
CLIPS, FRAMES = 4, 116
"""As many frames as a mean clip of PHOENIX-2014T has, and its size."""
WIDTH, HEIGHT, FPS = 210, 260, 25.0


def extraction(options: argparse.Namespace) -> None:
    """Clips of one content as mp4, as a folder of PNG files and as members of a zip."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        videos = [list(_moving(FRAMES, WIDTH, HEIGHT, seed)) for seed in range(CLIPS)]
        for kind, references in _forms(root, videos).items():
            clips = [Clip(r, r, FRAMES, FPS, "a", None, None, "dev") for r in references]
            alone = _reading_alone(clips, root, options)
            encoder, started = _encoder(options, VideoConfig()), time.perf_counter()
            frames = sum(4 * len(found.streams["s3d"]) for _, found in encoder.clips(clips, root))  # type: ignore[union-attr]
            seconds = time.perf_counter() - started
            first = alone / CLIPS  # of the first clip nothing can be read ahead
            share, later = encoder.reader.waited / seconds, max(0.0, encoder.reader.waited - first) / seconds
            print(
                f"| extraction | {kind}, {frames} frames | float32 | {seconds:.2f} | {frames / seconds:.1f} frames/s | "
                f"reading alone {alone:.2f} s | waiting {share:.1%}, after the first clip {later:.1%} |",
                flush=True,
            )


def memory(options: argparse.Namespace) -> None:
    """Peak memory of reading 1080p, and of encoding a long video, each in a process of its own."""
    settings = {
        "reading 1080p x 400 frames": ["read", "1920", "1080", "400", "224", "1.0"],
        f"{options.minutes:g} min of {WIDTH}x{HEIGHT}, encoder of an eighth, 64 pixels": [
            *("encode", str(WIDTH), str(HEIGHT), str(round(options.minutes * 60 * FPS)), "64", "0.125")
        ],
    }
    for what, arguments in {"importing": ["nothing"], **settings}.items():
        started = time.perf_counter()
        ended = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
        peak, seconds = float(ended.stdout), time.perf_counter() - started
        print(f"| memory | {what} | float32 | {seconds:.1f} | | | peak {peak:.0f} MB |", flush=True)


def _forms(root: Path, videos: list[list[np.ndarray]]) -> dict[str, list[str]]:
    """Write the videos in every form, and return their references."""
    with zipfile.ZipFile(root / "all.zip", "w", zipfile.ZIP_STORED) as archive:
        for number, frames in enumerate(videos):
            _encode(root / f"{number}.mp4", frames, WIDTH, HEIGHT)
            (root / str(number)).mkdir()
            for index, frame in enumerate(frames, 1):
                path = root / str(number) / f"images{index:04d}.png"
                Image.fromarray(frame).save(path)
                archive.write(path, f"images/{number}/{path.name}")
    numbers = range(len(videos))
    return {
        "mp4": [f"{number}.mp4" for number in numbers],
        "folders of PNG": [f"{number}/images%04d.png" for number in numbers],
        "zip of PNG": [f"all.zip!images/{number}/images%04d.png" for number in numbers],
    }


def _reading_alone(clips: list[Clip], root: Path, options: argparse.Namespace) -> float:
    started = time.perf_counter()
    reader = FrameReader(VideoConfig(), FrameShape(FPS, WIDTH, HEIGHT), CPU, num_workers=0)
    for _, item in reader.items(EvalClips(clips, root, reader.video, reader.shape)):
        assert item.pixels is not None
        reader.frames([item.pixels])
    return time.perf_counter() - started


def _moving(number: int, width: int, height: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield frames of a texture that moves: pictures are not empty and differ from frame to frame."""
    texture = np.random.default_rng(seed).integers(0, 255, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(texture).resize((width + 64, height + 64), Image.Resampling.BICUBIC))
    for index in range(number):
        top, left = (index * 2) % 64, (index * 3) % 64
        yield np.ascontiguousarray(large[top : top + height, left : left + width])


def _encoder(options: argparse.Namespace, video: VideoConfig) -> ClipEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(s3d=S3DConfig(width=options.width), head=HeadConfig())
    model = VisualEncoder(config, 1094).eval()
    engine = build_engine(model.s3d, "torch", "float32", CPU)
    return ClipEncoder(model, FrameReader(video, FrameShape(FPS, WIDTH, HEIGHT), CPU), engine)


def _peak(what: str, *numbers: str) -> float:
    """Do it, and return the peak of this process's memory in MB, what making the video took left out."""
    pick_device("cpu")
    if what != "nothing":
        width, height, frames, size = (int(number) for number in numbers[:4])
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "video.mp4"
            make = f"import {Path(__file__).stem} as v; v.write({str(path)!r}, {frames}, {width}, {height})"
            subprocess.run([sys.executable, "-c", make], check=True, cwd=Path(__file__).parent)
            transform = TransformConfig(center_crop=None, image_size=size)
            video = VideoConfig(sampling=SamplingConfig(max_frames=max(400, frames // 4 * 4)), transform=transform)
            opened = EvalVideo(open_video(str(path), None, FPS), video, FrameShape(FPS, width, height))
            if what == "read":
                kept = list(opened.pieces(len(opened)))
                assert sum(len(piece) for piece in kept) == frames // 4 * 4
            else:
                options = argparse.Namespace(width=float(numbers[4]))
                assert len(_encoder(options, video).whole(opened)["s3d"]) == frames // 4
    return kibibytes("VmHWM") / 1024


def write(path: str, frames: int, width: int, height: int) -> None:
    """Write a moving texture as a video file."""
    _encode(Path(path), _moving(frames, width, height), width, height)


def _encode(path: Path, frames: Iterable[np.ndarray], width: int, height: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=int(FPS), options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(_peak(*sys.argv[1:]))
