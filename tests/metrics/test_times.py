"""How far times are off, by hand."""

import pytest

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.times import time_errors
from slt_pipeline.metrics.wer import align


def test_only_glosses_that_are_right_are_compared_each_with_its_own():
    found = time_errors(
        align(["A X C E"], ["A B C D"]),  # X for B, E for D
        [[(0.1, 0.5), (0.6, 0.8), (1.0, 1.5), (2.0, 3.0)]],
        [[(0.0, 0.4), (0.4, 0.6), (1.3, 1.4), (9.0, 9.5)]],
    )
    assert found is not None
    assert found.num_timed == 2
    assert found.start_error == pytest.approx((0.1 + 0.3) / 2)
    assert found.end_error == pytest.approx((0.1 + 0.1) / 2)
    assert found.start_error_90 == pytest.approx(0.1 + 0.9 * 0.2)


def test_a_missing_and_an_additional_gloss_shift_nothing():
    found = time_errors(align(["B C D"], ["A B C"]), [[(1, 2), (3, 4), (5, 6)]], [[(0, 1), (1, 2), (3, 4)]])
    assert found is not None
    assert (found.num_timed, found.start_error, found.end_error_90) == (2, 0, 0)


def test_a_time_before_and_one_behind_are_both_errors():
    found = time_errors(["C", "C"], [[(1.0, 2.0)], [(2.0, 3.0)]], [[(1.2, 2.2)], [(1.8, 2.8)]])
    assert found is not None
    assert (found.start_error, found.end_error) == pytest.approx((0.2, 0.2))


def test_nothing_right_is_no_error_of_zero():
    assert time_errors(["S", "D", ""], [[(0, 1)], [], []], [[(0, 1)], [(0, 1)], []]) is None


def test_a_gloss_without_a_time_is_refused():
    with pytest.raises(SltError, match="times of 1 recognised and 2 right glosses, and an alignment of 2 and 2"):
        time_errors(["CC"], [[(0, 1)]], [[(0, 1), (1, 2)]])
