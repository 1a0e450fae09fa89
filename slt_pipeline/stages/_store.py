"""The feature store as phase two reads it: opened only if it is the one that the recipe's encoder makes."""

import logging

from cache import FeatureStore
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.errors import SltError
from slt_pipeline.stages._encoder import fingerprint
from slt_pipeline.training.checkpoint import best_checkpoint

log = logging.getLogger(__name__)


def open_features(recipe: Recipe) -> FeatureStore:
    """The recipe's store.

    **Raises:** SltError if there is none, StoreError if other weights or settings made it, naming both values.
    """
    path = recipe.store_folder
    made_by = f"slt extract --split all -r {recipe.name}"
    if not path.exists():
        raise SltError(f"no feature store at {path}; make it with `{made_by}`")
    if recipe.run_folder("visual_train").exists():
        encoder = best_checkpoint(recipe.run_folder("visual_train"), made_by=f"slt visual-train -r {recipe.name}")
        return FeatureStore.open(path, fingerprint=fingerprint(recipe, encoder))
    log.warning("%s is used as it is: there is no visual_train run to compare its fingerprint with", path)
    return FeatureStore.open(path)
