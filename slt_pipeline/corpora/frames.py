"""Clips as training items: frames and glosses, read from video.

B clips, T frames, S pixels of a side after cropping, L glosses.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from slt_pipeline.config.video import VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.video.reader import open_video
from slt_pipeline.video.sampling import eval_indices, train_indices
from slt_pipeline.video.transforms import EvalTransform, TrainTransform, pad_frames


class ClipDataset(Dataset):
    """Training items by (epoch, index): sampled, cropped and jittered by a generator seeded with (seed, epoch, index).

    An item is therefore the same whoever makes it and whenever, which is what an exact resume needs.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        root: Path,
        config: VideoConfig,
        *,
        encode: Callable[[Clip], list[int]],
        seed: int,
    ):
        self.clips, self.root, self.config = list(clips), root, config
        self.encode, self.seed = encode, seed
        self.transform = TrainTransform(config.transform)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        clip = self.clips[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        video = open_video(clip.video, self.root)
        frames = video.read(train_indices(video.num_frames, self.config.sampling, rng))
        return {"frames": self.transform(frames, rng), "gloss_ids": self.encode(clip)}


def collate_clips(items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Items to frames (B,3,T,S,S), frame_lengths (B,), gloss_ids (B,L) and gloss_lengths (B,)."""
    frames, frame_lengths = pad_frames([item["frames"] for item in items])
    gloss_ids, gloss_lengths = pad_ids([item["gloss_ids"] for item in items], pad_id=0)
    return {"frames": frames, "frame_lengths": frame_lengths, "gloss_ids": gloss_ids, "gloss_lengths": gloss_lengths}


class EvalFrames:
    """A clip's frames as evaluation and extraction see them: all of them, centre-cropped, nothing drawn."""

    def __init__(self, config: VideoConfig):
        self.config = config
        self.transform = EvalTransform(config.transform)

    def __call__(self, reference: str, root: Path | None) -> torch.Tensor:
        """Frames (3,T,S,S), T a multiple of 4.

        **Raises:** SltError for a video that cannot be read, or that is too short for a single step of the encoder.
        """
        video = open_video(reference, root)
        indices = eval_indices(video.num_frames, self.config.sampling)
        if len(indices) == 0:
            least = self.config.sampling.multiple
            raise SltError(f"{video.name}: {video.num_frames} frames, at least {least} are needed; leave the clip out")
        return self.transform(video.read(indices))
