"""A video by torchcodec is the one by PyAV, which decodes what torchcodec would show otherwise."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from video_files import copy_packets, grey_pictures, lay, levels, write_stamped

from slt_pipeline.errors import SltError
from slt_pipeline.video import by_torchcodec
from slt_pipeline.video.by_torchcodec import chosen_decoder
from slt_pipeline.video.container import ContainerVideo
from slt_pipeline.video.reader import open_video

PHONE = [0, 33, 66, 100, 133, 300, 333, 366, 700, 716, 733, 750]


class Fake:
    """A decoder with torchcodec's methods whose frames are a little brighter, so that one sees who decoded them."""

    cpu_fallback = False
    lost, late, broken = 0, 0.0, False

    def __init__(self, source, *, stream_index=None, dimension_order="NCHW", device=None):
        if not isinstance(source, bytes):
            assert dimension_order == "NHWC" and stream_index == 0
            self.video = ContainerVideo(Path(source))

    def __len__(self):
        return self.video.num_frames - self.lost

    def get_frame_at(self, index):
        return SimpleNamespace(pts_seconds=3.0)

    def get_frames_at(self, indices):
        if self.broken and 5 in indices:
            raise RuntimeError("cannot decode")
        times = torch.from_numpy(self.video.times[indices] + 3 + self.late)
        return SimpleNamespace(data=torch.from_numpy(self.video.read(indices) + 2), pts_seconds=times)


@pytest.fixture
def fake(monkeypatch):
    class Own(Fake):
        pass

    monkeypatch.setattr(by_torchcodec, "_decoders", lambda: SimpleNamespace(VideoDecoder=Own))
    monkeypatch.setattr(by_torchcodec, "_AT_ONCE", 2 * 32 * 48)
    by_torchcodec._lacking.cache_clear()
    yield Own
    by_torchcodec._lacking.cache_clear()


def phone_video(folder, **options):
    return write_stamped(folder / "a.mp4", grey_pictures(12), PHONE, **options)


def brighter(path, indices=range(12)):
    """Of each frame, by how much it is brighter than PyAV's."""
    pairs = zip(*(levels(open_video(path, decode_on=on).frames(indices)) for on in ("cpu", None)), strict=True)
    return [ours - pyav for ours, pyav in pairs]


def test_frames_come_in_order_and_as_often_as_they_are_asked_for(tmp_path, fake):
    path = phone_video(tmp_path)
    asked = [0, 0, 3, 4, 4, 4, 9, 11]
    assert brighter(path, asked) == [2] * 8 and brighter(path, []) == []
    assert open_video(path, decode_on="cpu").times.tolist() == open_video(path).times.tolist()


@pytest.mark.parametrize("broken", [{"lost": 1}, {"late": 0.01}])
def test_frames_that_are_not_those_of_the_packets_are_left_to_pyav(tmp_path, fake, broken):
    for name, value in broken.items():
        setattr(fake, name, value)
    assert brighter(phone_video(tmp_path)) == [0] * 12


def test_the_rest_of_a_video_that_it_stumbles_over_is_left_to_pyav(tmp_path, fake):
    fake.broken = True
    assert brighter(phone_video(tmp_path)) == [2] * 4 + [0] * 8


def test_mirrored_pictures_and_pixels_that_are_not_square_are_left_to_pyav(tmp_path, fake):
    assert set(brighter(phone_video(tmp_path, aspect=Fraction(2)))) == {0}
    assert set(brighter(lay(phone_video(tmp_path), (-1, 0, 0, 1)))) == {0}
    assert set(brighter(lay(phone_video(tmp_path), (-1, 0, 0, -1)))) == {2}


def test_the_decoder_is_chosen_once_and_by_name(tmp_path, fake):
    assert [chosen_decoder(wanted, "cpu") for wanted in ("pyav", "auto", "torchcodec")] == [
        "pyav",
        "pyav",
        "torchcodec",
    ]
    assert [chosen_decoder(wanted, "cuda:0") for wanted in ("pyav", "auto")] == ["pyav", "torchcodec"]
    fake.cpu_fallback = True
    by_torchcodec._lacking.cache_clear()
    assert chosen_decoder("auto", "cuda:0") == "pyav"
    with pytest.raises(SltError, match=r"cannot decode on cuda:0: the GPU decodes no H\.264 here; .*use pyav"):
        chosen_decoder("torchcodec", "cuda:0")


def test_torchcodec_that_is_not_there_is_named_with_the_cure(monkeypatch, fake):
    def missing():
        raise ImportError("No module named 'torchcodec'")

    monkeypatch.setattr(by_torchcodec, "_decoders", missing)
    assert chosen_decoder("auto", "cuda:0") == "pyav"
    with pytest.raises(
        SltError, match=r"No module named 'torchcodec'; install it with pip install 'slt-pipeline\[gpu\]'"
    ):
        chosen_decoder("torchcodec", "cpu")


@pytest.fixture(scope="module")
def really():
    pytest.importorskip("torchcodec", reason="torchcodec is not installed (the extra `gpu`)")
    try:
        chosen_decoder("torchcodec", "cpu")
    except SltError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("really")
@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (0, 1, 1, 0)])
def test_torchcodec_shows_what_pyav_shows(tmp_path, matrix):
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 255, (12, 8, 12, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2))
    path = lay(write_stamped(tmp_path / "a.mp4", pictures, PHONE), matrix)
    ours, pyav = open_video(path, decode_on="cpu"), open_video(path)
    assert (ours.times.tolist(), ours.width, ours.height) == (pyav.times.tolist(), pyav.width, pyav.height)
    asked = [0, 1, 1, 5, 11]
    assert np.abs(ours.read(asked).astype(int) - pyav.read(asked)).max() <= 2


@pytest.mark.usefixtures("really")
def test_what_torchcodec_cannot_read_is_read(tmp_path):
    source = write_stamped(tmp_path / "a.webm", grey_pictures(12), [40 * i for i in range(12)], codec="libvpx")
    path = copy_packets(tmp_path / "b.webm", source, hidden=(5, 11))
    assert np.array_equal(open_video(path, decode_on="cpu").read(), open_video(path).read())
