import re
from pathlib import Path

import pytest

from slt_pipeline.config.recipe import Recipe, list_recipes, load_recipe
from slt_pipeline.errors import SltError

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes"
FILES = sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))
# A file whose name starts with `_` holds what several recipes share and is no experiment of its own.
SHIPPED = [name for name in FILES if not name.rpartition("/")[2].startswith("_")]


def test_the_list_of_recipes_is_the_folder():
    assert sorted(list_recipes()) == SHIPPED
    assert "demo/mmtlb" in SHIPPED


def test_every_yaml_file_ends_in_yaml():
    assert list(RECIPES.rglob("*.yml")) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_loads_under_its_own_name_and_says_what_it_is(name):
    recipe = load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert recipe.name == name
    assert recipe.description != ""


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_is_listed_with_a_score_or_says_that_there_is_none(name):
    rows = [
        row
        for row in (RECIPES / "README.md").read_text(encoding="utf-8").splitlines()
        if f"`{name}`" in row and row.startswith("|")
    ]
    assert rows, f"recipes/README.md has no table row for `{name}`"
    said = " ".join(row.replace(f"`{name}`", "") for row in rows)
    assert re.search(r"\d|\bnot run\b|\bpaper\b", said), (
        f"recipes/README.md gives `{name}` neither a score nor `not run`"
    )


def test_every_recipe_that_the_readme_lists_exists():
    text = (RECIPES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\|\s*`([\w./-]+)`", text, re.MULTILINE)
    assert sorted(set(listed) - set(SHIPPED)) == []


def test_an_unknown_key_is_refused_in_every_recipe():
    for name in SHIPPED:
        with pytest.raises(SltError, match="sead"):
            load_recipe(name, ["sead=3"])
