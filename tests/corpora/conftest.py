"""Shared by the corpus tests: the folder of real annotations, and small ones in the same format."""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def real_data() -> Path:
    """Real annotations; skips the test where they are absent."""
    folder = Path(os.environ.get("SLT_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
    if not folder.is_dir():
        pytest.skip("real annotations: ../shared/data is absent and SLT_TEST_DATA is not set")
    return folder


@pytest.fixture
def write_annotations(tmp_path):
    """`write_annotations("phoenix-2014t", {"train": [record, ...]})` gives the folder, in the distributed format."""

    def write(stem, splits):
        folder = tmp_path / "annotations"
        folder.mkdir(exist_ok=True)
        for split, records in splits.items():
            content = [{**record, "sign": torch.zeros(0)} for record in records]
            (folder / f"{stem}.{split}").write_bytes(gzip.compress(pickle.dumps(content)))
        return folder

    return write


@pytest.fixture
def write_frames():
    """`write_frames(folder, 8, "images{:04d}.png", start=1)` writes small pictures."""

    def write(folder, num_frames, name="images{:04d}.png", start=1):
        folder.mkdir(parents=True)
        for index in range(num_frames):
            pixels = np.full((20, 16, 3), index * 9, np.uint8)
            Image.fromarray(pixels).save(folder / name.format(index + start))
        return folder

    return write
