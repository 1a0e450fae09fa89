import itertools
import math

import pytest
import torch

from slt_pipeline.config.training import OptimiserConfig, ScheduleConfig
from slt_pipeline.errors import SltError
from slt_pipeline.training.optim import build_optimiser, rate_factor, set_rates, unfinished


def part(size: int = 2) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.full((size,), 2.0))]


def factors(name: str, *, epochs: int = 4, steps_per_epoch: int = 5, **settings) -> list[float]:
    schedule = ScheduleConfig(name=name, **settings)
    total = epochs * steps_per_epoch
    return [
        rate_factor(schedule, epoch=step // steps_per_epoch, step=step, epochs=epochs, total_steps=total)
        for step in range(total)
    ]


def test_each_part_has_its_own_rate_and_default_serves_the_rest():
    config = OptimiserConfig(lr={"mapper": 1e-3, "default": 1e-5})
    groups = build_optimiser(config, {"mapper": part(), "translation": part()}).param_groups
    assert [(group["name"], group["base_lr"]) for group in groups] == [("mapper", 1e-3), ("translation", 1e-5)]


def test_every_trainable_parameter_is_in_one_group_and_frozen_ones_in_none():
    frozen, trained = part()[0].requires_grad_(False), part()[0]
    optimiser = build_optimiser(OptimiserConfig(), {"recognition": [frozen, trained], "mapper": [frozen]})
    assert [group["params"] for group in optimiser.param_groups] == [[trained]]


def test_a_rate_for_what_no_model_has_is_refused_with_the_nearest_name():
    message = r"names maper, but the model's parameter groups are mapper, translation; the nearest name is mapper"
    with pytest.raises(SltError, match=message):
        build_optimiser(OptimiserConfig(lr={"maper": 1e-3, "default": 1}), {"mapper": part(), "translation": part()})
    with pytest.raises(SltError, match="the nearest name is bridge"):
        build_optimiser(OptimiserConfig(lr={"brigde": 1e-3, "default": 1}), {"bridge": part()})


def test_a_rate_for_a_known_group_that_this_model_lacks_is_no_mistake():
    rates = {"s3d": 1e-6, "recognition": 1e-4, "mapper": 1e-3, "translation": 1e-5, "variational": 1e-5}
    groups = build_optimiser(OptimiserConfig(lr=rates), {"mapper": part(), "translation": part()}).param_groups
    assert [(group["name"], group["base_lr"]) for group in groups] == [("mapper", 1e-3), ("translation", 1e-5)]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"s3d.3": 1.0, "s3d": 2.0, "recognition": 3.0, "default": 4.0}, [2.0, 1.0, 3.0, 4.0]),
        ({"recognition": 3.0, "default": 4.0}, [3.0, 3.0, 3.0, 4.0]),
        ({"s3d.2": 1.0, "default": 4.0}, [1.0, 4.0, 4.0, 4.0]),
    ],
)
def test_a_block_without_a_rate_has_that_of_the_backbone_and_that_the_recogniser_s(rates, expected):
    parts = {name: part() for name in ("s3d.2", "s3d.3", "recognition", "mapper")}
    assert [group["base_lr"] for group in build_optimiser(OptimiserConfig(lr=rates), parts).param_groups] == expected


def test_a_part_without_a_rate_is_refused():
    with pytest.raises(SltError, match=r"no rate for translation and no `default`"):
        build_optimiser(OptimiserConfig(lr={"mapper": 1e-3}), {"mapper": part(), "translation": part()})


def test_set_rates_scales_every_base_rate():
    config = OptimiserConfig(lr={"mapper": 1e-3, "default": 1e-5})
    optimiser = build_optimiser(config, {"mapper": part(), "translation": part()})
    set_rates(optimiser, 0.5)
    set_rates(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25e-3, 0.25e-5]


def one_step(name: str) -> torch.Tensor:
    """Where a parameter of value 2 and gradient 0 goes in one step of rate 0.1 and weight decay 0.5."""
    parameters = part(1)
    config = OptimiserConfig(name=name, lr={"default": 0.1}, weight_decay=0.5, eps=1e-8)
    optimiser = build_optimiser(config, {"only": parameters})
    set_rates(optimiser, 1.0)
    parameters[0].grad = torch.zeros(1)
    optimiser.step()
    return parameters[0].detach()


def test_adam_takes_weight_decay_into_the_gradient_as_published():
    # The gradient is 0 + 0.5 * 2; Adam's first step is the rate, whatever the gradient's size.
    torch.testing.assert_close(one_step("adam"), torch.tensor([1.9]))


def test_adamw_shrinks_the_weight_beside_the_gradient():
    torch.testing.assert_close(one_step("adamw"), torch.tensor([2 - 0.1 * 0.5 * 2]))
    parameters = part(1)
    optimiser = build_optimiser(OptimiserConfig(name="adamw", weight_decay=4.0), {"only": parameters})
    set_rates(optimiser, 1.0)
    parameters[0].grad = torch.zeros(1)
    optimiser.step()
    torch.testing.assert_close(parameters[0].detach(), torch.tensor([2 - 1e-3 * 4 * 2]))  # grows with the decay


def test_published_cosine_runs_every_step_of_epoch_e_at_the_rate_of_e_plus_one():
    assert factors("cosine-epoch")[::5] == [(1 + math.cos(math.pi * (e + 1) / 4)) / 2 for e in range(4)]
    assert len(set(factors("cosine-epoch"))) == 4


def test_published_cosine_runs_the_last_of_t_max_epochs_at_zero():
    assert factors("cosine-epoch")[-5:] == [0.0] * 5
    assert factors("cosine-epoch", t_max=80)[-1] == pytest.approx(0.9938441702975689)


def test_cosine_over_steps_warms_up_then_falls_to_almost_zero():
    found = factors("cosine-step", warmup_steps=4)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(a > b for a, b in itertools.pairwise(found[4:]))
    assert 0 < found[-1] < 0.02


def test_cosine_over_steps_without_warm_up_starts_at_the_full_rate():
    assert factors("cosine-step")[0] == 1.0


def test_constant_stays_at_the_full_rate_after_the_warm_up():
    assert factors("constant", warmup_steps=2) == [0.5] + [1.0] * 19


def test_a_warm_up_longer_than_the_run_never_passes_the_full_rate():
    assert max(factors("cosine-step", warmup_steps=40)) == 0.5


def test_a_warm_up_that_a_run_ends_within_is_told():
    (told,) = unfinished(ScheduleConfig(name="constant", warmup_steps=50), 5, 50)
    assert told == "schedule.warmup_steps is 50, and the run has 50 steps: it ends warming up; lower it"
    assert not unfinished(ScheduleConfig(name="cosine-step", warmup_steps=49), 5, 50)
    assert not unfinished(ScheduleConfig(name="constant"), 5, 50)


def test_a_run_all_of_whose_steps_have_rate_0_is_told():
    for schedule in (ScheduleConfig(), ScheduleConfig(t_max=1)):
        (told,) = unfinished(schedule, 1, 50)
        assert told == (
            "schedule.name is cosine-epoch, and the run has 1 epoch, which is the last and has rate 0: it learns "
            "nothing; set schedule.name=cosine-step, or more epochs"
        )
    for schedule in (ScheduleConfig(t_max=2), ScheduleConfig(name="cosine-step"), ScheduleConfig(name="constant")):
        assert not unfinished(schedule, 1, 1)
    assert not unfinished(ScheduleConfig(), 2, 100)
