"""Real recordings: mp4 and gif, other sizes and frame rates."""

import os
from pathlib import Path

import pytest

from slt_pipeline.video.reader import open_video

DATA = Path(os.environ.get("SLT_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="real clips: ../shared/data is absent, SLT_TEST_DATA not set")


@pytest.mark.parametrize(
    ("name", "num_frames", "width", "height", "fps"),
    [
        ("asl_sentence_sign-translate.mp4", 107, 320, 240, 25.0),
        ("asl_dailymoth_0043626.gif", 181, 224, 224, 24.0),
        ("asl_house.gif", 73, 320, 240, 25.0),
        ("wave_pose-format_test.mp4", 58, 540, 720, 29.92),
    ],
)
def test_real_clip(name, num_frames, width, height, fps):
    video = open_video(f"videos/{name}", DATA)
    assert (video.num_frames, video.width, video.height) == (num_frames, width, height)
    assert video.fps == pytest.approx(fps, abs=0.01)
    assert len(video.read([num_frames - 1, 0])) == 2


def test_real_phoenix_frames():
    video = open_video("phoenix-2014t/real_sample/images%04d.png", DATA)
    assert (video.num_frames, video.width, video.height) == (2, 210, 260)
    assert video.read().std() > 20
