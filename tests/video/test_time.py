"""Frames come forward, one at a time, at the times that they carry themselves; no rate of a container is believed."""

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import copy_packets, grey_pictures, levels, write_stamped

from slt_pipeline.errors import SltError
from slt_pipeline.video import packets
from slt_pipeline.video.base import decoded_length
from slt_pipeline.video.container import ContainerVideo
from slt_pipeline.video.fit import fit_frame, placed
from slt_pipeline.video.reader import open_video
from slt_pipeline.video.timing import timing_of, timing_of_decoded

PHONE = [0, 33, 66, 100, 133, 300, 333, 366, 700, 716, 733, 750]
RATES = [12.5, 24, 25, Fraction(30000, 1001), 50, 60]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_times_are_those_that_the_frames_carry(tmp_path, name):
    video = open_video(write_stamped(tmp_path / name, grey_pictures(12), PHONE))
    assert video.times == pytest.approx(np.array(PHONE) / 1000, abs=1e-3)
    assert video.times[-1] < video.seconds < video.times[-1] + 0.1
    assert levels(video.frames(range(12))) == pytest.approx(levels(grey_pictures(12)), abs=2)


def test_times_begin_with_the_first_frame(tmp_path):
    late = write_stamped(tmp_path / "a.ts", grey_pictures(12), [at + 5000 for at in PHONE])
    assert open_video(late).times == pytest.approx(np.array(PHONE) / 1000, abs=1e-3)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("stamps", [PHONE, [40 * i for i in range(12)], [20 * i for i in range(12)], [0, 500], [0]])
def test_frames_are_placed_as_ffmpeg_places_them(tmp_path, rate, stamps):
    path = write_stamped(tmp_path / "a.mp4", grey_pictures(len(stamps)), stamps)
    video = open_video(path)
    ours = levels(video.frames(placed(video.times, video.seconds, float(rate))))
    assert ours == _filtered(path, rate)


