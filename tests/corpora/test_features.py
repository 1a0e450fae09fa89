"""Features reach training the same, whoever reads them: this process or loader processes, from files or from memory."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from cache import Compression, FeatureStore, StoreError, StreamSpec
from cache.testing import make_clips
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.device_features import DeviceFeatures
from slt_pipeline.corpora.features import FeatureDataset, as_it_is, clip_source, has_changed
from slt_pipeline.errors import SltError
from slt_pipeline.training.batches import EpochBatches

CPU = torch.device("cpu")
STREAMS = {"half": StreamSpec(6, "float16"), "single": StreamSpec(3, "float32")}
CLIPS = make_clips(7, STREAMS)
KINDS = {
    "zarr": {"backend": "zarr", "compression": None},
    "hdf5": {"backend": "hdf5", "compression": None},
    "blosc": {"backend": "zarr", "compression": Compression("blosc", chunk_steps=4)},
}

Batch = dict[str, torch.Tensor]


def clip_of(number: int, split: str = "train") -> Clip:
    name = list(CLIPS)[number]
    return Clip(name, f"videos/{number}.mp4", 4 * len(CLIPS[name]["half"]), 25.0, "anna", ("A",), "a", split)


def make(path: Path, kind: str, numbers: Sequence[int] = range(7)) -> Path:
    """A store of a few clips a shard."""
    options = {"streams": STREAMS, "fingerprint": {}, "shard_steps": 16, "durable": False, **KINDS[kind]}
    with FeatureStore.create(path, **options).writer() as writer:
        for clip in map(clip_of, numbers):
            writer.write(clip.id, CLIPS[clip.id], source=clip_source(clip, path.parent))
    return path


def labels(clips: Sequence[Clip]) -> Batch:
    """The numbers of the clips, and the process that looked them up: -1 is not a loader's."""
    worker = get_worker_info()
    numbers = [list(CLIPS).index(clip.id) for clip in clips]
    return {"numbers": torch.tensor(numbers), "worker": torch.tensor(worker.id if worker else -1)}


def never(clips: Sequence[Clip]) -> Batch:
    raise AssertionError("labels were made of clips that the store does not have")


def dataset_of(path: Path, stream: str = "half", device: torch.device | None = None, **held) -> FeatureDataset:
    return FeatureDataset(FeatureStore.open(path, **held), stream, [clip_of(n) for n in range(7)], labels, device)


