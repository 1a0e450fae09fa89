"""What the command `ffmpeg` shows of a file is what is read of it: its frames, to the last bit, at its times."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from video_files import lay

from slt_pipeline.video.reader import open_video

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the command ffmpeg is not installed")

LAVFI = ["-f", "lavfi", "-i"]
SIGNS = [*LAVFI, "testsrc2=size=96x64:rate=25:duration=0.5"]
SMALL = [*LAVFI, "testsrc=size=32x32:rate=25:duration=0.5"]
X264 = ["-c:v", "libx264", "-qp", "12"]

KINDS = {
    "interlaced.mp4": [*SIGNS, *X264, "-flags", "+ilme+ildct"],
    "ten_bits.mp4": [*SIGNS, *X264, "-pix_fmt", "yuv420p10le"],
    "hdr.mkv": [*SIGNS, *X264, "-pix_fmt", "yuv420p10le", "-colorspace", "bt2020nc", "-color_trc", "smpte2084"],
    "full_range.mp4": [*SIGNS, *X264, "-color_range", "pc", "-colorspace", "bt709"],
    "not_square.mp4": [*SIGNS, *X264, "-vf", "setsar=16/11"],
    "odd_and_not_square.mkv": [*LAVFI, "testsrc=size=97x63:rate=25:duration=0.5", "-c:v", "ffv1", "-vf", "setsar=8/9"],
    "transparent.mov": [*SIGNS, "-c:v", "qtrle", "-pix_fmt", "argb"],
    "grey_of_16_bits.mkv": [*SIGNS, "-c:v", "ffv1", "-pix_fmt", "gray16le"],
    "animated.png": [*SIGNS, "-c:v", "apng", "-f", "apng"],
    "telecine.mpg": [*SIGNS, "-vf", "telecine,setfield=tff", "-c:v", "mpeg2video", "-flags", "+ildct+ilme"],
    "gaps.mp4": [*SIGNS, *X264, "-vf", "select='not(mod(n,3))+gt(n,8)'", "-fps_mode", "vfr"],
    "begins_late.mkv": [*SIGNS, *X264, "-output_ts_offset", "3"],
    "begins_before_zero.mkv": [*SIGNS, *X264, "-output_ts_offset", "-0.2"],
    "other_order.avi": [*SIGNS, *X264, "-bf", "3"],
    "two_of_two_sizes.ts": [*SMALL, *SIGNS, "-map", "0", "-map", "1", *X264],
    "the_first_is_default.mkv": [*SMALL, *SIGNS, "-map", "0", "-map", "1", *X264, "-disposition:v:0", "default"],
    "the_second_is_default.mkv": [
        *SMALL, *SIGNS, "-map", "0", "-map", "1", *X264, "-disposition:v:0", "0", "-disposition:v:1", "default",
    ],
}  # fmt: skip


def made(path, *arguments):
    """A file that ffmpeg writes; the test is skipped where this ffmpeg cannot."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments, str(path)], capture_output=True)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot write {path.name}: {done.stderr.decode(errors='replace')[-200:]}")
    return path


def assert_as_ffmpeg(path):
    """Frames, and their times from the first, are those that ffmpeg puts out."""
    filters = "scale=iw*sar:ih,setsar=1,showinfo"
    command = ["ffmpeg", "-nostdin", "-i", str(path), "-an", "-fps_mode", "passthrough", "-vf", filters]
    done = subprocess.run([*command, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], capture_output=True, check=True)
    log = done.stderr.decode(errors="replace")
    video = open_video(path)
    frames = video.read()
    wanted = np.frombuffer(done.stdout, np.uint8).reshape(-1, *frames.shape[1:])
    times = [float(time) for time in re.findall(r"\] n: *\d+ pts: *\S+ +pts_time:(\S+)", log)]
    assert len(frames) == len(wanted) > 1 and f" s:{video.width}x{video.height} " in log
    assert np.array_equal(frames, wanted)
    assert video.times == pytest.approx(np.array(times) - times[0], abs=2e-3)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_read_as_ffmpeg_shows_it(tmp_path, name):
    assert_as_ffmpeg(made(tmp_path / name, *KINDS[name]))


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1)])
def test_pixels_that_are_not_square_are_turned_first(tmp_path, matrix):
    assert_as_ffmpeg(lay(made(tmp_path / "a.mp4", *SIGNS, *X264, "-vf", "setsar=2/1"), matrix))


def test_what_an_editor_cut_off_without_encoding_is_not_shown(tmp_path):
    whole = made(tmp_path / "whole.mp4", *SIGNS, *X264)
    assert_as_ffmpeg(made(tmp_path / "cut.mp4", "-ss", "0.2", "-i", str(whole), "-c", "copy"))


def test_a_frame_size_that_changes_on_the_way_is_scaled_to_the_first(tmp_path):
    other = [*LAVFI, "testsrc2=size=64x112:rate=25:duration=0.5"]
    first, second = made(tmp_path / "1.h264", *SIGNS, *X264), made(tmp_path / "2.h264", *other, *X264)
    both = tmp_path / "both.h264"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert_as_ffmpeg(both)


@pytest.mark.parametrize("begins", [0.5, 40000])
def test_recordings_put_together_as_files_are_one(tmp_path, begins):
    """The counters of the stream break at the joint, and its clock may begin anew, or hours later."""
    first = made(tmp_path / "1.ts", *SIGNS, *X264, "-bf", "0")
    second = made(tmp_path / "2.ts", *SIGNS, *X264, "-bf", "0", "-output_ts_offset", str(begins))
    for name, parts in (("rising", (first, second)), ("falling", (second, first))):
        whole = tmp_path / f"{name}.ts"
        whole.write_bytes(b"".join(part.read_bytes() for part in parts))
        video = open_video(whole)
        assert len(video.read()) == 26 and 0.9 < video.seconds < 1.2 and video.fps == 25


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.webm", "a.flv"])
def test_a_recording_of_unknown_length_is_whole(tmp_path, name):
    """Written into a pipe, so that nobody could go back and fill in the sizes."""
    codec = ["-c:v", "libvpx"] if name == "a.webm" else X264
    kind = {"mkv": "matroska"}.get(name[2:], name[2:])
    done = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *SIGNS, *codec, "-f", kind, "-"], capture_output=True)
    (tmp_path / name).write_bytes(done.stdout)
    assert_as_ffmpeg(tmp_path / name)
