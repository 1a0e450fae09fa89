"""Video files decoded by torchcodec, on a GPU where there is one; what it does not show as `ffmpeg` does is PyAV's.

torchcodec is an extra (`gpu`) and brings torch, so that it is imported when a video is opened with it.
"""

import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Literal

import av
import numpy as np

from slt_pipeline.errors import SltError
from slt_pipeline.video.base import Indices, in_order
from slt_pipeline.video.container import ContainerVideo

Decoder = Literal["pyav", "torchcodec"]

_AT_ONCE = 2**24
"""Pixels that are decoded at once: 50 MB of frames."""
_STAMP = 1e-3
"""Seconds by which a frame's time may differ from that of its packet."""


def chosen_decoder(wanted: str, device: str) -> Decoder:
    """Return the decoder that `video.decoder` stands for on a device.

    Args:
        wanted: `pyav`, `torchcodec`, or `auto`, which is torchcodec where it decodes on a GPU here.
        device: where frames are needed, such as `cuda:0`.

    Raises:
        SltError: torchcodec is wanted, and cannot decode on this device.
    """
    if wanted == "pyav" or (wanted == "auto" and not device.startswith("cuda")):
        return "pyav"
    lacking = _lacking(device)
    if lacking is None:
        return "torchcodec"
    if wanted == "auto":
        return "pyav"
    raise SltError(
        f"video.decoder torchcodec cannot decode on {device}: {lacking}; install it with pip install "
        "'slt-pipeline[gpu]', and FFmpeg's shared libraries, or use pyav"
    )


class TorchcodecVideo(ContainerVideo):
    """A video file whose times are those of its packets, as PyAV's, and whose frames are decoded by torchcodec.

    PyAV decodes what torchcodec would show otherwise or not at all: pixels that are not square, mirrored pictures,
    files whose time stamps are broken or whose packets are not its frames, and the rest of one that it stumbles over.
    """

    def __init__(self, path: Path, default_fps: float, device: str) -> None:
        super().__init__(path, default_fps)
        self._device = device

    def frames(self, indices: Indices) -> Iterator[np.ndarray]:
        """Yield the frames at these indices, which do not fall: (H, W, 3) uint8 RGB."""
        wanted = in_order(indices, self.num_frames, self.name)
        done = 0
        for picture in self._by_torchcodec(wanted):
            yield picture
            done += 1
        if done < len(wanted):
            yield from super().frames(wanted[done:])

    def _by_torchcodec(self, wanted: np.ndarray) -> Iterator[np.ndarray]:
        """Yield as many of the frames as torchcodec shows as `ffmpeg` does."""
        times = self.times
        if not self.plain or not len(wanted):
            return
        try:
            decoder = _decoders().VideoDecoder(
                self.name, stream_index=self.stream_index, dimension_order="NHWC", device=self._device
            )
            if len(decoder) != len(times):
                return
            needed = np.unique(wanted)
            first = float(decoder.get_frame_at(0).pts_seconds)
            size = max(1, _AT_ONCE // (self.width * self.height))
            for some in np.split(needed, range(size, len(needed), size)):
                batch = decoder.get_frames_at(some.tolist())
                late = np.abs(batch.pts_seconds.numpy() - first - times[some])
                pictures = batch.data.cpu().numpy()
                if late.max() > _STAMP or pictures.shape[1:3] != (self.height, self.width):
                    return
                rows = np.repeat(np.arange(len(some)), [int(np.sum(wanted == index)) for index in some])
                yield from (pictures[row] for row in rows)
        except (RuntimeError, ValueError, IndexError):  # what PyAV cannot read either, it says in words
            return


@lru_cache
def _lacking(device: str) -> str | None:
    """Why torchcodec cannot decode on a device; None: it has decoded a small video there."""
    try:
        decoder = _decoders().VideoDecoder(_small_video(), device=device)
        decoder.get_frame_at(0)
    except (ImportError, OSError, RuntimeError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return "the GPU decodes no H.264 here" if device.startswith("cuda") and decoder.cpu_fallback else None


def _decoders() -> ModuleType:
    from torchcodec import decoders  # pyright: ignore[reportMissingImports]

    return decoders


def _small_video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(256, 256, "yuv420p")))
        container.mux(stream.encode())
    return file.getvalue()
