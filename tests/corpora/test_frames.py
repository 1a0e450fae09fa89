import errno
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from slt_pipeline.config.video import TransformConfig, VideoConfig
from slt_pipeline.corpora import frames as frames_module
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import ClipDataset, EvalFrames, FrameBatches
from slt_pipeline.corpora.labels import GlossLabels
from slt_pipeline.corpora.unreadable import why_unusable
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.trainable import REJECTED

CONFIG = VideoConfig(transform=TransformConfig(center_crop=None, image_size=16))


def _clip(folder, num_frames):
    folder.mkdir()
    for number in range(num_frames):
        Image.fromarray(np.full((16, 16, 3), 9 * number, np.uint8)).save(folder / f"{number}.png")


CLIPS = [
    Clip("a", "a", 8, 25.0, "anna", ("REGEN", "NORD"), "regen", "train"),
    Clip("b", "b", 13, 25.0, "anna", None, "wind", "train"),
]
CLASSES = GlossVocabulary.build([clip.gloss for clip in CLIPS])


@pytest.fixture
def dataset(tmp_path) -> ClipDataset:
    for clip in CLIPS:
        _clip(tmp_path / clip.id, clip.num_frames)
    return ClipDataset(CLIPS, tmp_path, CONFIG, seed=3)


def test_an_item_is_the_clip_with_frames_that_seed_epoch_and_index_decide(dataset):
    frames, clip, rejected = dataset[(4, 1)]
    assert not rejected
    assert clip is CLIPS[1] and frames.shape[0] == 3 and frames.shape[2:] == (16, 16)
    again = ClipDataset(CLIPS, dataset.root, CONFIG, seed=3)[(4, 1)][0]
    assert torch.equal(frames, again)
    others = [dataset[(5, 1)][0], ClipDataset(CLIPS, dataset.root, CONFIG, seed=4)[(4, 1)][0]]
    assert not any(other.shape == frames.shape and torch.equal(other, frames) for other in others)


def test_a_batch_has_padded_frames_and_the_labels_of_its_clips(dataset):
    items = [dataset[(0, 0)], dataset[(0, 1)]]
    batch = FrameBatches(GlossLabels(CLASSES))(items)
    assert batch["frame_lengths"].tolist() == [item.frames.shape[1] for item in items]
    assert batch["gloss_label_lengths"].tolist() == [2, -1]
    for row, (frames, _, _) in enumerate(items):
        assert torch.equal(batch["frames"][row, :, : frames.shape[1]], frames)


@pytest.fixture
def five(tmp_path):
    """Five clips, of which c and d cannot be read: an empty folder, and nothing at all."""
    clips = [replace(CLIPS[0], id=name, video=name) for name in "abcde"]
    for name in "abe":
        _clip(tmp_path / name, 8)
    (tmp_path / "c").mkdir()
    return ClipDataset(clips, tmp_path, CONFIG, seed=3)


def test_in_the_place_of_a_clip_that_cannot_be_read_stands_the_next_one_that_can(five):
    frames, clip, rejected = five[(4, 2)]
    assert clip.id == "e" and list(rejected) == ["c", "d"] and "no pictures" in rejected["c"]
    assert torch.equal(frames, five[(4, 2)].frames)
    assert five[(4, 3)].clip.id == "e" and list(five[(4, 3)].rejected) == ["d"]
    five.clips[0] = replace(five.clips[0], video="away")
    five.clips[4] = replace(five.clips[4], video="away too")
    assert five[(0, 4)].clip.id == "b"  # behind the last comes the first


def test_a_batch_keeps_its_size_and_names_what_was_replaced_where_the_loop_looks_for_it(five):
    batch = FrameBatches(GlossLabels(CLASSES))([five[(0, index)] for index in (1, 2, 3)])
    assert len(batch["frames"]) == 3
    assert list(batch[REJECTED]) == ["c", "d"]
    assert REJECTED not in FrameBatches(GlossLabels(CLASSES))([five[(0, 0)]])


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
    def open_video(reference, root):
        if reference == "a":
            raise error
        return real(reference, root)

    real = frames_module.open_video
    monkeypatch.setattr(frames_module, "open_video", open_video)
    assert five[(0, 0)].clip.id == "b" and five[(0, 0)].rejected == {"a": reason}


def test_a_mistake_of_ours_is_not_taken_for_a_bad_clip(five, monkeypatch):
    monkeypatch.setattr(frames_module, "open_video", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        five[(0, 0)]


def test_many_bad_clips_in_a_row_are_no_clips_fault(five, tmp_path):
    clips = [replace(five.clips[0], id=str(number), video=f"x/{number}") for number in range(50)] + five.clips[:1]
    with pytest.raises(SltError, match=r"^20 clips in a row cannot be read, the first is 7: .*x/7.*media root"):
        ClipDataset(clips, tmp_path, CONFIG, seed=3)[(0, 7)]
    with pytest.raises(SltError, match=r"^2 clips in a row"):
        ClipDataset(clips[:2], tmp_path, CONFIG, seed=3)[(0, 1)]


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
    collate = FrameBatches(GlossLabels(CLASSES))
    keys = [[(0, 1), (0, 0)], [(1, 0), (1, 1)]]
    options = {"batch_sampler": keys, "collate_fn": collate, "generator": torch.Generator()}
    there = list(DataLoader(dataset, num_workers=1, multiprocessing_context="spawn", **options))
    for found, batch in zip(there, keys, strict=True):
        want = collate([dataset[key] for key in batch])
        assert found.keys() == want.keys() and all(torch.equal(found[name], want[name]) for name in want)


def test_frames_for_evaluation_are_a_multiple_of_four(tmp_path):
    _clip(tmp_path / "a", 6)
    assert EvalFrames(CONFIG)("a", tmp_path).shape == (3, 4, 16, 16)


def test_a_clip_shorter_than_one_step_is_refused_by_name(tmp_path):
    _clip(tmp_path / "a", 3)
    with pytest.raises(SltError, match=r"a: 3 frames, at least 4 are needed"):
        EvalFrames(CONFIG)("a", tmp_path)
