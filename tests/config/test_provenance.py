import pytest

from slt_pipeline.config.provenance import differences, flatten
from slt_pipeline.config.training import OptimiserConfig, TrainingConfig


def _training(**rates: float) -> dict:
    return {"training": TrainingConfig(optimiser=OptimiserConfig(lr=rates))}


def test_a_rate_that_an_older_run_did_not_have_is_a_difference():
    found = differences(flatten(_training(default=0.01)), _training(default=0.01, mapper=0.5))
    assert found == [("training.optimiser.lr.mapper", None, 0.5)]


def test_a_rate_that_is_gone_is_a_difference():
    found = differences(flatten(_training(default=0.01, mapper=0.5)), _training(default=0.01))
    assert found == [("training.optimiser.lr.mapper", 0.5, None)]


@pytest.mark.parametrize(
    ("before", "now"), [(None, {"config_json": "a"}), ({"config_json": None}, {"config_json": "a"})]
)
def test_files_where_there_were_none_are_a_difference(before, now):
    found = differences(flatten({"mbart_files": before}), {"mbart_files": now})
    assert found == [("mbart_files.config_json", None, "a")]


def test_a_field_that_an_older_account_lacks_counts_as_its_default():
    before = flatten(_training(default=0.01))
    del before["training.optimiser.eps"]
    assert differences(before, _training(default=0.01)) == []
    changed = {"training": TrainingConfig(optimiser=OptimiserConfig(lr={"default": 0.01}, eps=1.0))}
    assert differences(before, changed) == [("training.optimiser.eps", 1e-08, 1.0)]


def test_a_mapping_of_which_an_older_account_says_nothing_refuses_nothing():
    assert differences({"seed": 3}, {"seed": 3, "mbart_files": {"config_json": "a"}}) == []
