"""What is minimised: named parts, each with its weight at a step."""

import math

import pytest
import torch

from slt_pipeline.config.objective import Ramp
from slt_pipeline.errors import SltError
from slt_pipeline.training.objective import Objective


def test_the_published_warm_up_of_4000_steps():
    """FACTS 9.4: 0 at step 0, half at 2000, the end from 4000 on."""
    objective = Objective({"prior": 1, "gaussian_kl": Ramp(to=1, over=4000), "output_kl": Ramp(to=3, over=4000)})
    found = {step: objective.weights(step) for step in (0, 1000, 2000, 3999, 4000, 10**6)}
    assert [weights["prior"] for weights in found.values()] == [1.0] * 6
    assert [weights["gaussian_kl"] for weights in found.values()] == [0, 0.25, 0.5, pytest.approx(0.99975), 1, 1]
    assert [weights["output_kl"] for weights in found.values()] == [0, 0.75, 1.5, pytest.approx(2.99925), 3, 3]


def test_a_ramp_may_start_anywhere_and_fall():
    weights = [Objective({"a": Ramp(start=2, to=0, over=4)}).weights(step)["a"] for step in range(6)]
    assert weights == [2.0, 1.5, 1.0, 0.5, 0.0, 0.0]


def test_ramps_that_a_run_ends_before_are_told():
    ramps = {"a": Ramp(to=1, over=5), "b": Ramp(to=2, over=6), "c": Ramp(to=0, over=9)}
    (told,) = Objective({"d": 1.0, **ramps}).unfinished(5)
    assert told == "the weight of b reaches 2 at step 6, and the run has 5; lower `over` of its ramp"


def test_the_total_is_the_weighted_sum_and_so_is_its_gradient():
    losses = {name: torch.tensor(value, requires_grad=True) for name, value in {"a": 3.0, "b": 5.0}.items()}
    total = Objective({"b": Ramp(to=1, over=4), "a": 2.0}).total(losses, step=1)
    total.backward()
    assert total.item() == 2 * 3 + 0.25 * 5
    assert {name: loss.grad.item() for name, loss in losses.items()} == {"a": 2.0, "b": 0.25}


def test_parts_are_those_whose_weight_is_not_zero_throughout():
    weights = {"a": 1.0, "b": 0, "c": Ramp(to=1, over=9), "d": Ramp(start=1, to=0, over=9), "e": Ramp(to=0, over=9)}
    objective = Objective(weights)
    assert objective.parts == {"a", "c", "d"}
    assert objective.weights(0) == {"a": 1.0, "b": 0.0, "c": 0.0, "d": 1.0, "e": 0.0}


def test_a_part_of_weight_zero_need_not_be_made_and_counts_nothing_if_it_is():
    objective = Objective({"a": 1.0, "b": 0.0})
    assert objective.total({"a": torch.tensor(3.0)}, 0).item() == 3
    assert objective.total({"a": torch.tensor(3.0), "b": torch.tensor(math.nan)}, 0).item() == 3


@pytest.mark.parametrize(
    ("made", "cure"),
    [
        (["a", "c"], "the model makes a, c; add c to it, with weight 0 if it is only to be logged"),
        (["b"], "the model makes b; take a out of the objective"),
        (["c"], "the model makes c; take a out of the objective, add c to it"),
        ([], "the model makes no loss; take a out of the objective"),
    ],
)
def test_losses_and_weights_that_do_not_match_are_named(made, cure):
    with pytest.raises(SltError, match=rf"the weights are for a, b, and {cure}"):
        Objective({"a": 1.0, "b": 0.0}).total({name: torch.tensor(1.0) for name in made}, 0)


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": Ramp(to=0, over=5), "b": 0}])
def test_an_objective_without_any_weight_is_refused(weights):
    with pytest.raises(SltError, match="no part has a weight above 0"):
        Objective(weights)
