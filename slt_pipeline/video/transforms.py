"""From RGB bytes to the tensor that enters S3D (FACTS 2.2, 2.3): crop, resize, channel order, normalisation.

B = clips, T = frames, H, W = height and width in pixels, S = `image_size`.
What is done to each picture by itself (`prepare_frame`, `center_crop`) is done as it is decoded and leaves bytes; the
rest (`to_input`) computes on the device that the bytes are on. Random choices are drawn first (`draw_augmentation`),
once for a whole clip, so that a clip's augmentation is data: it can be recorded, tested, repeated and sent elsewhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from slt_pipeline.config.video import TransformConfig
from slt_pipeline.errors import SltError
from slt_pipeline.video import jitter

Box = tuple[int, int, int, int]
"""top, left, height, width, in pixels."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The random choices for one clip."""

    box: Box
    """Crop."""
    jitter: tuple[tuple[str, float], ...] = ()
    """Colour changes in the order in which they are made: kind (`jitter.KINDS`) and factor, for hue the shift."""


def draw_augmentation(height: int, width: int, config: TransformConfig, rng: np.random.Generator) -> Augmentation:
    """Draw the choices for a clip: whether to jitter, the jitter's order and factors, the crop."""
    changes: tuple[tuple[str, float], ...] = ()
    if rng.random() < config.jitter_probability:
        order = rng.permutation(4)
        middles = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
        drawn = []
        for kind, middle in middles.items():
            reach = getattr(config, kind)
            drawn.append((kind, float(rng.uniform(middle - reach, middle + reach))))
        changes = tuple(drawn[i] for i in order)
    return Augmentation(draw_box(height, width, config, rng), changes)


def draw_box(height: int, width: int, config: TransformConfig, rng: np.random.Generator) -> Box:
    """Draw a crop: area and aspect ratio, ten tries, then the largest centred box whose aspect ratio is allowed."""
    low, high = (math.log(aspect) for aspect in config.crop_aspect)
    for _ in range(10):
        area = height * width * float(rng.uniform(*config.crop_area))
        aspect = math.exp(float(rng.uniform(low, high)))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            return top, left, box_height, box_width
    narrowest, widest = config.crop_aspect
    box_height, box_width = height, width
    if width / height < narrowest:
        box_height = max(1, round(width / narrowest))
    elif width / height > widest:
        box_width = max(1, round(height * widest))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def prepare_frame(picture: np.ndarray, config: TransformConfig) -> np.ndarray:
    """Cut a picture (H, W, 3) uint8 RGB and resize it, in training and evaluation alike: still bytes.

    One of more than `max_pixels` is made smaller with its proportions, so that memory is bounded whatever was filmed.

    Raises:
        SltError: nothing is left of it.
    """
    if config.pre_crop_top >= len(picture):
        cut = f"video.transform.pre_crop_top is {config.pre_crop_top}"
        raise SltError(f"{cut}, and the frame has {len(picture)} rows, so that nothing is left; lower it")
    picture = picture[config.pre_crop_top :]
    if config.pre_resize is not None:
        picture = _resized(picture, *config.pre_resize, Image.Resampling.BICUBIC)
    height, width = picture.shape[:2]
    if config.max_pixels is not None and height * width > config.max_pixels:
        scale = math.sqrt(config.max_pixels / (height * width))
        size = max(1, int(width * scale)), max(1, int(height * scale))
        picture = _resized(picture, *size, Image.Resampling.BILINEAR)
    return picture


def center_crop(picture: np.ndarray, size: int | None) -> np.ndarray:
    """Return the middle square of a picture (H, W, 3), with black bars where it is smaller; None: all of it."""
    if size is None:
        return picture
    height, width = picture.shape[:2]
    top, left = max(0, size - height) // 2, max(0, size - width) // 2
    if height < size or width < size:
        bottom, right = max(0, size - height) - top, max(0, size - width) - left
        picture = np.pad(picture, ((top, bottom), (left, right), (0, 0)))
        height, width = picture.shape[:2]
    top, left = round((height - size) / 2), round((width - size) / 2)
    return picture[top : top + size, left : left + size]


def to_input(frames: Tensor, config: TransformConfig, augmentation: Augmentation | None = None) -> Tensor:
    """Jitter, crop, resize to S x S, reorder, normalise, where the frames are.

    Args:
        frames: (T, H, W, 3) uint8 RGB, prepared.
        config: size, channel order and scale.
        augmentation: what was drawn for the clip; None: nothing, the whole picture.

    Returns:
        (3, T, S, S) float32.
    """
    augmentation = augmentation or Augmentation((0, 0, frames.shape[1], frames.shape[2]))
    if not augmentation.jitter:
        top, left, height, width = augmentation.box
        frames = frames[:, top : top + height, left : left + width]
    size = (config.image_size, config.image_size)
    out = torch.empty(3, len(frames), *size, device=frames.device)
    order = (2, 1, 0) if config.color_order == "bgr" else (0, 1, 2)
    num_chunk = max(1, _CHUNK_PIXELS[frames.device.type == "cpu"] // max(1, frames.shape[1] * frames.shape[2]))
    for start in range(0, len(frames), num_chunk):
        chunk = frames[start : start + num_chunk].contiguous()
        # Without jitter: channels last in memory, which resizes fastest.
        pixels = _jitter_and_crop(chunk, augmentation) if augmentation.jitter else chunk.float().permute(0, 3, 1, 2)
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=config.antialias)
        for row, channel, mean, std in zip(
            out[:, start : start + num_chunk], order, config.mean, config.std, strict=True
        ):
            torch.mul(pixels[:, channel], 1 / (255 * std), out=row).sub_(mean / std)
    return out


def pad_frames(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Batch clips of several lengths by repeating the last frame of the shorter ones (FACTS 2.2).

    Args:
        clips: each (3, T, S, S), T at least 1.

    Returns:
        frames (B, 3, max T, S, S) and frame_lengths (B,) int64.
    """
    lengths = [clip.shape[1] for clip in clips]
    if min(lengths) == 0:
        raise ValueError(f"clip {lengths.index(0)} of the batch has no frames")
    first = clips[0]
    frames = first.new_empty((len(clips), first.shape[0], max(lengths), *first.shape[2:]))
    for row, clip, length in zip(frames, clips, lengths, strict=True):
        row[:, :length] = clip
        row[:, length:] = clip[:, -1:]
    return frames, torch.tensor(lengths, dtype=torch.int64)


_CHUNK_PIXELS = {True: 2**19, False: 2**24}
"""Pixels worked on at a time: on a CPU (True) the float copies of a chunk stay in the processor's own memory."""


def _resized(picture: np.ndarray, width: int, height: int, how: Image.Resampling) -> np.ndarray:
    if (picture.shape[1], picture.shape[0]) == (width, height):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), how))


def _jitter_and_crop(chunk: Tensor, augmentation: Augmentation) -> Tensor:
    """chunk: (T, H, W, 3) uint8 -> (T, 3, height, width) float32 from 0 to 255."""
    pixels = chunk.permute(3, 0, 1, 2).contiguous().float().div_(255)
    for kind, value in augmentation.jitter:
        jitter.adjust(pixels, kind, value)
    top, left, height, width = augmentation.box
    return pixels[:, :, top : top + height, left : left + width].mul_(255).transpose(0, 1)
