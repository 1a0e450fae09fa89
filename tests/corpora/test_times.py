"""Reference times are read where a manifest has them, and nowhere else."""

import pytest

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.times import reference_times


def _clip(extra: dict | None, gloss: tuple[str, ...] | None = ("A", "B")) -> Clip:
    return Clip("a", "a.mp4", 50, 25.0, "s", gloss, None, "dev", extra=extra)


def test_frames_become_seconds():
    assert reference_times(_clip({"spans": [[5, 10], [12, 25]]})) == [(0.2, 0.4), (0.48, 1.0)]


@pytest.mark.parametrize(
    "extra",
    [
        None,
        {},
        {"spans": [[5, 10]]},
        {"spans": "5-10 12-25"},
        {"spans": [[5, 10], [12]]},
        {"spans": [[5, 10], ["a", "b"]]},
        {"spans": [[10, 5], [12, 25]]},
    ],
)
def test_anything_else_under_that_name_is_no_time(extra):
    assert reference_times(_clip(extra)) is None


def test_a_clip_without_glosses_has_none():
    assert reference_times(_clip({"spans": []}, None)) is None
