"""What a translator of signs starts from: the vocabularies and weights of the runs before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.taps import Stream
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.errors import SltError
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import HeadFront
from slt_pipeline.systems.recogniser import CLASSES_FILE, OR_USE_ENCODER, trained_encoder
from slt_pipeline.systems.translator import build_sign2text, trained_language_model
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Start:
    """Checked and not loaded yet."""

    recipe: Recipe
    vocabularies: Vocabularies
    """Those of the language model where there is one: its weights mean nothing with other ids."""
    classes: GlossVocabulary
    """Of the recogniser."""
    head: Checkpoint | None
    """The recogniser, whose head is taken."""
    language: Checkpoint | None
    """Gloss2Text, whose mBART and gloss table are taken."""

    @classmethod
    def of(cls, recipe: Recipe) -> "Start":
        """Look up what a recipe says to start from.

        Raises:
            SltError: a run is missing, or was made with other settings, which are named with both values.
        """
        config = recipe.translate_train
        classes = _classes(recipe)
        trains_head = recipe.translator.head == "trained" and config.init_head is not None
        language = None
        if config.init_language is not None:
            language = trained_language_model(recipe, recipe.language_folder)
            vocabularies = Vocabularies.load(recipe.language_folder)
        else:
            vocabularies = Vocabularies.build(recipe.corpus, recipe.text)
        head = trained_encoder(recipe) if trains_head else None
        return cls(recipe, vocabularies.with_classes(classes), classes, head, language)

    def inputs(self) -> dict[str, Any]:
        """Return what of this decides a run's result."""
        return {
            "head": self.head and self.head.weights_hash,
            "language": self.language and self.language.weights_hash,
            "vocabularies": self.vocabularies.digests(),
        }

    def build(self, widths: Mapping[Stream, int]) -> SignToText:
        """Build the model for a store whose streams have these widths, and load what it starts from."""
        model = build_sign2text(self.recipe, self.vocabularies, widths)
        if self.language:
            model.translator.load_language_model(self.language.weights)
        if self.head and isinstance(model.front, HeadFront):
            weights = self.head.weights
            model.front.head.load_state_dict({k[5:]: v for k, v in weights.items() if k.startswith("head.")})
        return model


def require_own(recipe: Recipe, what: Literal["encoder", "language"]) -> None:
    """Refuse to train what a recipe takes from another one: nothing would read it.

    Raises:
        SltError: the recipe `uses` another's.
    """
    if lender := getattr(recipe.uses, what):
        raise SltError(
            f"recipe {recipe.name} has uses.{what} = {lender!r}, so that nothing would read what is trained here; "
            f"set -o uses.{what}=null, or leave this out"
        )


def _classes(recipe: Recipe) -> GlossVocabulary:
    """Classes of the recogniser; the corpus's for a head that starts at random where there is no recogniser.

    Raises:
        SltError: there is no recogniser, and the translator reads what only it can explain.
    """
    path = recipe.encoder_folder / CLASSES_FILE
    own = recipe.translator.head == "trained" and recipe.translate_train.init_head is None
    if path.is_file():
        return GlossVocabulary.load(path)
    if not own:
        raise SltError(
            f"no recogniser in {recipe.encoder_folder}, whose gloss classes {path.name} are needed; make it with "
            f"`slt visual-train` and the same recipe{OR_USE_ENCODER}"
        )
    splits = recipe.visual_train.vocabulary_splits
    return GlossVocabulary.build(clip.gloss for split in splits for clip in load_clips(recipe.corpus.manifest, split))
