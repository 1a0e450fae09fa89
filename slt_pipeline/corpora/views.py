"""Clips of one length from videos of any: a random one to train on, evenly spaced ones and several crops to score."""

from dataclasses import dataclass, field

import numpy as np
import torch

from slt_pipeline.config.stages import ViewsConfig
from slt_pipeline.corpora.frames import EvalClips, EvalItem, opened
from slt_pipeline.corpora.unreadable import UNREADABLE, reason_of
from slt_pipeline.video.sampling import spaced_windows
from slt_pipeline.video.transforms import center_crop


@dataclass(frozen=True)
class ViewClips(EvalClips):
    """Clips for the validation of a classifier, by index: their views, one behind the other."""

    views: ViewsConfig = field(kw_only=True)

    def __getitem__(self, index: int) -> EvalItem:
        """Return an item whose pixels are `views.frames` frames of each view in time and, inside of it, each crop."""
        try:
            return EvalItem("", self._pixels(index), None)
        except UNREADABLE as error:
            return EvalItem("", None, reason_of(error))

    def _pixels(self, index: int) -> torch.Tensor:
        video = opened(self.clips[index], self.root, self.config, self.shape)
        windows = spaced_windows(video.num_frames, self.views.frames, self.views.views)
        needed = np.unique(np.concatenate(windows))
        frames = video.read(needed)  # decoded once, whatever the views share
        views = [frames[np.searchsorted(needed, window)] for window in windows]
        return torch.from_numpy(np.concatenate([crop for view in views for crop in self._crops(view)]))

    def _crops(self, frames: np.ndarray) -> list[np.ndarray]:
        """Return squares of frames (T, H, W, 3): the middle, or three along the longer side, end to end."""
        size = self.config.transform.center_crop
        if self.views.crops == 1:
            return [np.stack([center_crop(frame, size) for frame in frames])]
        height, width = frames.shape[1:3]
        side = min(height, width, size or height)
        down, right = height - side, width - side
        tops = [round(down / 2)] * 3 if width >= height else [0, round(down / 2), down]
        lefts = [0, round(right / 2), right] if width >= height else [round(right / 2)] * 3
        corners = zip(tops, lefts, strict=True)
        return [frames[:, top : top + side, left : left + side] for top, left in corners]
