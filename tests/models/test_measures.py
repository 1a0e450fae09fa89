import math

import pytest
import torch

from slt_pipeline.models.measures import Density, Likeness, gloss_measures

DRAW = torch.Generator().manual_seed(0)


@pytest.fixture
def density() -> Density:
    """Of six directions, two of which have a spread of their own."""
    axes = torch.eye(6, dtype=torch.float64)[:2]
    return Density(torch.arange(6, dtype=torch.float64), axes, torch.tensor([4.0, 2.0], dtype=torch.float64), 0.5)


def test_a_recogniser_that_is_sure_has_no_entropy_and_one_that_knows_nothing_all_of_it():
    sure = torch.full((5, 4), -100.0)
    sure[:3, 0], sure[3:, 2] = 100.0, 100.0
    assert gloss_measures(sure) == pytest.approx({"gloss entropy": 0.0, "blank share": 0.6}, abs=1e-9)
    assert gloss_measures(torch.zeros(5, 4))["gloss entropy"] == pytest.approx(math.log(4))


def test_every_axis_has_its_own_spread_and_all_other_directions_the_same(density):
    spread = torch.diag(torch.tensor([4.0, 2.0, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64))
    torch.testing.assert_close(density.whitened(spread), torch.eye(6, dtype=torch.float64))


def test_twice_as_far_from_training_is_twice_the_distance(density):
    away = torch.randn(1, 6, generator=DRAW)
    near, far = (float(density.distances(density.mean + size * away)) for size in (1, 2))
    assert far == pytest.approx(2 * near)
    assert float(density.distances(density.mean[None])) == 0


def test_a_still_picture_does_not_change_and_a_single_step_has_no_change_to_measure(density):
    likeness, still = Likeness(density, density, density), torch.ones(4, 6)
    assert likeness.measures(still, still)["change"] == 0
    assert set(likeness.measures(still[:1], still[:1])) == {
        "distance",
        "distance of a stretch",
        "distance of steps",
        "steps",
    }


def test_half_a_second_unlike_training_is_not_lost_in_a_long_clip(density):
    likeness, steps = Likeness(density, density, density), density.mean.expand(40, 6).clone()
    before = likeness.measures(steps, steps)
    steps[20:23] += 9.0
    after = likeness.measures(steps, steps)
    assert before["distance of a stretch"] == 0
    assert after["distance of a stretch"] > 5 * after["distance of steps"]


def test_a_density_is_the_same_after_it_was_written_but_for_the_digits(density):
    vectors = torch.randn(3, 6, generator=DRAW)
    again = Density.of_numbers(density.as_numbers())
    torch.testing.assert_close(again.distances(vectors), density.distances(vectors), rtol=1e-5, atol=0)
