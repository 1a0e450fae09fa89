"""Checksums are zlib's, whoever computes them."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np

from cache import FeatureStore
from cache.seal import crc32, hex_crc32
from cache.testing import STREAMS, make_clips

ROOT = Path(__file__).resolve().parents[2]


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
