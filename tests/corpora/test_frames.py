import numpy as np
import pytest
from PIL import Image

from slt_pipeline.config.video import TransformConfig, VideoConfig
from slt_pipeline.corpora.frames import EvalFrames
from slt_pipeline.errors import SltError

CONFIG = VideoConfig(transform=TransformConfig(center_crop=None, image_size=16))


def _clip(folder, num_frames):
    folder.mkdir()
    for number in range(num_frames):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / f"{number}.png")


def test_frames_for_evaluation_are_a_multiple_of_four(tmp_path):
    _clip(tmp_path / "a", 6)
    assert EvalFrames(CONFIG)("a", tmp_path).shape == (3, 4, 16, 16)


def test_a_clip_shorter_than_one_step_is_refused_by_name(tmp_path):
    _clip(tmp_path / "a", 3)
    with pytest.raises(SltError, match=r"a: 3 frames, at least 4 are needed"):
        EvalFrames(CONFIG)("a", tmp_path)
