import errno
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from slt_pipeline.config.video import SamplingConfig, TransformConfig, VideoConfig
from slt_pipeline.corpora import footage
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import ClipDataset, EvalVideo, FrameBatches
from slt_pipeline.corpora.labels import GlossLabels
from slt_pipeline.corpora.unreadable import why_unusable
from slt_pipeline.errors import SltError
from slt_pipeline.systems.left_out import LeftOut
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.trainable import REJECTED
from slt_pipeline.video.prepared import FrameShape
from slt_pipeline.video.reader import open_video
from slt_pipeline.video.transforms import to_input

CONFIG = VideoConfig(transform=TransformConfig(center_crop=None, image_size=16))
SHAPE = FrameShape(25.0, 16, 16)


def _clip(folder, num_frames, size=16):
    folder.mkdir()
    for number in range(num_frames):
        Image.fromarray(np.full((size, size, 3), 9 * number, np.uint8)).save(folder / f"{number}.png")


CLIPS = [
    Clip("a", "a", 8, 25.0, "anna", ("REGEN", "NORD"), "regen", "train"),
    Clip("b", "b", 13, 25.0, "anna", None, "wind", "train"),
]
CLASSES = GlossVocabulary.build([clip.gloss for clip in CLIPS])


@pytest.fixture
def dataset(tmp_path) -> ClipDataset:
    for clip in CLIPS:
        _clip(tmp_path / clip.id, clip.num_frames)
    return ClipDataset(CLIPS, tmp_path, CONFIG, SHAPE, seed=3)


def test_an_item_is_the_clip_with_frames_that_seed_epoch_and_index_decide(dataset):
    pixels, augmentation, clip, rejected = dataset[(4, 1)]
    assert not rejected
    assert clip is CLIPS[1] and pixels.shape[1:] == (16, 16, 3) and pixels.dtype == torch.uint8
    again, as_drawn = ClipDataset(CLIPS, dataset.root, CONFIG, SHAPE, seed=3)[(4, 1)][:2]
    assert as_drawn == augmentation
    assert torch.equal(pixels, again)
    others = [dataset[(5, 1)][0], ClipDataset(CLIPS, dataset.root, CONFIG, SHAPE, seed=4)[(4, 1)][0]]
    assert not any(other.shape == pixels.shape and torch.equal(other, pixels) for other in others)


def test_a_batch_has_padded_frames_and_the_labels_of_its_clips(dataset):
    items = [dataset[(0, 0)], dataset[(0, 1)]]
    batch = FrameBatches(GlossLabels(CLASSES), CONFIG.transform)(items)
    assert batch["frame_lengths"].tolist() == [len(item.pixels) for item in items]
    assert batch["gloss_label_lengths"].tolist() == [2, -1]
    for row, (pixels, augmentation, _, _) in enumerate(items):
        frames = to_input(pixels, CONFIG.transform, augmentation)
        assert torch.equal(batch["frames"][row, :, : frames.shape[1]], frames)


def test_frames_made_where_the_batch_arrives_are_those_made_where_it_was_put_together(dataset):
    items = [dataset[(0, 0)], dataset[(0, 1)]]
    labels = GlossLabels(CLASSES)
    batches = FrameBatches(labels, CONFIG.transform, at_once=False)
    sent = batches(items)
    assert all(pixels.dtype == torch.uint8 for pixels in sent["pixels"]) and "frames" not in sent
    made, want = batches.made(sent), FrameBatches(labels, CONFIG.transform)(items)
    assert made.keys() == want.keys() and all(torch.equal(made[name], want[name]) for name in want)
    assert batches.made(made) is made


@pytest.fixture
def five(tmp_path):
    """Five clips, of which c and d cannot be read: an empty folder, and nothing at all."""
    clips = [replace(CLIPS[0], id=name, video=name) for name in "abcde"]
    for name in "abe":
        _clip(tmp_path / name, 8)
    (tmp_path / "c").mkdir()
    return ClipDataset(clips, tmp_path, CONFIG, SHAPE, seed=3)


def test_in_the_place_of_a_clip_that_cannot_be_read_stands_the_next_one_that_can(five):
    pixels, _, clip, rejected = five[(4, 2)]
    assert clip.id == "e" and list(rejected) == ["c", "d"] and "no pictures" in rejected["c"]
    assert torch.equal(pixels, five[(4, 2)].pixels)
    assert five[(4, 3)].clip.id == "e" and list(five[(4, 3)].rejected) == ["d"]
    five.clips[0] = replace(five.clips[0], video="away")
    five.clips[4] = replace(five.clips[4], video="away too")
    assert five[(0, 4)].clip.id == "b"  # behind the last comes the first


def test_a_batch_keeps_its_size_and_names_what_was_replaced_where_the_loop_looks_for_it(five):
    batch = FrameBatches(GlossLabels(CLASSES), CONFIG.transform)([five[(0, index)] for index in (1, 2, 3)])
    assert len(batch["frames"]) == 3
    assert list(batch[REJECTED]) == ["c", "d"]
    assert REJECTED not in FrameBatches(GlossLabels(CLASSES), CONFIG.transform)([five[(0, 0)]])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error", "a.mp4"), "a.mp4: Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (MemoryError(), "not enough memory to read it"),
        (SltError("a.mp4: damaged"), "a.mp4: damaged"),
    ],
)
def test_whatever_reading_a_clip_raises_is_a_reason(five, monkeypatch, error, reason):
    def open_video(reference, root, fps, decode_on):
        if reference == "a":
            raise error
        return real(reference, root, fps)

    real = footage.open_video
    monkeypatch.setattr(footage, "open_video", open_video)
    assert five[(0, 0)].clip.id == "b" and five[(0, 0)].rejected == {"a": reason}


