"""One interface over folders, numbered pictures, zips and video files; one clear error for each way to be broken."""

import errno
import os
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from slt_pipeline.errors import SltError
from slt_pipeline.video.base import decoded_length
from slt_pipeline.video.pictures import natural_key
from slt_pipeline.video.reader import open_video, require_media

SIZE = (48, 64)
"""height, width"""


def picture(index, size=SIZE):
    """A smooth picture that differs from every other index, so that lossy codecs keep it recognisable."""
    height, width = size
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = index * 20 % 256
    frame[..., 1] = np.linspace(0, 250, width, dtype=np.uint8)
    frame[: height // 2, :, 2] = 200
    return frame


def write_video(path, num_frames=12, codec="libx264", pix_fmt="yuv444p", fps=25, size=SIZE, rotation=0, options=None):
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options={"qp": "0"} if codec == "libx264" else {})
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")))
        container.mux(stream.encode())
    return path


def write_audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_pictures(folder, name="images{:04d}.png", num_frames=12, start=1):
    folder.mkdir(parents=True)
    for index in range(num_frames):
        Image.fromarray(picture(index)).save(folder / name.format(index + start))
    return folder


def write_zip(path, folder, prefix):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{prefix}/{file.name}")
    return path


@pytest.fixture(params=["folder", "from 0", "from 1", "zip pattern", "zip folder", "mp4", "gif", "webm", "mkv", "avi"])
def clip(request, tmp_path):
    """(reference, tolerance): the same twelve pictures in every form."""
    kind = request.param
    if kind in ("mp4", "mkv"):
        write_video(tmp_path / f"a.{kind}")
        return f"a.{kind}", 4
    if kind == "avi":
        write_video(tmp_path / "a.avi", codec="ffv1", pix_fmt="yuv444p")
        return "a.avi", 4
    if kind == "webm":
        write_video(tmp_path / "a.webm", codec="libvpx-vp9", pix_fmt="yuv420p")
        return "a.webm", 40
    if kind == "gif":
        write_video(tmp_path / "a.gif", codec="gif", pix_fmt="rgb8")
        return "a.gif", 90
    start = 0 if kind == "from 0" else 1
    folder = write_pictures(tmp_path / "frames" / "a", start=start)
    if kind == "folder":
        (folder / "notes.txt").write_text("not a frame")
        return "frames/a", 0
    if "zip" in kind:
        write_zip(tmp_path / "a.zip", folder, "images/dev/a")
        return "a.zip!images/dev/a" + ("/images%04d.png" if kind == "zip pattern" else ""), 0
    return "frames/a/images%04d.png", 0


def assert_pictures(frames, indices, tolerance):
    assert frames.dtype == np.uint8 and frames.shape == (len(indices), *SIZE, 3)
    want = np.stack([picture(index) for index in indices]).astype(int)
    assert np.abs(frames.astype(int) - want).max() <= tolerance


def test_every_form_gives_the_same_frames(tmp_path, clip):
    reference, tolerance = clip
    video = open_video(reference, tmp_path)
    assert (video.num_frames, video.width, video.height, video.fps) == (12, SIZE[1], SIZE[0], 25.0)
    assert_pictures(video.read(), range(12), tolerance)


def test_reading_some_frames_in_any_order_with_repeats(tmp_path, clip):
    reference, tolerance = clip
    video = open_video(reference, tmp_path)
    whole = video.read()
    for indices in ([3, 3, 11, 0, 5], [11], [0, 1, 2], list(range(11, -1, -1))):
        assert np.array_equal(open_video(reference, tmp_path).read(indices), whole[indices])
        assert np.array_equal(video.read(np.array(indices)), whole[indices])
    assert video.read([]).shape == (0, *SIZE, 3)
    assert tolerance == 0 or len(np.unique(whole[:, 0, 0, 0])) > 5


def test_counting_before_reading_changes_nothing(tmp_path, clip):
    reference, _ = clip
    counted = open_video(reference, tmp_path)
    assert counted.num_frames == 12
    assert np.array_equal(counted.read(), open_video(reference, tmp_path).read())


@pytest.mark.parametrize("index", [12, -1])
def test_frame_that_does_not_exist_is_an_error(tmp_path, clip, index):
    reference, _ = clip
    with pytest.raises(SltError, match=f"frame {index} was asked for"):
        open_video(reference, tmp_path).read([0, index])


