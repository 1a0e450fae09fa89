"""A file that one process holds at a time."""

import os
from pathlib import Path

import pytest

from slt_pipeline.errors import SltError
from slt_pipeline.files import held


@pytest.mark.parametrize("number", [1, 2])
def test_a_file_that_its_holder_takes_away_meanwhile_is_not_held(tmp_path, monkeypatch, number):
    lock, asked, stat = tmp_path / ".x.lock", [], os.stat

    def taken_away(self: Path, **options):
        if self == lock:
            asked.append(1)
            if len(asked) == number:
                lock.unlink()
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", taken_away)
    with held(lock, "x"), pytest.raises(SltError, match="x is being written by another process"):  # noqa: SIM117
        with held(lock, "x"):
            pass
