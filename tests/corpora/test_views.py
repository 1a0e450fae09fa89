"""Clips of one length: where they begin, what shorter videos become, and which squares are cut."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from slt_pipeline.config.stages import ViewsConfig
from slt_pipeline.config.video import TransformConfig, VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import ClipDataset, EvalClips
from slt_pipeline.corpora.views import ViewClips
from slt_pipeline.video.prepared import FrameShape
from slt_pipeline.video.sampling import random_window, spaced_windows


def test_a_random_window_is_consecutive_and_begins_anywhere_with_equal_chance():
    rng = np.random.default_rng(0)
    windows = [random_window(10, 7, rng) for _ in range(400)]
    assert all(np.array_equal(window, np.arange(window[0], window[0] + 7)) for window in windows)
    starts = Counter(int(window[0]) for window in windows)
    assert set(starts) == {0, 1, 2, 3} and min(starts.values()) > 70


def test_a_shorter_video_is_repeated_to_fill():
    assert random_window(3, 8, np.random.default_rng(0)).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [window.tolist() for window in spaced_windows(3, 4, 5)] == [[0, 1, 2, 0]]
    assert random_window(8, 8, np.random.default_rng(0)).tolist() == list(range(8))


@pytest.mark.parametrize(
    ("num_frames", "number", "starts"),
    [(300, 1, [118]), (300, 2, [0, 236]), (300, 5, [0, 59, 118, 177, 236]), (66, 5, [0, 1, 2]), (64, 10, [0])],
)
def test_windows_are_evenly_spaced_from_the_first_frame_to_the_last(num_frames, number, starts):
    windows = spaced_windows(num_frames, 64, number)
    assert [int(window[0]) for window in windows] == starts
    assert all(np.array_equal(window, np.arange(window[0], window[0] + 64)) for window in windows)


@pytest.fixture
def clip(tmp_path) -> Clip:
    """Twelve pictures of 40 x 20; red counts frames, green grows to the right."""
    (tmp_path / "a").mkdir()
    for number in range(12):
        picture = np.zeros((20, 40, 3), np.uint8)
        picture[..., 0], picture[..., 1] = 10 * number, np.arange(40) * 5
        Image.fromarray(picture).save(tmp_path / "a" / f"{number}.png")
    return Clip("a", "a", 12, 25.0, "anna", ("REGEN",), None, "train")


def _video(**transform) -> VideoConfig:
    return VideoConfig(transform=TransformConfig(**{"center_crop": 20, "jitter_probability": 0, **transform}))


def _views(clip, root, video: VideoConfig, **views) -> list[torch.Tensor]:
    item = ViewClips([clip], root, video, FrameShape(25.0), views=ViewsConfig(frames=4, **views))[0]
    assert item.pixels is not None
    return list(item.pixels.split(4))


def _seen(pixels: torch.Tensor) -> tuple[list[int], int]:
    """Return which frames are in a view (T, H, W, 3), and in which column it begins."""
    return (pixels[:, 0, 0, 0] // 10).tolist(), int(pixels[0, 0, 0, 1]) // 5


def test_every_view_has_three_crops_along_the_longer_side(clip, tmp_path):
    views = _views(clip, tmp_path, _video(), views=3, crops=3)
    times = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [_seen(view) for view in views] == [(time, column) for time in times for column in (0, 10, 20)]
    assert {view.shape for view in views} == {(4, 20, 20, 3)}


def test_one_crop_is_the_one_of_evaluation(clip, tmp_path):
    (view,) = _views(clip, tmp_path, _video())
    whole = EvalClips([clip], tmp_path, _video(), FrameShape(25.0))[0].pixels
    assert _seen(view) == ([4, 5, 6, 7], 10) and whole is not None and torch.equal(view, whole[4:8])


def test_without_a_centre_crop_the_squares_are_as_high_as_the_frame(clip, tmp_path):
    assert [_seen(view)[1] for view in _views(clip, tmp_path, _video(center_crop=None), crops=3)] == [0, 10, 20]


def test_crops_are_cut_from_frames_that_were_resized_once(clip, tmp_path):
    views = _views(clip, tmp_path, _video(pre_resize=(80, 40)), crops=3)
    assert {view.shape for view in views} == {(4, 20, 20, 3)}
    assert [_seen(view)[1] for view in views] == pytest.approx([0, 15, 30], abs=1)  # columns of the original


def test_a_clip_that_cannot_be_read_says_why(clip, tmp_path):
    item = ViewClips([replace(clip, video="away")], tmp_path, _video(), FrameShape(25.0), views=ViewsConfig())[0]
    assert item.pixels is None and "no such video" in str(item.reason)


def test_training_takes_a_random_window_of_every_clip(clip, tmp_path):
    dataset = ClipDataset([clip], tmp_path, _video(), FrameShape(25.0), 3, window=8)
    windows = [_seen(dataset[(epoch, 0)].pixels)[0] for epoch in range(20)]
    assert all(window == list(range(window[0], window[0] + 8)) for window in windows)
    assert len({window[0] for window in windows}) > 2
    repeated = ClipDataset([clip], tmp_path, _video(), FrameShape(25.0), 3, window=15)[(0, 0)].pixels
    assert _seen(repeated)[0] == [*range(12), 0, 1, 2]
