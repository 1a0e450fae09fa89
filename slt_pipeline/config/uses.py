"""What a recipe takes from other experiments, so that many translators share an encoder, a store, a language model."""

from slt_pipeline.config.base import Config
from slt_pipeline.config.paths import Place


class UsesConfig(Config):
    """Names of other recipes, or folders of runs; None: the recipe's own."""

    encoder: Place | None = None
    """Recipe or run folder whose visual encoder, gloss classes and store are read."""
    language: Place | None = None
    """Recipe or run folder whose Gloss2Text model, with its tokenizer and gloss table, is read."""
    translator: Place | None = None
    """Recipe or run folder whose translator is what joint-train starts from."""
