"""The code in cache/README.md and cache/FORMAT.md runs, and reads what we write."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cache
from cache import FeatureStore, StreamSpec

PAGES = [(Path(cache.__path__[0]) / name).read_text() for name in ("README.md", "FORMAT.md")]
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)]
CLIP = "clip-1"


def make_store(backend: str) -> np.ndarray:
    """Make a store of several shards at ./features; return the features of the clip that the README reads."""
    rng = np.random.default_rng(0)
    streams = {"s3d": StreamSpec(832, "float16"), "gloss_rep": StreamSpec(5, "float32")}
    store = FeatureStore.create(
        "features", backend=backend, streams=streams, fingerprint={}, shard_steps=50, durable=False
    )
    clips = {name: rng.standard_normal((28, 832)).astype(np.float16) for name in ("clip-0", "a", CLIP, "clip-2")}
    with store.writer() as writer:
        for name, features in clips.items():
            writer.write(name, {"s3d": features, "gloss_rep": features[:, :5]})
    return clips[CLIP]


def run(code: str) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(compile(code, "cache/README.md", "exec"), scope)
    return scope


@pytest.mark.parametrize(("library", "backend"), [("zarr", "zarr"), ("h5py", "hdf5")])
def test_a_store_is_read_by_the_plain_library_in_a_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, backend: str
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = make_store(backend)
    (code,) = [block for block in BLOCKS if f"pathlib, {library}\n" in block]
    assert len([line for line in code.splitlines() if line]) <= 7
    np.testing.assert_array_equal(run(code)["features"], expected, strict=True)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_store_is_read_without_any_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.chdir(tmp_path)
    expected = make_store(backend)
    (code,) = [block for block in BLOCKS if "np.fromfile" in block]
    np.testing.assert_array_equal(run(code)["features"], expected, strict=True)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run(BLOCKS[0])
    assert scope["features"].shape == (2, 31, 832)
    assert scope["lengths"].tolist() == [28, 31]
    assert scope["store"].keys() == ["clip-1", "clip-2"]
    exec(compile(BLOCKS[1], "cache/README.md", "exec"), scope)
    assert [path.name for path in Path("single/data").glob("*.h5")] == ["00000000.h5"]
    assert FeatureStore.open("single").keys() == ["clip-1"]


def test_zarr_sees_a_plain_group_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zarr

    monkeypatch.chdir(tmp_path)
    make_store("zarr")
    group = zarr.open_group("features/data", mode="r")
    members = dict(group.members())  # warns of files that are not Zarr's; warnings are errors here
    assert {name: (array.shape, array.chunks, str(array.dtype)) for name, array in members.items()} == {
        "s3d": ((400, 832), (50, 832), "float16"),
        "gloss_rep": ((400, 5), (50, 5), "float32"),
    }
    assert not group["s3d"][28:50].any(), "rows of no clip must read as zero"
