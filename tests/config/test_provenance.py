import pytest
from pydantic import create_model

from slt_pipeline.config.base import Config
from slt_pipeline.config.provenance import differences, flatten
from slt_pipeline.config.recipe import load_recipe
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


@pytest.mark.parametrize("name", ["demo/mmtlb", "cvslt/phoenix14t", "demo/joint"])
def test_a_field_that_any_section_gains_refuses_nothing_at_its_default(name):
    recipe = load_recipe(name)
    sections = {key: value for key in type(recipe).model_fields if isinstance(value := getattr(recipe, key), Config)}
    assert len(sections) > 10
    before = flatten(sections)
    assert differences(before, {key: _grown(section, gained=7) for key, section in sections.items()}) == []
    found = differences(before, {key: _grown(section, gained=8) for key, section in sections.items()})
    assert len(found) > 20 and {difference[1:] for difference in found} == {(7, 8)}


def _grown(section: Config, gained: int) -> Config:
    """The same section where each class has one more field, whose default is 7."""
    grown = create_model("Grown", __base__=type(section), gained=(int, 7))
    inner = {name: getattr(section, name) for name in type(section).model_fields}
    inner = {name: _grown(value, gained) if isinstance(value, Config) else value for name, value in inner.items()}
    return grown.model_construct(**inner, gained=gained)
