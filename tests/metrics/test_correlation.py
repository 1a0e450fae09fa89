import numpy as np
import pytest

from slt_pipeline.metrics.correlation import spearman


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ([1, 2, 3], [10, 200, 3000], 1.0),  # ranks alone count
        ([1, 2, 3], [9, 4, 1], -1.0),
        ([1, 2, 3], [1, 3, 2], 0.5),
        ([1, 2, 2, 3], [1, 2, 3, 4], 0.9486832980505138),  # ties share their mean rank: 3 / sqrt(10)
    ],
)
def test_ranks_are_correlated(first, second, wanted):
    assert spearman(first, np.array(second)) == pytest.approx(wanted)


def test_a_constant_series_has_no_correlation():
    assert spearman([1, 1, 1], [1, 2, 3]) is None
