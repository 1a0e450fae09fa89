"""A clip that is a part of a video is that part for whoever reads it, and no other clip."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from slt_pipeline.config.video import SamplingConfig, TransformConfig, VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import clip_source
from slt_pipeline.corpora.footage import open_clip
from slt_pipeline.corpora.frames import ClipDataset, EvalClips
from slt_pipeline.corpora.load import media_digest
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError
from slt_pipeline.video.prepared import FrameShape

CONFIG = VideoConfig(
    sampling=SamplingConfig(tmin=1, tmax=1),
    transform=TransformConfig(center_crop=None, image_size=16, mean=(0, 0, 0), std=(1, 1, 1), jitter_probability=0),
)

SHAPE = FrameShape(25.0)


@pytest.fixture
def part(tmp_path) -> Clip:
    """Frames 5 to 12 of 20, each as bright as its number."""
    (tmp_path / "a").mkdir()
    for number in range(20):
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(tmp_path / "a" / f"{number}.png")
    return Clip("p", "a", 8, 25.0, "anna", ("REGEN",), None, "train", frames=(5, 13))


def _numbers(pixels: torch.Tensor | None) -> list[int]:
    assert pixels is not None
    return pixels[:, 0, 0, 0].tolist()


def test_reading_training_and_evaluation_see_the_part_alone(part, tmp_path):
    video = open_clip(part, tmp_path)
    assert (video.num_frames, video.fps, video.width, video.height) == (8, 25.0, 16, 16)
    assert video.read()[:, 0, 0, 0].tolist() == list(range(5, 13))
    assert video.read([7, 0, 0])[:, 0, 0, 0].tolist() == [12, 5, 5]
    assert np.allclose(video.times, np.arange(8) / 25) and video.seconds == pytest.approx(8 / 25)
    assert _numbers(EvalClips([part], tmp_path, CONFIG, SHAPE)[0].pixels) == list(range(5, 13))
    assert _numbers(ClipDataset([part], tmp_path, CONFIG, SHAPE, 3)[(0, 0)].pixels) == list(range(5, 13))


def test_a_part_is_brought_to_another_rate_like_a_video_of_its_own(part, tmp_path):
    seen = EvalClips([part], tmp_path, CONFIG, FrameShape(12.5))[0].pixels
    for number in range(8):
        (tmp_path / "alone").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "a" / f"{number + 5}.png", tmp_path / "alone" / f"{number}.png")
    alone = replace(part, video="alone", frames=None)
    assert _numbers(seen) == _numbers(EvalClips([alone], tmp_path, CONFIG, FrameShape(12.5))[0].pixels)


@pytest.mark.parametrize("index", [-1, 8])
def test_a_frame_outside_of_the_part_is_none_of_the_clips(part, tmp_path, index):
    with pytest.raises(SltError):
        open_clip(part, tmp_path).read([0, index])


def test_a_part_that_the_video_does_not_have_is_a_problem(part, tmp_path):
    write_manifest(tmp_path / "m.jsonl", [part, replace(part, id="q", frames=(15, 23))])
    (problem,) = validate(tmp_path / "m.jsonl").problems
    assert problem.id == "q" and "the clip is frames 15 to 23 of it, and it has 20" in problem.message


def test_the_manifest_keeps_the_part_and_refuses_one_that_is_none(part, tmp_path):
    write_manifest(tmp_path / "m.jsonl", [part, replace(part, id="whole", frames=None)])
    assert [clip.frames for clip in read_manifest(tmp_path / "m.jsonl")] == [(5, 13), None]
    first, second = (json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines())
    assert first["frames"] == [5, 13] and "frames" not in second
    for frames, words in (([5, 12], "frames are 5 to 12, num_frames is 8"), ([8, 0], "rising"), ([-8, 0], "rising")):
        (tmp_path / "bad.jsonl").write_text(json.dumps(first | {"frames": frames}))
        with pytest.raises(SltError, match=words):
            read_manifest(tmp_path / "bad.jsonl")


def test_another_part_is_another_input_and_a_whole_video_is_what_it_was(part, tmp_path):
    other, whole = replace(part, frames=(6, 14)), replace(part, frames=None)
    assert len({media_digest([clip], tmp_path) for clip in (part, other, whole)}) == 3
    assert len({clip_source(clip, tmp_path) for clip in (part, other, whole)}) == 3


@pytest.fixture
def span(part, tmp_path) -> Clip:
    """The same frames as `part`, by their times."""
    return replace(part, frames=None, start=0.2, end=0.52)


def test_a_span_of_seconds_is_read_trained_on_and_evaluated_like_the_frames_in_it(span, part, tmp_path):
    assert np.array_equal(open_clip(span, tmp_path).read(), open_clip(part, tmp_path).read())
    assert _numbers(EvalClips([span], tmp_path, CONFIG, SHAPE)[0].pixels) == list(range(5, 13))
    assert _numbers(ClipDataset([span], tmp_path, CONFIG, SHAPE, 3)[(0, 0)].pixels) == list(range(5, 13))
    write_manifest(tmp_path / "m.jsonl", [span, replace(span, id="q", num_frames=9), replace(span, id="r", end=9.0)])
    for decode in (False, True):
        problems = validate(tmp_path / "m.jsonl", decode=decode).problems
        assert [(problem.id, problem.kind) for problem in problems] == [("q", "frame-count"), ("r", "video")]
        assert "the clip is 0.2 to 9 s of it, and it lasts 0.800 s" in problems[1].message


def test_spans_that_follow_each_other_share_no_frame_and_lose_none(span, tmp_path):
    edges = [None, 0.041, 0.2, 0.3599, 0.72, None]  # milliseconds, as annotations are: some are rounded
    spans = [replace(span, start=start, end=end) for start, end in pairwise(edges)]
    found = [open_clip(clip, tmp_path).read()[:, 0, 0, 0].tolist() for clip in spans]
    assert [number for numbers in found for number in numbers] == list(range(20))
    assert [numbers[0] for numbers in found] == [0, 1, 5, 9, 18]


def test_a_span_may_last_as_long_as_the_sound_and_no_longer(span, tmp_path):
    assert open_clip(replace(span, start=0.6, end=1.2), tmp_path).num_frames == 5
    for start, end, words in ((0.6, 1.4, "0.6 to 1.4 s"), (0.8, 0.9, "0.8 to 0.9 s"), (0.21, 0.23, "no frame begins")):
        with pytest.raises(SltError, match=words):
            open_clip(replace(span, start=start, end=end), tmp_path)


def test_the_manifest_keeps_a_span_and_refuses_one_that_is_none(span, tmp_path):
    write_manifest(tmp_path / "m.jsonl", [span, replace(span, id="from", end=None)])
    assert [(clip.start, clip.end) for clip in read_manifest(tmp_path / "m.jsonl")] == [(0.2, 0.52), (0.2, None)]
    line = json.loads((tmp_path / "m.jsonl").read_text().splitlines()[0])
    for change, words in (
        ({"frames": [5, 13]}, "frames and start or end are both given"),
        ({"end": 0.2}, "end must be after start, found 0.2 to 0.2"),
        ({"start": -1}, "start must be seconds"),
        ({"end": "1"}, "end must be seconds"),
        ({"end": float("inf")}, "Infinity is no number"),
        ({"start": True}, "start must be seconds"),
    ):
        (tmp_path / "bad.jsonl").write_text(json.dumps(line | change))
        with pytest.raises(SltError, match=words):
            read_manifest(tmp_path / "bad.jsonl")


def test_another_span_is_another_input(span, part, tmp_path):
    clips = [span, part, replace(span, start=0.24), replace(span, end=None), replace(span, start=None, end=None)]
    assert len({media_digest([clip], tmp_path) for clip in clips}) == len(clips)
    assert len({clip_source(clip, tmp_path) for clip in clips}) == len(clips)
