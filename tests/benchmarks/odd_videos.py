"""Videos that are unlike a corpus, made of its own clips, and some that only look so: what confidence is measured on.

T frames of H x W, RGB, uint8.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from slt_pipeline.video.reader import open_video

Frames = np.ndarray
Odd = Callable[[Frames, Sequence[Frames], np.random.Generator], tuple[Frames, float]]
"""A clip's frames (T, H, W, 3), those of all, and what is drawn from: other frames, and the rate they play at."""
FPS = 25.0


def write_video(path: Path, frames: Frames, fps: float = FPS) -> Path:
    """Write frames (T, H, W, 3) as an mp4, hardly compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "4", "preset": "ultrafast"}
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        file.mux(stream.encode())
    return path


def real_pieces(folder: Path, seconds: float = 3.0) -> Iterator[tuple[str, Frames, float]]:
    """Yield the real clips of a folder: whole, and cut into pieces of about so many seconds."""
    for path in sorted(folder.glob("*.*")):
        video = open_video(str(path), None)
        frames = video.read()
        frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
        size = round(seconds * video.fps)
        for number, start in enumerate(range(0, len(frames) - size // 2, size)):
            yield f"{path.stem}-{number}", frames[start : start + size], video.fps


def _repeated(picture: Frames, frames: Frames) -> tuple[Frames, float]:
    return np.broadcast_to(picture, frames.shape).copy(), FPS


def _flat(value: int) -> Odd:
    return lambda frames, clips, draw: _repeated(np.full(frames.shape[1:], value, np.uint8), frames)


def _white(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    return draw.integers(0, 256, frames.shape, dtype=np.uint8), FPS


def _coloured(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """Noise of 1/f in time and place, with the mean and spread of the clip."""
    shape = frames.shape[:3]
    axes = np.meshgrid(*(np.fft.fftfreq(size) for size in shape), indexing="ij")
    scale = 1 / np.maximum(np.sqrt(sum(axis**2 for axis in axes)), 1 / max(shape))
    noise = np.stack([np.fft.ifftn(np.fft.fftn(draw.standard_normal(shape)) * scale).real for _ in range(3)], axis=-1)
    noise = noise / noise.std() * frames.std() + frames.mean()
    return noise.clip(0, 255).astype(np.uint8), FPS


def _blobs(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """Coarse blocks of colour that change with every frame."""
    blocks = draw.integers(0, 256, (len(frames), 8, 8, 3), dtype=np.uint8)
    size = (frames.shape[2], frames.shape[1])
    return np.stack(
        [np.asarray(Image.fromarray(block).resize(size, Image.Resampling.BICUBIC)) for block in blocks]
    ), FPS


def _noisy(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    return (frames + draw.normal(0, 40, frames.shape)).clip(0, 255).astype(np.uint8), FPS


def _shuffled(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    return frames[draw.permutation(len(frames))], FPS


def _frozen(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    return _repeated(frames[len(frames) // 2], frames)


def _rest(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    return _repeated(frames[0], frames)


def _half_frozen(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    half = len(frames) // 2
    return np.concatenate([frames[:half], np.repeat(frames[half : half + 1], len(frames) - half, axis=0)]), FPS


def _half_black(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    found = frames.copy()
    found[len(frames) // 2 :] = 0
    return found, FPS


def _gap(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """Half a second of black in the middle."""
    found, start = frames.copy(), max(0, len(frames) // 2 - 6)
    found[start : start + 12] = 0
    return found, FPS


def _noise_within(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """Half a second of noise in the middle."""
    found, start = frames.copy(), max(0, len(frames) // 2 - 6)
    found[start : start + 12] = draw.integers(0, 256, found[start : start + 12].shape, dtype=np.uint8)
    return found, FPS


def _texture(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """The signer before coarse noise that stands still."""
    background = frames[0, 2, 2].astype(int)
    blocks = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(blocks).resize((frames.shape[2], frames.shape[1]), Image.Resampling.BICUBIC))
    behind = np.abs(frames.astype(int) - background).max(axis=-1, keepdims=True) < 24
    return np.where(behind, picture, frames).astype(np.uint8), FPS


def _other_colour(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """The signer before a plain background of another colour."""
    background = frames[0, 2, 2].astype(int)
    behind = np.abs(frames.astype(int) - background).max(axis=-1, keepdims=True) < 24
    return np.where(behind, np.uint8([200, 60, 40]), frames).astype(np.uint8), FPS


def _smaller(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """The signer at half the size, in a corner of his background."""
    height, width = frames.shape[1:3]
    found = np.empty_like(frames)
    found[:] = frames[0, 2, 2]
    found[:, height // 2 :, width // 2 :] = frames[:, ::2, ::2][:, : height - height // 2, : width - width // 2]
    return found, FPS


def _long(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """Six clips, one after the other."""
    return np.concatenate([clips[int(i)] for i in draw.permutation(len(clips))[:6]]), FPS


def _cropped(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    height, width = (size // 4 for size in frames.shape[1:3])
    return frames[:, height : 3 * height, width : 3 * width], FPS


def _enlarged(frames: Frames, clips: Sequence[Frames], draw: np.random.Generator) -> tuple[Frames, float]:
    """The same picture in a larger file of another rate: what `slt translate` undoes."""
    return frames.repeat(2, axis=0).repeat(3, axis=1).repeat(3, axis=2), 2 * FPS


KINDS: Mapping[str, Mapping[str, Odd]] = {
    "noise": {"white noise": _white, "coloured noise": _coloured, "blocks of colour": _blobs},
    "still pictures": {
        "a frozen frame": _frozen,
        "the first frame, frozen": _rest,
        "black": _flat(0),
        "grey": _flat(128),
        "white": _flat(255),
    },
    "spoiled clips": {
        "frames shuffled": _shuffled,
        "upside down": lambda frames, clips, draw: (frames[:, ::-1], FPS),
        "negative": lambda frames, clips, draw: (255 - frames, FPS),
        "reversed": lambda frames, clips, draw: (frames[::-1], FPS),
        "mirrored": lambda frames, clips, draw: (frames[:, :, ::-1], FPS),
        "grain": _noisy,
        "second half frozen": _half_frozen,
        "second half black": _half_black,
        "half a second black": _gap,
        "half a second of noise": _noise_within,
        "another background": _texture,
        "another colour behind": _other_colour,
        "small, in a corner": _smaller,
        "cropped to the middle": _cropped,
        "grey picture": lambda frames, clips, draw: (
            np.repeat(frames.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8),
            FPS,
        ),
        "dark": lambda frames, clips, draw: (frames // 4, FPS),
    },
    "other lengths": {
        "twice as fast": lambda frames, clips, draw: (frames[::2], FPS),
        "four times as fast": lambda frames, clips, draw: (frames[::4], FPS),
        "half as fast": lambda frames, clips, draw: (frames.repeat(2, axis=0), FPS),
        "five frames a second": lambda frames, clips, draw: (frames[::5], 5.0),
        "a step long": lambda frames, clips, draw: (frames[:4], FPS),
        "half a second": lambda frames, clips, draw: (frames[:12], FPS),
        "six clips in one": _long,
    },
    "nothing odd": {"larger, at twice the rate": _enlarged},
}
