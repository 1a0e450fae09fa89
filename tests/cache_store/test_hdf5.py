"""HDF5 files with datasets beyond a page, which HDF5 aligns, leaving gaps between them."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from cache import FeatureStore, StreamSpec
from cache.care.verify import verify
from cache.testing import assert_holds, make_clips


@pytest.mark.parametrize("num_clips", [1, 5, 40])
@pytest.mark.parametrize("dims", [(832,), (104, 128), (104, 128, 65), (832, 512, 1100)])
def test_every_stream_of_a_large_shard_lies_where_the_index_and_hdf5_say(
    tmp_path: Path, dims: tuple[int, ...], num_clips: int
) -> None:
    streams = {f"stream_{number}": StreamSpec(dim, "float16") for number, dim in enumerate(dims)}
    clips = make_clips(num_clips, streams=streams)
    store = FeatureStore.create(tmp_path / "s", backend="hdf5", streams=streams, fingerprint={}, durable=False)
    with store.writer() as writer:
        for clip_id, features in clips.items():
            writer.write(clip_id, features)
    assert_holds(store, clips)
    assert verify(tmp_path / "s") == []
    with h5py.File(tmp_path / "s" / "data" / "00000000.h5") as file:
        for name in streams:
            expected = np.concatenate([features[name] for features in clips.values()])
            np.testing.assert_array_equal(np.asarray(file[name]), expected, strict=True)
