"""`keep_bits`: numbers are rounded to the nearest, once, before anything else is done with them."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import Compression, FeatureStore, StoreError, StreamSpec
from cache.care.verify import verify
from cache.testing import STREAMS, assert_holds, make_clips

CLIPS = make_clips(20)
TWO = list(CLIPS)[1]


def rounded(numbers: Any, dtype: str, keep_bits: int) -> np.ndarray:
    rows = np.array(numbers, dtype)
    Compression("zstd", keep_bits=keep_bits).round(rows)
    return rows


@pytest.mark.parametrize(
    ("dtype", "keep_bits", "number", "expected"),
    [
        # float16 near 1 with 2 bits of mantissa knows 1, 1.25, 1.5, 1.75, 2
        ("float16", 2, 1.1, 1.0),
        ("float16", 2, 1.13, 1.25),
        ("float16", 2, 1.125, 1.0),  # half way: to the even one
        ("float16", 2, 1.375, 1.5),  # half way: to the even one
        ("float16", 2, 1.9, 2.0),  # over the next power of two
        ("float16", 2, -1.13, -1.25),
        ("float16", 1, 100.0, 96.0),  # 64 * 1.5625, between 64 * 1.5 and 128
        ("float16", 9, 1.0 + 2**-9, 1.0 + 2**-9),
        ("float16", 9, 1.0 + 2**-10, 1.0),
        ("float16", 10, 1.0 + 2**-10, 1.0 + 2**-10),  # all bits are kept
        ("float16", 3, 2**-24, 0.0),  # the smallest number of all has no leading bit
        ("float16", 3, 0.0, 0.0),
        ("float32", 3, 3.14159265, 3.25),  # 2 * 1.5708, between 2 * 1.5 and 2 * 1.625
        ("float32", 8, 3.14159265, 3.140625),  # 2 * (1 + 146.11 / 256)
        ("float32", 22, 1.0 + 2**-22, 1.0 + 2**-22),
        ("float32", 22, 1.0 + 2**-23, 1.0),
        ("float32", 23, 1.0 + 2**-23, 1.0 + 2**-23),
    ],
)
def test_keep_bits_rounds_to_the_nearest(dtype: str, keep_bits: int, number: float, expected: float) -> None:
    assert rounded([[number]], dtype, keep_bits).tolist() == [[expected]]


@pytest.mark.parametrize(("dtype", "mantissa"), [("float16", 10), ("float32", 23)])
def test_the_relative_error_is_at_most_half_a_kept_bit(dtype: str, mantissa: int) -> None:
    rng = np.random.default_rng(5)
    numbers = rng.uniform(1, 2, 2000) * 2.0 ** rng.integers(-14, 14, 2000) * rng.choice([-1, 1], 2000)
    numbers = numbers.astype(dtype)[:, None]
    for keep_bits in range(1, mantissa + 1):
        found = rounded(numbers, dtype, keep_bits)
        error = np.abs(found.astype(np.float64) - numbers) / np.abs(numbers.astype(np.float64))
        assert error.max() <= 2.0 ** -(keep_bits + 1)
        bits = found.view(f"u{found.itemsize}")
        assert not (bits & ((1 << mantissa - keep_bits) - 1)).any(), "the bits that are not kept are zeros"


@pytest.mark.parametrize("codec", ["blosc", "zstd"])
def test_what_is_read_and_checked_are_the_rounded_numbers(tmp_path: Path, codec: str) -> None:
    compression = Compression(codec, keep_bits=4, chunk_steps=4)
    store = FeatureStore.create(
        tmp_path / "s", streams=STREAMS, fingerprint={}, shard_steps=16, compression=compression, durable=False
    )
    with store.writer() as writer:
        for clip_id, features in CLIPS.items():
            writer.write(clip_id, features)
    expected = {
        clip_id: {name: rounded(array, array.dtype.name, 4) for name, array in features.items()}
        for clip_id, features in CLIPS.items()
    }
    assert_holds(store, expected)
    record, position = store._index.position(TWO)
    assert record.checksums["wide"][position] == f"{zlib.crc32(expected[TWO]['wide'].tobytes()):08x}"
    assert verify(tmp_path / "s") == []


def test_writing_does_not_round_what_it_was_given(tmp_path: Path) -> None:
    store = FeatureStore.create(
        tmp_path / "s", streams={"a": StreamSpec(1)}, fingerprint={}, compression=Compression("zstd", keep_bits=2)
    )
    given = np.array([[1.1], [1.13]], np.float16)
    with store.writer() as writer:
        writer.write("clip", {"a": given})
    assert given.tolist() == np.array([[1.1], [1.13]], np.float16).tolist()
    assert store.read("clip", "a").tolist() == [[1.0], [1.25]]


@pytest.mark.parametrize(
    ("dtype", "bits", "message"),
    [
        # float16's largest number, 65504, is nearer to infinity than to what 5 bits can say
        ("float16", 0x7BFF, "65504.0 at step 1, feature 0 does not fit into float16"),
        ("float16", 0xFBFF, "-65504.0 at step 1, feature 0 does not fit into float16"),
        ("float32", 0x7F7FFFFF, r"3.4028.*e\+38 at step 1, feature 0 does not fit into float32"),
        ("float16", 0x7C00, "inf at step 1, feature 0 is not finite"),
        ("float16", 0x7E00, "nan at step 1, feature 0 is not finite"),
        # NaN with all bits set, as CUDA makes it, must not be rounded away
        ("float16", 0x7FFF, "nan at step 1, feature 0 is not finite"),
        ("float16", 0xFFFF, "nan at step 1, feature 0 is not finite"),
        ("float32", 0x7FFFFFFF, "nan at step 1, feature 0 is not finite"),
        ("float32", 0xFFFFFFFF, "nan at step 1, feature 0 is not finite"),
    ],
)
def test_what_is_not_finite_after_rounding_is_refused_by_name(
    tmp_path: Path, dtype: str, bits: int, message: str
) -> None:
    store = FeatureStore.create(
        tmp_path / "s",
        streams={"a": StreamSpec(1, dtype)},
        fingerprint={},
        compression=Compression("zstd", keep_bits=5),
    )
    rows = np.ones((3, 1), dtype)
    rows.view(f"u{rows.itemsize}")[1] = bits
    with pytest.raises(StoreError, match=f"clip 'bad', stream 'a': {message}"):
        store.writer().write("bad", {"a": rows})
    with store.writer() as writer:
        writer.write("good", {"a": rows[:1]})
    assert FeatureStore.open(tmp_path / "s").keys() == ["good"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(63488.0, 63488.0), (64480.0, 63488.0), (-64480.0, -63488.0), (64512.0, np.inf)],
)
def test_the_largest_number_of_four_bits_is_as_near_as_any(number: float, expected: float) -> None:
    assert rounded([[number]], "float16", 4).tolist() == [[expected]]  # 2 ** 15 * 1.9375, and half a step beyond it
