"""Clips as training items: frames, read from video, and labels. B clips, T frames, H and W pixels after cropping."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from slt_pipeline.config.video import VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.labels import Labeller, padding_of
from slt_pipeline.corpora.padding import Padding, repeated
from slt_pipeline.errors import SltError
from slt_pipeline.video.reader import open_video
from slt_pipeline.video.sampling import eval_indices, train_indices
from slt_pipeline.video.transforms import EvalTransform, TrainTransform, pad_frames


class ClipDataset(Dataset):
    """Training items by (epoch, index): sampled, cropped and jittered by a generator seeded with (seed, epoch, index).

    An item is therefore the same whoever makes it and whenever, which is what an exact resume needs.
    """

    def __init__(self, clips: Sequence[Clip], root: Path, config: VideoConfig, seed: int):
        self.clips, self.root, self.config, self.seed = list(clips), root, config, seed
        self.transform = TrainTransform(config.transform)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, Clip]:
        """Return the frames (3, T, H, W) of a clip, and the clip."""
        epoch, index = key
        clip = self.clips[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        video = open_video(clip.video, self.root)
        frames = video.read(train_indices(video.num_frames, self.config.sampling, rng))
        return self.transform(frames, rng), clip


@dataclass(frozen=True)
class FrameBatches:
    """Collate function of `ClipDataset`: frames padded to one length, and what the labeller makes of the clips."""

    labels: Labeller

    def __call__(self, items: Sequence[tuple[torch.Tensor, Clip]]) -> dict[str, torch.Tensor]:
        """Return `frames (B, 3, T, H, W)`, `frame_lengths (B,)` and the labels."""
        frames, frame_lengths = pad_frames([frames for frames, _ in items])
        return {"frames": frames, "frame_lengths": frame_lengths, **self.labels([clip for _, clip in items])}

    @property
    def padding(self) -> dict[str, Padding]:
        """How the tensors of a batch are padded."""
        return {"frames": repeated(2), **padding_of(self.labels)}


class EvalFrames:
    """A clip's frames as evaluation and extraction see them: all of them, centre-cropped, nothing drawn."""

    def __init__(self, config: VideoConfig):
        self.config = config
        self.transform = EvalTransform(config.transform)

    def __call__(self, reference: str, root: Path | None) -> torch.Tensor:
        """Return the frames (3, T, H, W) of a media reference below `root`, T a multiple of 4.

        Raises:
            SltError: the video cannot be read, or is too short for a single step of the encoder.
        """
        video = open_video(reference, root)
        indices = eval_indices(video.num_frames, self.config.sampling)
        if len(indices) == 0:
            least = self.config.sampling.multiple
            raise SltError(f"{video.name}: {video.num_frames} frames, at least {least} are needed; leave the clip out")
        return self.transform(video.read(indices))