def test_natural_order_of_frames():
    assert sorted(["f10.png", "f2.png", "f1.png"], key=natural_key) == ["f1.png", "f2.png", "f10.png"]


def test_rotation_of_the_file_is_applied(tmp_path):
    straight = open_video(write_video(tmp_path / "a.mp4")).read()
    turned = open_video(write_video(tmp_path / "b.mp4", rotation=90))
    assert (turned.width, turned.height) == SIZE
    assert np.array_equal(turned.read(), np.rot90(straight, 1, axes=(1, 2)))


def test_frame_rate_of_the_file(tmp_path):
    assert open_video(write_video(tmp_path / "a.mp4", fps=30)).fps == 30.0


def test_frames_that_the_container_claims_and_does_not_have_are_an_error(tmp_path):
    """The second half of the frames is blank: the header still claims forty."""
    path = write_video(tmp_path / "a.mp4", num_frames=40, options={"movflags": "faststart"})
    data = path.read_bytes()
    start = data.index(b"mdat")
    cut = data[: start + 4 + (len(data) - start) // 2]
    broken = tmp_path / "b.mp4"
    broken.write_bytes(cut + bytes(len(data) - len(cut)))
    with pytest.raises(SltError, match=r"b\.mp4: (damaged|not a readable)"):
        open_video(broken).read()
    with pytest.raises(SltError, match=r"b\.mp4"):
        decoded_length(open_video(broken))


@pytest.mark.parametrize("suffix", ["mp4", "webm", "mkv", "avi", "gif"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_file_is_an_error(tmp_path, suffix, kept):
    codec = {"webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "rgb8")}.get(suffix, ("libx264", "yuv444p"))
    data = write_video(tmp_path / f"a.{suffix}", 20, *codec).read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(SltError, match=rf"cut\.{suffix}: .*(cut short|damaged|not a readable)"):
        open_video(cut).read()


def test_files_that_are_no_video_give_one_line_with_the_path(tmp_path):
    (tmp_path / "text.mp4").write_text("this is a text, not a film\n" * 100)
    (tmp_path / "text.txt").write_text("FFmpeg would show a text file as a film\n" * 100)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:10,\nother.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    write_audio(tmp_path / "audio.mp4")
    (tmp_path / "nothing").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "frames.zip").write_bytes(b"PK")
    expected = {
        "text.mp4": "not a readable video",
        "text.txt": "not a readable video",
        "list.m3u8": "not a readable video",
        "empty.mp4": "empty",
        "noise.mp4": "not a readable video",
        "audio.mp4": r"no video \(only audio\)",
        "missing.mp4": "no such video",
        "nothing": "no pictures",
        "pipe.mp4": "neither a file nor a folder",
        "frames%04d.png": "no such numbered pictures",
        "missing.zip!a": "no such zip",
        "frames.zip": r"is an archive; name the folder of pictures in it: '.*frames\.zip!FOLDER'",
        "text.mp4!a": "no such video",
    }
    for name, message in expected.items():
        with pytest.raises(SltError, match=message) as raised:
            open_video(tmp_path / name)
        assert str(tmp_path / name.split("!")[0]) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_nothing_but_our_line_reaches_the_terminal(tmp_path, capfd):
    (tmp_path / "text.mp4").write_text("not a film")
    with pytest.raises(SltError):
        open_video(tmp_path / "text.mp4")
    assert capfd.readouterr() == ("", "")


def test_video_file_whose_name_has_a_percent_sign_or_a_url_is_a_plain_file(tmp_path):
    path = write_video(tmp_path / "a%04d.mp4")
    assert open_video(path).num_frames == 12
    with pytest.raises(SltError, match="no such video"):
        open_video("https://example.org/a.mp4")


def test_pictures_of_another_size_are_an_error(tmp_path):
    folder = write_pictures(tmp_path / "a")
    Image.fromarray(picture(3, (20, 20))).save(folder / "images0004.png")
    with pytest.raises(SltError, match=r"images0004\.png is 20x20, the first frame 64x48"):
        open_video(folder).read()


def test_gap_in_the_numbers_is_an_error(tmp_path):
    (write_pictures(tmp_path / "a") / "images0005.png").unlink()
    with pytest.raises(SltError, match=r"images0005\.png is missing"):
        open_video("a/images%04d.png", tmp_path)


def test_truncated_picture_is_an_error(tmp_path):
    file = write_pictures(tmp_path / "a") / "images0007.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(SltError, match=r"images0007\.png is not a readable picture"):
        open_video(tmp_path / "a").read()


def test_damaged_zip_member_is_an_error(tmp_path):
    folder = write_pictures(tmp_path / "a")
    archive = write_zip(tmp_path / "a.zip", folder, "a")
    data = bytearray(archive.read_bytes())
    at = data.index((folder / "images0003.png").read_bytes()) + 40
    data[at] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(SltError, match=r"a\.zip!a/images0003\.png: cannot be unpacked"):
        open_video(f"{archive}!a/images%04d.png").read()
    archive.write_bytes(data[: len(data) // 2])
    with pytest.raises(SltError, match=r"a\.zip: not a readable zip"):
        open_video(f"{archive}!a/images%04d.png")


@pytest.mark.parametrize(
    "reference", ["../a.mp4", "b/../../a.mp4", "/etc/hostname", "x.zip!../a", "x.zip!/a", "a\0b", ""]
)
def test_reference_may_not_leave_the_media_root(tmp_path, reference):
    root = tmp_path / "root"
    root.mkdir()
    write_video(tmp_path / "a.mp4")
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        archive.writestr("../a/1.png", b"")
    with pytest.raises(SltError):
        open_video(reference, root)


def test_symbolic_link_out_of_the_media_root_is_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    write_video(tmp_path / "a.mp4")
    outside = write_pictures(tmp_path / "outside")
    (root / "link.mp4").symlink_to(tmp_path / "a.mp4")
    (root / "frames").symlink_to(outside)
    (root / "inner").mkdir()
    (root / "inner" / "images0001.png").symlink_to(outside / "images0001.png")
    for reference in ("link.mp4", "frames", "frames/images%04d.png", "inner", "inner/images%04d.png"):
        with pytest.raises(SltError, match="leads out of the media root"):
            open_video(reference, root)
    assert open_video(root / "link.mp4").num_frames == 12  # the user's own path is the user's business


def test_zip_is_opened_once_and_again_after_a_fork(tmp_path):
    archive = write_zip(tmp_path / "a.zip", write_pictures(tmp_path / "a"), "a")
    reference = f"{archive}!a/images%04d.png"
    whole = open_video(reference).read()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(open_video(reference).read(), whole) for _ in range(5))
        os.write(writer, b"same" if same else b"diff")
        os._exit(0)
    assert all(np.array_equal(open_video(reference).read(), whole) for _ in range(5))
    os.waitpid(child, 0)
    assert os.read(reader, 4) == b"same"


@pytest.mark.parametrize(
    "behind", [b"\n", b"Made by ScreenCam 2.1", b'{"device": "x"}', bytes(100), b"https://example.org/"]
)
@pytest.mark.parametrize("suffix", ["mp4", "gif", "webm"])
def test_what_a_tool_put_behind_a_whole_file_makes_it_no_incomplete_one(tmp_path, suffix, behind):
    codec = {"webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "rgb8")}.get(suffix, ("libx264", "yuv444p"))
    path = write_video(tmp_path / f"a.{suffix}", 12, *codec)
    path.write_bytes(path.read_bytes() + behind)
    assert decoded_length(open_video(path)) == 12


def test_gif_that_lacks_its_end_mark_alone_is_read(tmp_path):
    path = write_video(tmp_path / "a.gif", 12, "gif", "rgb8")
    path.write_bytes(path.read_bytes().removesuffix(b";"))
    assert decoded_length(open_video(path)) == 12


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "x" * 5000, "y" * 300 + ".zip!a", "a/" + "z" * 300 + "/%04d.png"])
@pytest.mark.parametrize("inside", [True, False])
def test_name_that_is_too_long_is_one_line(tmp_path, name, inside):
    for look in (open_video, require_media):
        with pytest.raises(SltError, match=r"File name too long|does not exist") as raised:
            look(name if inside else tmp_path / name, tmp_path if inside else None)
        assert name.split("!")[0] in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("form", ["a.mp4", "a", "a/images%04d.png", "a.zip!a"])
def test_what_the_system_refuses_is_one_line_with_the_name(tmp_path, monkeypatch, form, number):
    write_video(tmp_path / "a.mp4")
    write_zip(tmp_path / "a.zip", write_pictures(tmp_path / "a"), "a")

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SltError, match=rf"a.*{os.strerror(number)}"):
        open_video(form, tmp_path)
