import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from slt_pipeline.config.video import TransformConfig, VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import ClipDataset, EvalFrames, FrameBatches
from slt_pipeline.corpora.labels import GlossLabels
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_vocab import GlossVocabulary

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
    frames, clip = dataset[(4, 1)]
    assert clip is CLIPS[1] and frames.shape[0] == 3 and frames.shape[2:] == (16, 16)
    again = ClipDataset(CLIPS, dataset.root, CONFIG, seed=3)[(4, 1)][0]
    assert torch.equal(frames, again)
    others = [dataset[(5, 1)][0], ClipDataset(CLIPS, dataset.root, CONFIG, seed=4)[(4, 1)][0]]
    assert not any(other.shape == frames.shape and torch.equal(other, frames) for other in others)


def test_a_batch_has_padded_frames_and_the_labels_of_its_clips(dataset):
    items = [dataset[(0, 0)], dataset[(0, 1)]]
    batch = FrameBatches(GlossLabels(CLASSES))(items)
    assert batch["frame_lengths"].tolist() == [item.shape[1] for item, _ in items]
    assert batch["gloss_label_lengths"].tolist() == [2, -1]
    for row, (frames, _) in enumerate(items):
        assert torch.equal(batch["frames"][row, :, : frames.shape[1]], frames)


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
