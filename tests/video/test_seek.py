"""A part of a long video is read without decoding the rest, and is what a pass from the first frame shows."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import grey_pictures, write_stamped

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.footage import open_clip
from slt_pipeline.errors import SltError
from slt_pipeline.video.base import decoded_length
from slt_pipeline.video.container import ContainerVideo
from slt_pipeline.video.reader import open_video

B_FRAMES = {"g": "12", "bf": "3"}
OPEN = B_FRAMES | {"x264-params": "open-gop=1:b-pyramid=normal:log-level=none"}
HEVC = {"x265-params": "keyint=12:bframes=4:open-gop=1:log-level=none:pools=1:frame-threads=1"}
INTRA_REFRESH = {"g": "24", "x264-params": "intra-refresh=1"}


@pytest.fixture
def decoded(monkeypatch) -> list[int | None]:
    """Time stamps of all frames that are decoded, in that order."""
    stamps = []
    decode = ContainerVideo._decoded

    def counted(self, *entry):
        for frame in decode(self, *entry):
            stamps.append(frame.pts)
            yield frame

    monkeypatch.setattr(ContainerVideo, "_decoded", counted)
    return stamps


def write(path, codec="libx264", count=60, *, options=None, stamps=None, rate=25, pixels="yuv420p", gop=12, bf=0):
    """Encode moving pictures; `stamps` are milliseconds, of a recording whose rate varies."""
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        if not options:
            stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, bf
        unit = Fraction(1, 1000) if stamps is not None else Fraction(1, rate)
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = unit
        for number in range(count):
            picture = np.roll(still, 2 * number, 1)
            picture[:12] = 4 * number % 256
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (number if stamps is None else stamps[number]), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut_by_edit_list(path, source, frames):
    """Copy packets so that the first frames are before time 0: the container says by an edit list to hide them."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                back = int(frames / 25 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - back, packet.dts - back, stream
                new.mux(packet)
    return path


def from_the_first_frame(path, monkeypatch) -> np.ndarray:
    """All frames, by a pass that knows of no key frames."""
    with monkeypatch.context() as patch:
        patch.setattr(ContainerVideo, "_sought", lambda *_: iter(()))
        return open_video(path).read()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("b-frames.mp4", {"options": B_FRAMES}),
        ("open-gop.mp4", {"options": OPEN}),
        ("open-gop.mkv", {"options": OPEN}),
        ("open-gop.ts", {"options": OPEN}),
        ("fragments.mp4", {"options": B_FRAMES | {"movflags": "frag_keyframe+empty_moov"}}),
        ("open-gop-hevc.mp4", {"codec": "libx265", "options": HEVC}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"g": "15", "cpu-used": "8", "lag-in-frames": "10"}}),
        ("mpeg4.avi", {"codec": "mpeg4", "bf": 2}),
        ("mpeg2.mkv", {"codec": "mpeg2video", "bf": 2}),
        ("every-frame-alone.mov", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("varying-rate.mp4", {"options": B_FRAMES, "stamps": np.cumsum([17, 71, 33] * 20).tolist()}),
    ],
)
def test_any_part_is_bit_by_bit_that_of_the_whole(tmp_path, monkeypatch, decoded, name, arguments):
    path = write(tmp_path / name, **arguments)
    whole = from_the_first_frame(path, monkeypatch)
    for first in (1, 13, 25, 38, 59):
        part = range(first, min(60, first + 9))
        assert np.array_equal(open_video(path).read(part), whole[part]), first
    decoded.clear()
    assert np.array_equal(open_video(path).read([59, 58, 59]), whole[[59, 58, 59]])
    assert len(decoded) < 30  # of 60


@pytest.mark.parametrize("hidden", [7, 30])
def test_a_video_whose_beginning_an_edit_list_hides(tmp_path, monkeypatch, decoded, hidden):
    path = cut_by_edit_list(tmp_path / "cut.mp4", write(tmp_path / "whole.mp4", options=OPEN), hidden)
    whole = from_the_first_frame(path, monkeypatch)
    assert len(whole) == 60 - hidden
    for first in (1, 13, 25):
        assert np.array_equal(open_video(path).read(range(first, first + 5)), whole[first : first + 5])
    decoded.clear()
    open_video(path).read([len(whole) - 1])
    assert len(decoded) < 30


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("each-on-the-one-before.gif", {"codec": "gif", "pixels": "rgb8"}),
        ("each-called-a-key-frame.apng", {"codec": "apng", "pixels": "rgb24"}),
        ("each-called-a-key-frame.avi", {"codec": "h263p"}),
        ("intra-refresh.mp4", {"options": INTRA_REFRESH}),  # its key frames are columns of one picture after another
        ("no-stamps.avi", {"options": B_FRAMES}),
        ("windows.wmv", {"codec": "wmv2"}),
    ],
)
def test_where_no_key_frame_can_be_trusted_all_is_decoded_and_right(tmp_path, monkeypatch, name, arguments):
    path = write(tmp_path / name, **arguments)
    whole = from_the_first_frame(path, monkeypatch)
    for first in (13, 30, 55):
        assert np.array_equal(open_video(path).read(range(first, first + 4)), whole[first : first + 4])


def test_a_container_that_does_not_lead_to_the_key_frame_is_read_from_the_start(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", options=B_FRAMES)
    whole = from_the_first_frame(path, monkeypatch)
    for behind in (0, 10**9):
        monkeypatch.setattr("slt_pipeline.video.container.Packets.entry", lambda *_, place=behind: (2**40, place))
        assert np.array_equal(open_video(path).read(range(40, 44)), whole[40:44])


def test_damage_before_a_part_is_no_part_of_it_and_damage_inside_is_told(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", options=B_FRAMES)
    whole = from_the_first_frame(path, monkeypatch)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    place, size = packets[15]
    content[place + 4 : place + size] = b"\xff" * (size - 4)
    path.write_bytes(content)
    assert np.array_equal(open_video(path).read(range(48, 52)), whole[48:52])
    with pytest.raises(SltError, match="damaged after"):
        open_video(path).read(range(13, 30))


def test_the_last_second_of_ten_minutes_does_not_decode_the_rest(tmp_path, decoded):
    path = write(tmp_path / "long.mp4", count=1200, rate=2, options={"g": "50", "bf": "2", "preset": "ultrafast"})
    video = open_video(path)
    assert video.num_frames == 1200 and video.seconds == pytest.approx(600)
    assert video.read(range(1198, 1200)).shape == (2, 48, 64, 3)
    assert len(decoded) <= 2 + 50  # two when it is opened, and a group of pictures


def test_counting_the_frames_of_a_whole_video_decodes_it_to_its_end(tmp_path, decoded):
    path = write(tmp_path / "a.mp4", options=B_FRAMES)
    assert decoded_length(open_video(path)) == 60
    assert len(set(decoded)) == 60


def test_a_span_of_a_video_of_varying_rate_goes_by_the_stamps(tmp_path):
    write_stamped(tmp_path / "a.mp4", grey_pictures(8), [0, 40, 80, 500, 540, 1000, 1040, 2000])
    clip = Clip("p", "a.mp4", 3, 25.0, "anna", None, "x", "train", start=0.5, end=1.04)
    video, whole = open_clip(clip, tmp_path), open_clip(replace(clip, start=None, end=None), tmp_path)
    assert np.array_equal(video.read(), whole.read()[3:6])
    assert np.allclose(video.times, [0, 0.04, 0.5]) and video.seconds == pytest.approx(0.54)
