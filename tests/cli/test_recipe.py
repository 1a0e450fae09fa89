import json

import pytest
import yaml

from slt_pipeline.config.recipe import dump_recipe, list_recipes, load_recipe
from slt_pipeline.errors import SltError


def test_list_shows_every_recipe_with_its_description(slt):
    lines = slt("recipe", "list").output.splitlines()
    assert [line.split()[0] for line in lines] == list_recipes()
    for line in lines:
        name, description = line.split(maxsplit=1)
        assert description == load_recipe(name).description


def test_show_prints_the_resolved_recipe_with_overrides(slt):
    shown = yaml.safe_load(slt("recipe", "show", "demo/mmtlb", "-o", "seed=77", "-o", "synth.width=64").output)
    assert (shown["seed"], shown["synth"]["width"], shown["name"]) == (77, 64, "demo/mmtlb")


def test_show_takes_the_name_as_argument_as_option_or_from_the_environment(slt, monkeypatch, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: demo/mmtlb\nseed: 9\n")
    expected = dump_recipe(load_recipe(str(mine)))
    assert slt("recipe", "show", mine).output == expected
    assert slt("recipe", "show", "-r", mine).output == expected
    assert slt("recipe", "show").output == dump_recipe(load_recipe("demo/mmtlb"))
    monkeypatch.setenv("SLT_RECIPE", str(mine))
    assert slt("recipe", "show").output == expected


def test_what_show_prints_is_a_recipe(slt, tmp_path):
    saved = tmp_path / "saved.yaml"
    saved.write_text(slt("recipe", "show", "demo/mmtlb").output)
    assert load_recipe(str(saved)) == load_recipe("demo/mmtlb")


def test_schema_prints_json(slt):
    assert json.loads(slt("recipe", "schema").output)["properties"]["seed"]["minimum"] == 0


def test_an_unknown_recipe_is_the_users_mistake(slt):
    with pytest.raises(SltError, match="did you mean demo/mmtlb"):
        slt("recipe", "show", "demo/mmtbl")