def padded(numbers: Sequence[int], stream: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What a batch should be: the clips as they were written, as float32, zeros after them, and their lengths."""
    clips = [torch.from_numpy(features[stream]).float() for features in map(list(CLIPS.values()).__getitem__, numbers)]
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])


def assert_right(batch: Batch, stream: str) -> None:
    features, lengths = padded(batch["numbers"].tolist(), stream)
    for found, expected in ((batch["features"], features), (batch["lengths"], lengths)):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.numpy().tobytes() == expected.numpy().tobytes()


class Several(Dataset):
    """The batches of several data sets at once, so that starting processes, which takes seconds, is done once."""

    def __init__(self, datasets: dict[str, FeatureDataset]):
        self.datasets = datasets

    def __getitems__(self, keys):
        return {name: dataset.__getitems__(keys) for name, dataset in self.datasets.items()}


def load(dataset: Dataset, method: str | None = None) -> list:
    """The batches of two epochs, made by a loader as training has it."""
    loader = DataLoader(
        dataset,
        batch_sampler=EpochBatches(7, 3, epochs=2, seed=5, lengths=[len(f["half"]) for f in CLIPS.values()]),
        collate_fn=as_it_is,
        num_workers=2 if method else 0,
        multiprocessing_context=method,
        generator=torch.Generator(),
    )
    return list(loader)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A store of each kind, by its name."""
    folder = tmp_path_factory.mktemp("stores")
    for kind in KINDS:
        make(folder / kind, kind)
    return folder


@pytest.mark.parametrize("resident", ["no", "yes", "auto"])
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_has_every_clip_once_as_float32_with_zeros_after_it(folder, kind, stream, resident):
    batches = load(dataset_of(folder / kind, stream, resident=resident))
    assert len(batches) == 6
    for epoch in (batches[:3], batches[3:]):
        assert sorted(number for batch in epoch for number in batch["numbers"].tolist()) == list(range(7))
    for batch in batches:
        assert_right(batch, stream)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_loader_processes_make_the_same_batches_in_the_same_order(folder, method):
    several = Several(
        {
            (kind, resident, when): dataset_of(folder / kind, resident=resident)
            for kind in KINDS
            for resident in ("no", "yes")
            for when in ("read before", "not read before")
        }
    )
    for (*_, when), dataset in several.datasets.items():
        if when == "read before":  # files are open, or the stream is in memory, when the processes start
            assert_right(dataset.__getitems__([(0, 6), (0, 0)]), "half")
    made_there = load(several, method)
    made_here = load(several)
    assert len(made_there) == len(made_here) == 6
    for there, here in zip(made_there, made_here, strict=True):
        for which in several.datasets:
            assert there[which]["numbers"].tolist() == here[which]["numbers"].tolist()
            assert_right(there[which], "half")
            assert_right(here[which], "half")
            assert here[which]["worker"] == -1
    assert {int(batch[which]["worker"]) for batch in made_there for which in batch} == {0, 1}


def test_forked_loader_processes_share_what_their_parent_holds_in_memory(tmp_path):
    held, read = (dataset_of(make(tmp_path / name, "zarr"), resident=name) for name in ("yes", "no"))
    assert_right(held.__getitems__([(0, 2)]), "half")
    for name in ("yes", "no"):
        shutil.rmtree(tmp_path / name / "data")
    for batch in load(held, "fork"):
        assert_right(batch, "half")
    with pytest.raises(StoreError, match=r"data/half/c\.0\.0"):
        load(read)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("kind", KINDS)
def test_features_on_a_device_are_the_same_tensors(folder, kind, stream):
    dataset = dataset_of(folder / kind, stream, CPU)
    for batch in load(dataset):
        assert_right(batch, stream)


def test_a_device_holds_the_stream_in_its_own_type_and_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr("slt_pipeline.corpora.device_features._PIECE", 100)  # several pieces
    store = FeatureStore.open(make(tmp_path / "store", "zarr"))
    held = DeviceFeatures(store, "half", CPU)
    shutil.rmtree(tmp_path / "store" / "data")
    names = [clip_of(n).id for n in (5, 0, 0)]
    features, lengths = held.read_batch(names)
    assert (features.dtype, lengths.dtype) == (torch.float16, torch.int64)
    expected, _ = padded([5, 0, 0], "half")
    assert torch.equal(features.float(), expected)
    assert held.read_batch([])[0].shape == (0, 0, features.shape[2])
    with pytest.raises(SltError, match=r"clip nobody is not among the 7 clips of .*/store that are held"):
        held.read_batch([names[0], "nobody"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_line(folder):
    with pytest.raises(SltError, match=r"cannot hold features on device cuda.*: use translate_train.features_in=files"):
        dataset_of(folder / "zarr", device=torch.device("cuda"))


def test_a_batch_may_be_changed_without_changing_the_next(folder):
    for held in ({"resident": "no"}, {"resident": "yes"}, {"device": CPU}):
        dataset = dataset_of(folder / "zarr", "single", **held)
        dataset.__getitems__([(0, 3), (0, 4)])["features"].fill_(7)
        assert_right(dataset.__getitems__([(1, 3), (1, 4)]), "single")


# --- what is refused, before anything is read


@pytest.fixture
def unreadable(tmp_path) -> FeatureStore:
    """A store of the clips 0 to 4 whose features cannot be read."""
    store = FeatureStore.open(make(tmp_path / "store", "zarr", range(5)))
    shutil.rmtree(tmp_path / "store" / "data")
    return store


def test_clips_that_the_store_lacks_are_refused_with_the_command_that_adds_them(unreadable):
    clips = [clip_of(0), clip_of(5, "dev"), clip_of(6, "test")]
    with pytest.raises(SltError) as error:
        FeatureDataset(unreadable, "half", clips, never)
    assert str(error.value) == (
        f"the store lacks 2 of 3 clips, such as {clips[1].id}; add them with `slt extract --split dev`"
    )


def test_a_stream_that_the_store_lacks_is_refused_with_those_that_it_has(unreadable):
    with pytest.raises(SltError, match=r"no stream s3d, only half, single; make one .*`slt extract --streams s3d,"):
        FeatureDataset(unreadable, "s3d", [clip_of(0)], never)


@pytest.mark.parametrize("change", [{"video": "videos/x.mp4"}, {"num_frames": 3}, {"fps": 30.0}])
def test_clips_that_have_changed_are_refused_by_name(unreadable, change):
    clips = [clip_of(0), replace(clip_of(1), **change), replace(clip_of(3), **change)]
    with pytest.raises(SltError) as error:
        FeatureDataset(unreadable, "half", clips, never)
    names = f"{clips[1].id}, {clips[2].id}"
    assert f"2 clips have changed since they were put into {unreadable.path}: {names}; " in str(error.value)


def test_new_labels_and_clips_of_unknown_source_are_no_change(tmp_path):
    with FeatureStore.create(tmp_path / "bare", streams=STREAMS, fingerprint={}, durable=False).writer() as writer:
        writer.write(clip_of(1).id, CLIPS[clip_of(1).id])
    relabelled = {"text": "b", "gloss": None, "split": "dev", "signer": "bert", "extra": {"a": 1}}
    for path, clip in (
        (make(tmp_path / "s", "hdf5"), replace(clip_of(1), **relabelled)),
        (tmp_path / "bare", clip_of(1)),
    ):
        assert_right(FeatureDataset(FeatureStore.open(path), "half", [clip], labels).batch([clip]), "half")


def test_the_source_of_a_clip_begins_with_what_stores_on_disk_have_noted(tmp_path):
    clip = Clip("a", "videos/ä.mp4", 12, 25.0, "anna", ("A",), "a", "train")
    assert clip_source(clip, tmp_path) == "adae88e0d31f8b19:absent"
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "ä.mp4").write_bytes(b"a video")
    source = clip_source(clip, tmp_path)
    with FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={}, durable=False).writer() as writer:
        writer.write("a", CLIPS[clip_of(0).id], source="adae88e0d31f8b19")  # by an earlier version
        writer.write("b", CLIPS[clip_of(0).id], source=source)
    store, same = FeatureStore.open(tmp_path / "s"), replace(clip, id="b")
    assert not has_changed(store, clip, tmp_path) and not has_changed(store, same, tmp_path)
    (tmp_path / "videos" / "ä.mp4").write_bytes(b"A video")
    assert has_changed(store, same, tmp_path)
    assert not has_changed(store, same)  # where nobody looks at the media
    assert not has_changed(store, clip, tmp_path)  # which media it was made from was not written down
    (tmp_path / "videos" / "ä.mp4").unlink()
    assert not has_changed(store, same, tmp_path)  # they are away
