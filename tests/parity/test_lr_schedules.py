import pytest
import torch
from parity_data import parity_json

from slt_pipeline.config.training import OptimiserConfig, ScheduleConfig
from slt_pipeline.training.optim import build_optimiser, rate_factor, set_rates


def _cases() -> list:
    try:
        return [name for name, case in parity_json("lr_schedules.json").items() if isinstance(case, dict)]
    except pytest.skip.Exception as reason:
        return [pytest.param("absent", marks=pytest.mark.skip(reason=str(reason)))]
    except (pytest.fail.Exception, AssertionError, ValueError) as problem:
        return [f"unreadable: {problem}"]


@pytest.mark.parametrize("case", _cases())
def test_every_epoch_of_a_published_config_runs_at_its_published_rate(parity_json, case):
    want = parity_json("lr_schedules.json")[case]
    names = list(want["lr_per_epoch"])
    # The rate of an epoch is the base rate times the cosine, which the reference starts to follow in its first epoch.
    schedule = ScheduleConfig(name="cosine-epoch", t_max=want["t_max"])
    first = rate_factor(schedule, epoch=0, step=0, epochs=want["total_epoch"], total_steps=1)
    config = OptimiserConfig(
        name={"Adam": "adam", "AdamW": "adamw"}[want["optimizer"]],
        lr={name: round(want["lr_per_epoch"][name][0] / first, 12) for name in names},
        betas=tuple(want["betas"]),
        eps=want["eps"],
        weight_decay=want["weight_decay"],
    )
    optimiser = build_optimiser(config, {name: [torch.nn.Parameter(torch.zeros(1))] for name in names})
    assert all(
        (group["betas"], group["eps"], group["weight_decay"])
        == (tuple(want["betas"]), want["eps"], want["weight_decay"])
        for group in optimiser.param_groups
    )
    found = {name: [] for name in names}
    for epoch in range(want["total_epoch"]):
        set_rates(optimiser, rate_factor(schedule, epoch=epoch, step=0, epochs=want["total_epoch"], total_steps=1))
        for group in optimiser.param_groups:
            found[group["name"]].append(group["lr"])
    for name in names:
        assert found[name] == pytest.approx(want["lr_per_epoch"][name], rel=1e-9, abs=1e-18), name
