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


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_of_grey_are_turned_too(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").mkdir()
    Image.fromarray(corners()[..., 0].astype(np.uint16) * 257).save(tmp_path / f"a/1{suffix}", exif=exif)
    assert np.array_equal(open_video(tmp_path / "a").read()[0], ORIENTATIONS[orientation](corners()))


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *((".png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *((".tif", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B")),
        *((".bmp", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
        *((".jpg", mode) for mode in ("L", "RGB", "CMYK")),
        *((".webp", mode) for mode in ("RGB", "RGBA")),
    ],
)
def test_every_kind_of_pixels_keeps_its_brightness(tmp_path, mode, suffix):
    deep = {"I;16": "<u2", "I;16B": ">u2"}.get(mode)
    grey = corners()[..., 0] // 200 * 255 if mode == "1" else corners()[..., 0]
    picture = Image.fromarray((grey.astype(np.uint16) * 257).astype(deep) if deep else np.stack([grey] * 3, 2))
    (tmp_path / "a").mkdir()
    picture = picture if deep else picture.quantize(8) if mode == "P" else picture.convert(mode)
    picture.save(tmp_path / f"a/1{suffix}", quality=100, lossless=True)
    assert np.abs(open_video(tmp_path / "a").read()[0][..., 1].astype(int) - grey).max() <= 2


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.ones((32, 48), np.float32), "more than 16 bits"),
        (np.ones((32, 48), np.int32), "more than 16 bits"),
    ],
)
def test_pixels_whose_brightness_nobody_knows_are_refused_by_name(tmp_path, pixels, said):
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a/1.tif")
    with pytest.raises(SltError, match=rf"frame 1\.tif is not a readable picture: pixels of {said}"):
        open_video(tmp_path / "a")


def test_a_tiff_whose_grey_is_inverted_is_refused_by_name(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a/1.tif"
    Image.fromarray(corners()[..., 0].astype(np.uint16) * 257).save(file, tiffinfo={262: 0})
    data = file.read_bytes()
    meaning = b"\x06\x01\x03\x00\x01\x00\x00\x00"
    file.write_bytes(data.replace(meaning + b"\x01", meaning + b"\x00"))
    with pytest.raises(SltError, match="grey of 16 bits, kind 0, that is not read; save it in 8 bits"):
        open_video(tmp_path / "a")


def test_a_program_named_as_a_picture_is_not_run(tmp_path):
    """Pillow gives PostScript to Ghostscript."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(SltError, match=r"1\.png is not a readable picture: cannot identify"):
        open_video(tmp_path / "a")


def test_colours_that_ffmpeg_cannot_convert_are_one_line(tmp_path):
    path = write_stamped(tmp_path / "a.mp4", [corners()] * 3, [0, 40, 80], options={"colorspace": "ycgco"})
    with pytest.raises(SltError, match=r"a\.mp4: its pixels \(yuv420p, colour matrix 8\) cannot be converted"):
        open_video(path).read()
