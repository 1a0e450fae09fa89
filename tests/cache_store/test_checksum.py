"""Checksums are zlib's, whoever computes them, and what is read is compared with them on request."""

import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import Compression, DamagedError, FeatureStore, NotFoundError, StoreError
from cache.seal import crc32, hex_crc32
from cache.testing import STREAMS, assert_holds, make_clips

ROOT = Path(__file__).resolve().parents[2]
CLIPS = make_clips(20)
ONE, TWO, *_ = CLIPS


def test_a_checksum_is_that_of_zlib() -> None:
    data = np.random.default_rng(0).integers(0, 256, 100_003, np.uint8)
    for size in (0, 1, 7, 64, 4099, len(data)):
        assert crc32(data[:size].data) == zlib.crc32(data[:size].data)
    assert crc32(data[7:].data, crc32(data[:7].data)) == zlib.crc32(data.data)
    assert hex_crc32(b"\x00\x00\x00\x0b") == f"{zlib.crc32(bytes([0, 0, 0, 11])):08x}"


def test_a_store_verifies_where_isal_is_not_installed(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s", streams=STREAMS, fingerprint={}, durable=False)
    with store.writer() as writer:
        for clip_id, features in make_clips(9).items():
            writer.write(clip_id, features)
    code = (
        "import sys; sys.modules['isal'] = None; import zlib; from cache.seal import crc32; "
        f"assert crc32 is zlib.crc32; from cache.care.verify import verify; print(verify({str(store.path)!r}))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"


# Proof on read


KINDS = pytest.mark.parametrize(
    ("backend", "compression"),
    [("zarr", None), ("hdf5", None), ("zarr", Compression("blosc", chunk_steps=8))],
    ids=["zarr", "hdf5", "blosc"],
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def made(**options: Any) -> Path:
        store = FeatureStore.create(
            tmp_path / "s", streams=STREAMS, fingerprint={}, shard_steps=64, durable=False, **options
        )
        with store.writer() as writer:
            for clip_id, features in CLIPS.items():
                writer.write(clip_id, features)
        return store.path

    return made


def flip(path: Path, clip_id: str, stream: str = "wide") -> None:
    """Change a bit of a clip's first number, which is not compressed, behind the store's back."""
    record, row, _ = FeatureStore.open(path)._place(clip_id)
    extent = record.extents[stream]
    file = path / extent.file
    data = bytearray(file.read_bytes())
    data[extent.offset + row * STREAMS[stream].row_bytes] ^= 1
    file.write_bytes(data)


WAYS = [
    lambda store: store.read(ONE, "wide"),
    lambda store: store.read(ONE, "wide", 1, 2),  # a bit elsewhere in the clip; a checksum is of all of it
    lambda store: store.read(ONE, "wide", stop=0),
    lambda store: store.read_batch([TWO, ONE], "wide"),
]


@pytest.mark.parametrize("way", WAYS, ids=["whole", "part", "nothing", "batch"])
@pytest.mark.parametrize("check", ["first", "always"])
@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_bit_that_flipped_since_the_last_verify_is_told_by_clip_and_stream(
    make: Any, backend: str, check: Any, way: Any
) -> None:
    path = make(backend=backend)
    flip(path, ONE)
    store = FeatureStore.open(path, check=check)
    for _ in range(2):  # damage that was told once is told again
        with pytest.raises(DamagedError, match=f"clip '{ONE}', stream 'wide' of {path} is damaged: verify the store"):
            way(store)
    np.testing.assert_array_equal(store.read(TWO, "wide"), CLIPS[TWO]["wide"])
    np.testing.assert_array_equal(store.read(ONE, "narrow"), CLIPS[ONE]["narrow"])


def test_unless_told_a_read_compares_nothing(make: Any) -> None:
    path = make()
    flip(path, ONE)
    assert (FeatureStore.open(path).read(ONE, "wide") != CLIPS[ONE]["wide"]).sum() == 1


def test_the_first_read_of_a_clip_is_compared_and_always_means_every_one(make: Any) -> None:
    path = make()
    first, always = (FeatureStore.open(path, check=check) for check in ("first", "always"))
    for store in (first, always):
        store.read_batch([ONE, TWO], "wide")
    flip(path, ONE)
    assert first.read(ONE, "wide").shape == CLIPS[ONE]["wide"].shape
    for store in (always, pickle.loads(pickle.dumps(first))):  # noqa: S301 (a process of its own reads it first)
        with pytest.raises(DamagedError):
            store.read(ONE, "wide")


@KINDS
@pytest.mark.parametrize("check", ["first", "always"])
def test_what_is_compared_is_what_is_read_otherwise(make: Any, backend: str, compression: Any, check: Any) -> None:
    path = make(backend=backend, compression=compression)
    store = FeatureStore.open(path, check=check)
    for _ in range(2):
        assert_holds(store, CLIPS)
        part = store.read(TWO, "narrow", -2)
        np.testing.assert_array_equal(part, CLIPS[TWO]["narrow"][-2:], strict=True)
        assert part.base is None or part.base.nbytes == part.nbytes, "a part keeps the whole clip in memory"
    with pytest.raises(NotFoundError, match="clip 'nobody' is not in"):
        store.read("nobody", "wide")
    with pytest.raises(NotFoundError, match="clip 'nobody' is not in"):
        store.read_batch([ONE, "nobody"], "wide")


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_stream_is_compared_when_it_is_read_into_memory(make: Any, backend: str) -> None:
    path = make(backend=backend)
    flip(path, ONE)
    store = FeatureStore.open(path, resident="yes")
    with pytest.raises(DamagedError, match=f"clip '{ONE}', stream 'wide' of"):
        store.read(TWO, "wide")
    np.testing.assert_array_equal(store.read(ONE, "narrow"), CLIPS[ONE]["narrow"])


def test_check_takes_three_words(make: Any) -> None:
    with pytest.raises(StoreError, match="check True is not one of never, first, always"):
        FeatureStore.open(make(), check=True)  # pyright: ignore[reportArgumentType]
