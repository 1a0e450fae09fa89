"""Pictures are as ffmpeg shows them: upright, with square pixels, in their own brightness, of a size to be held."""

import gc
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from video_files import grey_pictures, lay, write_stamped

from slt_pipeline.errors import SltError
from slt_pipeline.video.reader import open_video
from slt_pipeline.video.upright import Upright

MATRICES = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p),
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
    (0, -1, -1, 0): lambda p: np.rot90(p, 2).swapaxes(0, 1),
}
ORIENTATIONS = dict(zip((1, 2, 4, 3, 6, 8, 5, 7), MATRICES.values(), strict=True))
"""What is to be done to a stored picture, by EXIF's number."""


def corners(size=(32, 48)):
    """A picture with a level of its own in each quarter."""
    picture = np.zeros((*size, 3), np.uint8)
    half, middle = size[0] // 2, size[1] // 2
    picture[:half, middle:], picture[half:, :middle], picture[half:, middle:] = 80, 160, 240
    return picture


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_video_is_turned_and_mirrored_by_its_display_matrix(tmp_path, matrix):
    video = open_video(lay(write_stamped(tmp_path / "a.mp4", [corners()] * 3, [0, 40, 80]), matrix))
    want = MATRICES[matrix](corners())
    assert (video.height, video.width) == want.shape[:2]
    (picture,) = video.frames([1])
    assert picture.flags["C_CONTIGUOUS"] and np.abs(picture.astype(int) - want).max() <= 3


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(2), 96), (Fraction(8, 9), 42), (Fraction(1, 2), 24)])
def test_pixels_are_made_square(tmp_path, aspect, width):
    video = open_video(write_stamped(tmp_path / "a.mp4", [corners()] * 3, [0, 40, 80], aspect=aspect))
    assert (video.width, video.height) == (width, 32)
    picture = video.read([2])[0]
    assert picture[4, [3, -4], 0].tolist() == pytest.approx([0, 80], abs=3)
    assert picture[-4, [3, -4], 0].tolist() == pytest.approx([160, 240], abs=3)


def test_pixels_are_made_square_after_turning(tmp_path):
    path = write_stamped(tmp_path / "a.mp4", [corners()] * 3, [0, 40, 80], aspect=Fraction(2))
    video = open_video(lay(path, (0, 1, -1, 0)))
    assert (video.width, video.height) == (16, 48) and video.read().shape == (3, 48, 16, 3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_photo_is_turned_and_mirrored_by_its_exif(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").mkdir()
    Image.fromarray(corners()).save(tmp_path / f"a/1{suffix}", exif=exif, quality=100, subsampling=0)
    picture = open_video(tmp_path / "a").read()[0]
    assert np.abs(picture.astype(int) - ORIENTATIONS[orientation](corners())).max() <= 3


def test_a_photo_with_damaged_exif_is_read(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(corners()).save(tmp_path / "a/1.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(5))
    assert open_video(tmp_path / "a").read().shape == (1, 32, 48, 3)


def test_sixteen_bits_of_grey_keep_their_brightness(tmp_path):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "a").mkdir()
    Image.fromarray(ramp).save(tmp_path / "a/1.png")
    picture = open_video(tmp_path / "a").read()[0]
    assert np.abs(picture[..., 0] - ramp / 257).max() <= 0.5 and np.all(picture == picture[..., :1])


def test_a_palette_with_alpha_keeps_its_colours_and_says_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    coloured = Image.fromarray(corners()).quantize(16)
    coloured.save(tmp_path / "a/1.png", transparency=bytes(range(16)))
    assert np.array_equal(open_video(tmp_path / "a").read()[0], np.asarray(coloured.convert("RGB")))


@pytest.mark.parametrize("limit", [1000, 500])
@pytest.mark.parametrize("kind", ["video", "folder"])
def test_pictures_and_frames_share_one_limit_of_pixels(tmp_path, monkeypatch, picture_folder, limit, kind):
    folder = picture_folder(tmp_path / "a", [corners()])
    path = write_stamped(tmp_path / "a.mp4", [corners()], [0]) if kind == "video" else folder
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(SltError, match=rf"a.* 1536 pixels, at most {limit} are read"):
        open_video(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1536)
    assert open_video(path).num_frames == 1


def test_too_little_memory_is_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    video = open_video(write_stamped(tmp_path / "a.mp4", grey_pictures(3), [0, 40, 80]))
    monkeypatch.setattr(Upright, "picture", fail)
    with pytest.raises(SltError, match=r"a\.mp4: not enough memory for a frame of 48x32"):
        video.read()
    monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(SltError, match=r"a\.mp4: not enough memory for 3 frames of 48x32 at once"):
        video.read()


def test_a_frame_is_let_go_when_the_next_one_comes(tmp_path):
    """Not when the collector of cycles runs: a frame of a film is megabytes that it knows nothing of."""
    pictures = [np.full((32, 48, 3), 5 * number, np.uint8) for number in range(40)]
    write_stamped(tmp_path / "a.mp4", pictures, range(0, 1600, 40))
    gc.collect()
    gc.disable()
    try:
        before, *alive = (
            sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
            for _ in open_video(tmp_path / "a.mp4").frames(range(40))
        )
    finally:
        gc.enable()
    assert max(alive) < before + 5
