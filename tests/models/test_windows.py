"""A clip in windows is the clip: S3D sees no further than the margin."""

import pytest
import torch

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.models import windows
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.windows import features_of


@pytest.fixture(scope="module")
def s3d():
    torch.manual_seed(0)
    trunk = S3D(S3DConfig(width=0.125)).eval()
    for norm in trunk.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):  # statistics of signals that do not die away on the way
            assert norm.running_var is not None
            norm.running_var.fill_(0.1)
    return lambda frames: trunk(frames, torch.full((len(frames),), frames.shape[2]))[0]


def alike(found: torch.Tensor, whole: torch.Tensor) -> bool:
    """But for the last digits: on some processors a convolution adds up in an order that depends on the length."""
    return torch.allclose(found, whole, rtol=1e-5, atol=1e-6 * float(whole.max()))


@pytest.mark.parametrize(
    ("num_frames", "size"), [(64, 64), (128, 64), (200, 64), (132, 64), (68, 64), (140, 32), (36, 32), (400, 96)]
)
def test_windows_are_the_whole(s3d, num_frames, size):
    frames = torch.rand(1, 3, num_frames, 32, 32) * 2 - 1
    with torch.inference_mode():
        whole = s3d(frames)
        found = features_of(s3d, frames.split(size, dim=2))
    assert whole.shape == (1, num_frames // 4, 104)
    assert alike(found, whole) and whole.std() > 1e-3


def test_a_margin_that_is_too_narrow_shows(s3d, monkeypatch):
    monkeypatch.setattr(windows, "MARGIN", 4)
    frames = torch.rand(1, 3, 128, 32, 32) * 2 - 1
    with torch.inference_mode():
        assert not alike(features_of(s3d, frames.split(32, dim=2)), s3d(frames))


def test_pieces_are_asked_for_one_at_a_time(s3d):
    made, most = [], []

    def pieces():
        for number in range(6):
            made.append(number)
            yield torch.rand(1, 3, 64, 32, 32)

    def noted(frames):
        most.append((len(made), frames.shape[2]))
        return s3d(frames)

    with torch.inference_mode():
        assert features_of(noted, pieces()).shape[1] == 6 * 16
    assert [seen for seen, _ in most] == [2, 3, 4, 5, 6, 6]  # the next one's margin, and no more
    assert max(frames for _, frames in most) == 64 + 2 * windows.MARGIN