def _filtered(path, rate):
    """What FFmpeg's own filter makes of a video; of one that is too short for a single tick, its frame."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(template=container.streams.video[0]), graph.add("fps", str(rate))]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        for frame in [*frames, None]:
            graph.push(frame)
        out = []
        while True:
            try:
                out.append(graph.pull())
            except (av.error.EOFError, av.error.BlockingIOError):
                break
    return levels([frame.to_ndarray(format="rgb24") for frame in out or frames[:1]])


@pytest.mark.parametrize("rate", [*RATES, 23.976, 29.97, 59.94, 225])
@pytest.mark.parametrize("unit", [1, 1 / 1000, 1 / 12800, 1 / 90000])
def test_a_clip_of_the_wanted_rate_stays_as_it_is(rate, unit):
    stamps = np.round(np.arange(5001) / float(rate) / unit) * unit if unit < 1 else np.arange(5001) / float(rate)
    assert np.array_equal(placed(stamps[:-1], stamps[-1], float(rate)), np.arange(5000))


def test_a_time_half_way_between_two_ticks_belongs_to_the_later():
    """As exact fractions have it: 29 / 50 * 25 in floating point is less than 14.5."""
    ticks = [(number + 1) // 2 for number in range(5001)]
    last_on = {tick: number for number, tick in enumerate(ticks[:-1])}
    assert placed(np.arange(5000) / 50, 100, 25).tolist() == [last_on[tick] for tick in range(ticks[-1])]


def test_the_last_frame_lasts_to_the_end():
    assert placed(np.array([0.0, 0.1]), 0.5, 10).tolist() == [0, 1, 1, 1, 1]
    assert placed(np.array([0.0]), 0.001, 25).tolist() == [0]


def test_pictures_are_as_far_apart_as_told(tmp_path, picture_folder):
    video = open_video(picture_folder(tmp_path / "a", grey_pictures(5)), fps=10)
    assert video.times.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4] and video.seconds == 0.5
    assert levels(video.frames([1, 1, 4])) == [levels(grey_pictures(5))[index] for index in (1, 1, 4)]


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([None] * 4, [0, 0.1, 0.2, 0.3]),
        ([7] * 4, [0, 0.1, 0.2, 0.3]),
        ([900, 600, 300, 0], [0, 0.1, 0.2, 0.3]),
        ([0, 50, 50, 100], [0, 0.05, 0.15, 0.2]),
        ([5000, 5050, 10, 60], [0, 0.05, 0.15, 0.2]),
        ([0, None, 100, 150], [0, 0.1, 0.2, 0.25]),
    ],
    ids=["none", "equal", "falling", "once equal", "begun anew", "one missing"],
)
def test_steps_that_are_broken_are_those_of_the_nominal_rate(stamps, times):
    timing = timing_of(stamps, None, 1 / 1000, fps=10)
    assert timing.times == pytest.approx(times) and timing.seconds == pytest.approx(times[-1] + 0.1)


def test_a_stream_without_stamps_has_the_nominal_rate(tmp_path):
    path = write_stamped(tmp_path / "a.h264", grey_pictures(12), [40 * i for i in range(12)])
    video = open_video(path)
    assert video.times == pytest.approx(np.arange(12) / 25) and video.seconds == pytest.approx(12 / 25)
    assert levels(video.frames([3, 11])) == pytest.approx(
        [levels(grey_pictures(12))[index] for index in (3, 11)], abs=2
    )


def test_equal_stamps_have_the_rate_that_was_told(tmp_path):
    source = write_stamped(tmp_path / "a.mkv", grey_pictures(12), [40 * i for i in range(12)], options={"bf": "0"})
    video = open_video(copy_packets(tmp_path / "b.mkv", source, stamp=lambda _: 80), fps=20)
    assert video.times == pytest.approx(np.arange(12) / video.fps) and video.fps <= 30
    assert levels(video.frames([3, 11])) == pytest.approx(
        [levels(grey_pictures(12))[index] for index in (3, 11)], abs=2
    )


def test_a_recording_that_begins_between_key_frames_has_the_frames_that_decode(tmp_path):
    options = {"g": "8", "bf": "0", "sc_threshold": "0", "x264-params": "repeat-headers=1"}
    source = write_stamped(tmp_path / "a.ts", grey_pictures(24), [40 * i for i in range(24)], options=options)
    video = open_video(copy_packets(tmp_path / "b.ts", source, first=3))
    assert video.num_frames == 16 and video.times == pytest.approx(np.arange(16) / 25, abs=1e-3)
    assert levels(video.read()) == pytest.approx(levels(grey_pictures(24)[8:]), abs=2)


def test_hidden_packets_are_known_before_they_are_decoded(tmp_path):
    """Of VP8 encoded in two passes: pictures that only later ones refer to."""
    source = write_stamped(tmp_path / "a.webm", grey_pictures(12), [40 * i for i in range(12)], codec="libvpx")
    video = open_video(copy_packets(tmp_path / "b.webm", source, hidden=(5, 11)))
    assert video.num_frames == len(video.read()) == 10


def test_packets_that_show_nothing_are_no_frames(tmp_path, monkeypatch):
    """Two packets of twelve are decoded and never shown: what is shown at their times is the frame before."""
    monkeypatch.setattr(packets, "_hidden", lambda packet: False)  # as of a codec where nobody can tell
    source = write_stamped(tmp_path / "a.webm", grey_pictures(12), [40 * i for i in range(12)], codec="libvpx")
    path = copy_packets(tmp_path / "b.webm", source, hidden=(5, 11))
    video, whole = open_video(path), levels(open_video(source).read())
    assert levels(video.frames(range(12))) == [*whole[:5], whole[4], *whole[6:11], whole[10]]
    shown = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert video.num_frames == decoded_length(open_video(path)) == 10
    assert video.times == pytest.approx(np.array(shown) / 25)
    assert levels(video.read()) == levels(open_video(path).read()) == [whole[index] for index in shown]


@pytest.mark.parametrize(
    ("steps", "claimed", "rate"),
    [
        ([40] * 9, 25, 25),
        ([33, 33, 34] * 9, 30, 30),
        ([33, 33, 34] * 9, 1000 / 33, 1000 / 33),
        ([40] * 9, 50, 25),
        ([1] * 9, 25, 1000),
        ([40] * 9 + [3000], 25, 25),
        ([80] * 3 + [40] * 9, 12, 25),
        ([40, 40, 50] * 5, 25, 1000 / 43.33),
        ([], 25, 25),
    ],
    ids=["as claimed", "rounded", "about", "wrong", "slow motion", "a pause", "a dark part", "a GIF", "one frame"],
)
def test_the_rate_is_that_of_the_times_whatever_is_claimed(steps, claimed, rate):
    timing = timing_of(np.cumsum([0, *steps]).tolist(), 40, 1 / 1000, fps=25)
    assert timing.rate(claimed) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("rate", [1000, 90000])
def test_a_rate_that_is_but_the_unit_of_the_stamps_is_none(tmp_path, rate):
    """As recorders in browsers write."""
    video = open_video(write_stamped(tmp_path / "a.mkv", grey_pictures(12), [40 * i for i in range(12)], rate=rate))
    assert video.fps == pytest.approx(25) and video.seconds == pytest.approx(0.48, abs=0.04)


def test_a_clock_that_jumps_is_a_step_of_the_nominal_rate():
    stamps = [0, 40, 80, 10**9, 10**9 + 40]
    timing = timing_of(stamps, 10**9, 1 / 1000, fps=10)
    assert timing.times == pytest.approx([0, 0.04, 0.08, 0.18, 0.22]) and timing.seconds == pytest.approx(0.32)
    assert timing.stamped and timing.keys.tolist() == stamps
    assert timing_of([0, 40, 20040], 40, 1 / 1000, fps=10).seconds == pytest.approx(20.08)
    assert timing_of([0, 40, 20040], 40, 1 / 1000, fps=10, longest=10).seconds == pytest.approx(0.18)


def test_where_frames_come_in_another_order_than_stamps_say_when_they_are_decoded_is_taken():
    """As `ffmpeg` does: by which of the two is broken less often."""
    stamps = [(0, 2), (3, 3), (2, 4), (4, 5), (1, None)]
    timing = timing_of_decoded(stamps, 1, 1 / 25, fps=25)
    assert timing.times == pytest.approx(np.arange(5) / 25) and not timing.stamped
    assert timing_of_decoded([(0, 2), (1, 2), (2, 2)], 1, 1 / 25, fps=25).stamped


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_no_frame_is_decoded_twice(tmp_path, monkeypatch, name):
    decoded, whole = [], ContainerVideo._decoded

    def counted(self):
        for frame in whole(self):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(ContainerVideo, "_decoded", counted)
    video = open_video(write_stamped(tmp_path / name, grey_pictures(12), PHONE))
    for _ in video.frames(placed(video.times, video.seconds, 25)):
        pass
    assert len(decoded) == 12 == len(set(decoded))


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_one_picture_is_in_memory_at_a_time(tmp_path, picture_folder, kind):
    pictures = grey_pictures(40, (240, 320))
    if kind == "video":
        video = open_video(write_stamped(tmp_path / "a.mp4", pictures, [40 * i for i in range(40)]))
    else:
        video = open_video(picture_folder(tmp_path / "a", pictures))
    tracemalloc.start()
    kept = [fit_frame(picture, 24, 18) for picture in video.frames(range(40))]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept) == 40 and peak < 5 * pictures[0].nbytes


def test_frames_come_forward_only(tmp_path):
    video = open_video(write_stamped(tmp_path / "a.mp4", grey_pictures(5), [0, 40, 80, 120, 160]))
    with pytest.raises(ValueError, match="fall"):
        next(video.frames([2, 1]))
    with pytest.raises(SltError, match=r"a\.mp4: has 5 frames; frame 5 was asked for"):
        next(video.frames([2, 5]))
    first, again = video.frames([1, 1])
    assert first is again


@pytest.mark.parametrize("size", [(40000, 4), (4, 40000)])
def test_a_strip_is_not_made_large_to_be_cut(size):
    """A tall scan of 160,000 pixels, scaled to cover 64 x 64, would be 41 million."""
    picture = np.zeros((*size, 3), np.uint8)
    picture[size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = 200
    tracemalloc.start()
    fitted = fit_frame(picture, 64, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fitted.shape == (64, 64, 3) and fitted[32, 32, 0] == 200 and fitted[32, 0, 0] in (0, 200)
    assert peak < 4 * picture.nbytes