def test_a_mistake_of_ours_is_not_taken_for_a_bad_clip(five, monkeypatch):
    monkeypatch.setattr(footage, "open_video", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        five[(0, 0)]


def test_many_bad_clips_in_a_row_are_no_clips_fault(five, tmp_path):
    clips = [replace(five.clips[0], id=str(number), video=f"x/{number}") for number in range(50)] + five.clips[:1]
    with pytest.raises(SltError, match=r"^20 clips in a row cannot be read, the first is 7: .*x/7.*media root"):
        ClipDataset(clips, tmp_path, CONFIG, SHAPE, seed=3)[(0, 7)]
    with pytest.raises(SltError, match=r"^2 clips in a row"):
        ClipDataset(clips[:2], tmp_path, CONFIG, SHAPE, seed=3)[(0, 1)]


def test_a_strict_data_set_stops_at_the_first(five):
    five.strict = True
    with pytest.raises(SltError, match=r"^clip c: .*no pictures"):
        five[(0, 2)]


def test_what_is_seen_before_the_start_is_what_reading_would_say(five):
    """Nothing is decoded for it: a picture that is none is found when it is read."""
    for picture in (five.root / "b").iterdir():
        picture.write_text("no picture")
    five.clips.append(replace(five.clips[0], id="f", num_frames=3))
    seen = {clip.id: why_unusable(clip, five.root, CONFIG.sampling) for clip in five.clips}
    assert [name for name, reason in seen.items() if reason is None] == ["a", "b", "e"]
    read = five[(0, 2)].rejected
    assert seen["d"] == read["d"] and "no pictures in it" in str(seen["c"]) and "no pictures in it" in read["c"]
    assert seen["f"] == "a: 3 frames, at least 4 are needed; leave the clip out"


def test_loader_processes_make_the_same_batches(dataset):
    collate = FrameBatches(GlossLabels(CLASSES), CONFIG.transform)
    keys = [[(0, 1), (0, 0)], [(1, 0), (1, 1)]]
    options = {"batch_sampler": keys, "collate_fn": collate, "generator": torch.Generator()}
    there = list(DataLoader(dataset, num_workers=1, multiprocessing_context="spawn", **options))
    for found, batch in zip(there, keys, strict=True):
        want = collate([dataset[key] for key in batch])
        assert found.keys() == want.keys() and all(torch.equal(found[name], want[name]) for name in want)


def _seen(tmp_path, num_frames, **sampling) -> EvalVideo:
    _clip(tmp_path / "a", num_frames)
    config = CONFIG.model_copy(update={"sampling": SamplingConfig(**sampling)})
    return EvalVideo(open_video("a", tmp_path), config, SHAPE)


def test_frames_for_evaluation_are_a_multiple_of_four(tmp_path):
    video = _seen(tmp_path, 6)
    (pixels,) = video.pieces(9)
    assert len(video) == 4 and pixels.shape == (4, 16, 16, 3)


def test_a_video_comes_in_pieces_that_are_the_whole(tmp_path):
    video = _seen(tmp_path, 23, max_frames=16)
    (whole,) = video.pieces(16)
    pieces = list(video.pieces(6))
    assert [len(piece) for piece in pieces] == [6, 6, 4] and torch.equal(torch.cat(pieces), whole)
    assert whole[:, 0, 0, 0].tolist() == [9 * number for number in range(3, 19)]  # the middle ones


def test_a_clip_shorter_than_one_step_is_refused_by_name(tmp_path):
    with pytest.raises(SltError, match=r"a: 3 frames, at least 4 are needed"):
        _seen(tmp_path, 3)


def test_clips_are_brought_to_the_size_and_rate_that_most_have(tmp_path, caplog):
    for name, size in (("a", 16), ("b", 24), ("c", 24), ("e", 24)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (size, 16)).save(tmp_path / name / "0.png")
    clips = [replace(CLIPS[0], id=name, video=name, num_frames=1) for name in "abcde"]
    left_out = LeftOut("visual_train", tmp_path / "rejected.jsonl")
    assert left_out.shape(clips, tmp_path) == FrameShape(25.0, 24, 16)
    assert "visual_train: clips differ, such as 16x16 at 25; all are brought to 24x16 at 25 fps" in caplog.text
    assert "visual_train: d is left out: " in caplog.text
    with pytest.raises(SltError, match=r"^none of 1 train clips can be read, such as d: .*no such video"):
        left_out.shape(clips[3:4], tmp_path)


def test_training_and_evaluation_see_a_clip_of_another_rate_and_size_alike(tmp_path):
    """Half the rate and twice the size: each frame twice, made smaller."""
    _clip(tmp_path / "a", 8, size=32)
    config = VideoConfig(sampling=SamplingConfig(tmin=1.0, tmax=1.0), transform=CONFIG.transform)
    clip = replace(CLIPS[0], fps=12.5)
    ((pixels, *_),) = [ClipDataset([clip], tmp_path, config, SHAPE, seed=1)[(0, 0)]]
    (seen,) = EvalVideo(open_video("a", tmp_path, 12.5), config, SHAPE).pieces(99)
    assert pixels.shape == seen.shape == (16, 16, 16, 3) and torch.equal(pixels, seen)
    assert seen[:, 0, 0, 0].tolist() == [9 * (number // 2) for number in range(16)]
