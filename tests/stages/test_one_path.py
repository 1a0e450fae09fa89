"""One path from video to features: whoever reads a clip, and however, makes the same of it."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from stage_tools import CPU, change_clips

from cache import FeatureStore
from slt_pipeline.corpora.frames import ClipDataset
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems import encoding
from slt_pipeline.systems.encoding import Encoded
from slt_pipeline.systems.left_out import Unreadable
from slt_pipeline.systems.recogniser import open_recogniser
from slt_pipeline.video.reader import open_video


def save_exactly(path, pictures, seconds):
    """Write pictures without loss, each shown at its own time."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=100, width=pictures.shape[2], height=pictures.shape[1])
        stream.pix_fmt = "bgr0"
        stream.codec_context.time_base = Fraction(1, 100)
        for picture, second in zip(pictures, seconds, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
            frame.pts = round(second * 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.fixture
def clip(own):
    return own.of("dev")[0]


@pytest.fixture
def stored(own, clip):
    store = FeatureStore.open(own.recipe().store)
    return {name: store.read(clip.id, name) for name in store.streams}


def same(streams, stored) -> bool:
    return all(np.array_equal(streams[name].numpy(), rows) for name, rows in stored.items())


def test_extraction_translation_and_training_in_eval_mode_make_the_same_features(own, clip, stored, monkeypatch):
    seen = []
    whole = encoding.ClipEncoder.whole

    def noted(encoder, video):
        seen.append(whole(encoder, video))
        return seen[-1]

    monkeypatch.setattr(encoding.ClipEncoder, "whole", noted)
    Translate(own.recipe(), device="cpu").video(str(own.video(clip)))
    assert same(seen[0], stored)

    recipe = own.recipe(video__sampling__tmin=1.0, video__sampling__tmax=1.0)
    recogniser = open_recogniser(own.recipe(), CPU)
    transform = recipe.video.transform.model_copy(
        update={"crop_area": (1.0, 1.0), "jitter_probability": 0.0, "crop_aspect": (1.0, 1.0)}
    )
    video = recipe.video.model_copy(update={"transform": transform})
    item = ClipDataset([clip], own.root / "corpus", video, recogniser.shape, seed=1)[(0, 0)]
    multiple = clip.num_frames // 4 * 4
    frames = recogniser.on_video(0).reader.frames([item.pixels[:multiple]])
    with torch.inference_mode():
        taps = recogniser.model(frames, torch.tensor([multiple]))
    assert same({name: getattr(taps, name)[0] for name in stored}, stored)


@pytest.mark.parametrize("rate", ["double", "varying"])
def test_a_clip_of_another_rate_is_the_clip(own, clip, stored, rate):
    """At twice the rate each frame comes twice; at a varying one the frames that are missing are those before them."""
    pictures = open_video(clip.video, own.root / "corpus").read()
    times = np.arange(len(pictures)) / 25
    path = own.video(clip).with_suffix(".mkv")
    if rate == "double":
        save_exactly(path, np.repeat(pictures, 2, axis=0), np.arange(2 * len(pictures)) / 50)
    else:
        kept = np.array([index for index in range(len(pictures)) if index not in (2, 3, 4, 9, 17, 18)])
        save_exactly(path, pictures[kept], times[kept])
        held = kept[np.searchsorted(kept, np.arange(len(pictures)), side="right") - 1]
        save_exactly(path.with_name("even.mkv"), pictures[held], times)
    other = {"video": str(path.relative_to(own.root / "corpus")), "fps": 50.0 if rate == "double" else 20.0}
    change_clips(own.root / "corpus" / "manifest.jsonl", {clip.id: other})
    changed = next(c for c in read_manifest(own.root / "corpus" / "manifest.jsonl") if c.id == clip.id)
    recogniser = open_recogniser(own.recipe(), CPU)
    found = recogniser.encode_clip(changed, own.root / "corpus")
    if rate == "varying":
        twin = replace(changed, video=str(path.with_name("even.mkv").relative_to(own.root / "corpus")), fps=25.0)
        twins = recogniser.encode_clip(twin, own.root / "corpus")
        stored = {name: rows.numpy() for name, rows in twins.items()}
    assert same(found, stored)


def test_a_clip_in_windows_is_the_clip(own, clip, stored):
    recogniser = open_recogniser(own.recipe(encoder__s3d__memory_gb=1e-6), CPU)
    encoder = recogniser.on_video()
    assert encoder.window == 32
    widths = []
    s3d = recogniser.model.s3d

    def noted(frames):
        widths.append(frames.shape[2])
        return s3d(frames, torch.tensor([frames.shape[2]]))[0]

    encoder.engine = noted
    encoder.reader.video = own.recipe(video__sampling__max_frames=400).video
    long = own.root / "corpus" / "videos" / "long.mkv"
    pictures = open_video(clip.video, own.root / "corpus").read()
    pictures = np.concatenate([pictures, pictures[::-1], pictures, pictures[::-1]])
    save_exactly(long, pictures, np.arange(len(pictures)) / 25)
    three = replace(clip, video="videos/long.mkv", num_frames=len(pictures))
    ((_, parts),) = encoder.clips([three], own.root / "corpus")
    assert len(widths) > 1 and max(widths) <= 96
    whole_encoder = recogniser.on_video()
    whole_encoder.reader.video = encoder.reader.video
    recogniser.model.s3d.config = own.recipe().encoder.s3d
    ((_, whole),) = whole_encoder.clips([three], own.root / "corpus")
    assert isinstance(parts, Encoded) and isinstance(whole, Encoded)
    for name in stored:  # but for the last digits, as in tests/models/test_windows.py
        torch.testing.assert_close(parts.streams[name], whole.streams[name], rtol=1e-4, atol=1e-5)


def test_clips_of_equal_length_are_encoded_together_and_come_out_as_alone(own, monkeypatch):
    clips = own.of("train")
    root = own.root / "corpus"
    recogniser = open_recogniser(own.recipe(), CPU)
    alone = {clip.id: found for clip, found in recogniser.on_video().clips(clips, root)}
    monkeypatch.setitem(encoding._AT_ONCE, "cpu", 3)
    bad = replace(clips[0], id="bad", video="nowhere.mp4")
    twins = [replace(clip, id=f"{clip.id}-again") for clip in clips]
    encoder, sizes = recogniser.on_video(), []
    s3d = recogniser.model.s3d

    def noted(frames):
        sizes.append(len(frames))
        return s3d(frames, torch.full((len(frames),), frames.shape[2]))[0]

    encoder.engine = noted
    found = {clip.id: each for clip, each in encoder.clips([*clips, bad, *twins], root)}
    assert max(sizes) > 1 and len(found) == 2 * len(clips) + 1
    assert isinstance(found["bad"], Unreadable) and "no such video" in found["bad"].reason
    for clip in clips:
        for name, rows in alone[clip.id].streams.items():
            for twin in (found[clip.id], found[f"{clip.id}-again"]):
                torch.testing.assert_close(twin.streams[name], rows, rtol=1e-5, atol=1e-6)


def test_extraction_says_how_fast_it_was_and_what_it_waited(own, stages, caplog):
    caplog.set_level("INFO", logger="slt_pipeline")
    stages["extract"](own.recipe(extract__store=own.root / "new" / "store"), split="dev", device="cpu")
    assert "% of the time waiting for frames" in caplog.text
