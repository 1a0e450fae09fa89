"""Whole clips through the steps that frames go through one by one as they are decoded."""

import numpy as np
import torch
from torch import Tensor

from slt_pipeline.config.video import TransformConfig
from slt_pipeline.video.transforms import Augmentation, center_crop, draw_augmentation, prepare_frame, to_input


def evaluated(frames: np.ndarray, config: TransformConfig) -> Tensor:
    """(T, H, W, 3) uint8 -> (3, T, S, S), as evaluation makes it."""
    cut = [center_crop(prepare_frame(frame, config), config.center_crop) for frame in frames]
    return to_input(torch.from_numpy(np.stack(cut)), config)


def augmented(frames: np.ndarray, augmentation: Augmentation, config: TransformConfig) -> Tensor:
    """(T, H, W, 3) uint8 -> (3, T, S, S), with choices that were drawn."""
    return to_input(torch.from_numpy(frames), config, augmentation)


def trained(frames: np.ndarray, config: TransformConfig, rng: np.random.Generator) -> Tensor:
    """(T, H, W, 3) uint8 -> (3, T, S, S), as training makes it."""
    frames = np.stack([prepare_frame(frame, config) for frame in frames])
    return augmented(frames, draw_augmentation(frames.shape[1], frames.shape[2], config, rng), config)
