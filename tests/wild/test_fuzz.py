"""Two hundred damaged files end in a result or in one line: no traceback, no hang, and little memory."""

import gzip
import io
import pickle
import resource
import shutil
import zipfile
from contextlib import suppress

import av
import numpy as np
import pytest
from PIL import Image

from cache import FeatureStore, StoreError
from cache.care.verify import verify
from cache.testing import STREAMS, make_clips
from slt_pipeline.config.video import TransformConfig
from slt_pipeline.corpora.pickles import read_pickle
from slt_pipeline.corpora.unreadable import UNREADABLE
from slt_pipeline.errors import SltError
from slt_pipeline.video.base import decoded_length
from slt_pipeline.video.prepared import FrameShape, PreparedVideo
from slt_pipeline.video.reader import open_video, require_media

VIDEOS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "webm": ("libvpx", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "ts": ("libx264", "yuv420p"),
    "flv": ("flv", "yuv420p"),
    "gif": ("gif", "rgb8"),
}
SEEDS = 20
"""Damaged files of each kind: 7 of video, one of pictures, two of zips, two of pickles, two of stores."""


@pytest.fixture(autouse=True)
def _memory():
    """A small file, whatever it claims, takes less than a gigabyte."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    assert grown < 1, f"grew by {grown:.1f} GB"


def damaged(content, rng):
    """The bytes with a few flipped, a number made huge, a part lost, doubled or zero, or the end gone."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
        match rng.integers(6):
            case 0:
                for place in rng.integers(len(data), size=8):
                    data[place] ^= 1 << rng.integers(8)
            case 1:
                data[at : at + 4] = b"\xff" * 4
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + length] = bytes(length)
            case _:
                del data[max(1, at) :]
    return bytes(data)


def attempt(path):
    """Do with a video what training, extraction, validation and translation do."""
    require_media(path)
    with suppress(SltError):
        open_video(path).read()
    video = open_video(path)
    prepared = PreparedVideo(video, TransformConfig(), FrameShape(25, 32, 24))
    prepared.read(np.arange(min(prepared.num_frames, 50)))
    decoded_length(video)


def png(level):
    out = io.BytesIO()
    Image.new("RGB", (32, 24), (level, 90, 30)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("kind", VIDEOS)
def test_videos(tmp_path, kind):
    whole, (codec, pixels) = tmp_path / f"whole.{kind}", VIDEOS[kind]
    with av.open(str(whole), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, pixels
        for number in range(8):
            picture = np.full((24, 32, 3), 25 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode())
    attempt(whole)
    path = tmp_path / f"damaged.{kind}"
    for seed in range(SEEDS):
        path.write_bytes(damaged(whole.read_bytes(), np.random.default_rng(seed)))
        with suppress(*UNREADABLE):
            attempt(path)


def test_pictures(tmp_path):
    (tmp_path / "a").mkdir()
    for seed in range(SEEDS):
        for number in range(2):
            (tmp_path / f"a/{number}.png").write_bytes(damaged(png(90), np.random.default_rng([seed, number])))
        with suppress(*UNREADABLE):
            attempt(tmp_path / "a")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zips(tmp_path, compression):
    whole, path = tmp_path / "whole.zip", tmp_path / "damaged.zip"
    with zipfile.ZipFile(whole, "w", compression) as archive:
        for number in range(6):
            archive.writestr(f"ä/{number:03d}.png", png(40 * number))
    attempt(f"{whole}!ä/%03d.png")
    for seed in range(SEEDS):
        path.write_bytes(damaged(whole.read_bytes(), np.random.default_rng(seed)))
        for inside in ("ä", "ä/%03d.png"):
            with suppress(*UNREADABLE):
                attempt(f"{path}!{inside}")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pickles(tmp_path, pack):
    records = [{"name": f"train/{n}", "gloss": "REGEN WIND", "num_frames": n, "at": (0.5, None)} for n in range(20)]
    path = tmp_path / "damaged.train"
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        content = pickle.dumps(records, protocol=int(rng.integers(6)))
        path.write_bytes(damaged(pack(content), rng) if seed % 2 else pack(damaged(content, rng)))
        with suppress(SltError):
            read_pickle(path)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_stores(tmp_path, backend):
    whole, path = tmp_path / "whole", tmp_path / "damaged"
    store = FeatureStore.create(whole, backend=backend, streams=STREAMS, fingerprint={"a": 1}, shard_steps=16)
    with store.writer() as writer:
        for name, features in make_clips(6).items():
            writer.write(name, features)
    files = sorted(file.relative_to(whole) for file in whole.rglob("*") if file.is_file())
    for seed in range(SEEDS):
        shutil.copytree(whole, path)
        rng = np.random.default_rng(seed)
        target = path / files[seed % len(files)]
        target.write_bytes(damaged(target.read_bytes(), rng))
        with suppress(StoreError):
            opened = FeatureStore.open(path)
            for name in opened:
                for stream in STREAMS:
                    with suppress(StoreError):
                        opened.read(name, stream)
        with suppress(StoreError):
            verify(path)
        shutil.rmtree(path)
