"""Writers, removers, repairers, verifiers and readers at once, killed at random, cost nothing."""

import os
from pathlib import Path

import pytest

from cache.testing.storm import FAULTS, storm

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("SLT_STORM_SECONDS", "10"))  # of each backend


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_a_storm_loses_tears_revives_and_slanders_no_clip(tmp_path: Path, backend: str) -> None:
    counts = storm(tmp_path / "store", SECONDS, backend=backend)
    assert {fault: counts[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0)
    assert counts["kills"] > 3
    assert counts["committed"] > 10
    assert counts["read"] > 10
