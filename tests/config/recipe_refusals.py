"""What a recipe that is refused is refused with, in one line."""

import pytest

from slt_pipeline.config.recipe import load_recipe
from slt_pipeline.errors import SltError

LR = "translate_train.training.optimiser.lr"
OBJECTIVE = "translate_train.objective"


def refusal(name: str, *overrides: str) -> str:
    """Of a recipe under these overrides."""
    with pytest.raises(SltError) as found:
        load_recipe(name, overrides)
    assert "\n" not in str(found.value)
    return str(found.value)


def demo_refusal(*overrides: str, name: str = "demo/mmtlb") -> str:
    """Of the demo's recipe, or of another, where the overrides are what is looked at."""
    return refusal(name, *overrides)
