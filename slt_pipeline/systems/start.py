"""What a translator of signs starts from: the vocabularies and weights of the runs before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slt_pipeline.config.recipe import Lent, Recipe
from slt_pipeline.config.runs import STREAMS_FILE
from slt_pipeline.config.taps import Stream
from slt_pipeline.corpora.gloss_tables import read_gloss_table
from slt_pipeline.corpora.mbart_folder import GLOSS_TABLE
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, write_json
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import HeadFront
from slt_pipeline.systems.classes import corpus_classes
from slt_pipeline.systems.features import FeatureStore
from slt_pipeline.systems.recogniser import CLASSES_FILE, OR_USE_ENCODER, trained_encoder
from slt_pipeline.systems.translator import (
    build_sign2text,
    language_inputs,
    save_architecture,
    trained_language_model,
)
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.tokenizer import Tokenizer
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
        recipe.translator.require_reads_signs()
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

    @classmethod
    def of_published(cls, recipe: Recipe, classes: Path | None = None) -> "Start":
        """Look up what the ids of a published translator mean; its weights are in its checkpoint, all of them.

        Args:
            recipe: names the published mBART folder as its tokenizer.
            classes: published table gloss -> class, a pickle or JSON; None: those of the recipe's encoder.

        Raises:
            SltError: a vocabulary is missing.
        """
        vocabularies = published_vocabularies(recipe)
        if classes is None and not (own := recipe.encoder_folder / CLASSES_FILE).is_file():
            raise SltError(
                f"the gloss classes of published weights are not known: there is no {own}; name the published table "
                "with --gloss-classes"
            )
        found = read_gloss_table(classes) if classes else _classes(recipe)
        return cls(recipe, vocabularies.with_classes(found), found, None, None)

    def inputs(self, store: FeatureStore) -> dict[str, Any]:
        """Return all that decides the result of a run that starts so and reads `store`."""
        recipe, config = self.recipe, self.recipe.translate_train
        return {
            "seed": recipe.seed,
            "clips": file_hash(Path(recipe.corpus.manifest)),
            "protocol": recipe.corpus.protocol,
            "store": store.fingerprint,
            "store_dtype": store.streams[recipe.translator.stream].dtype,
            "store_keep_bits": store.compression and store.compression.keep_bits,
            "head_config": recipe.encoder.head,
            "beam_size": config.beam_size,
            "idle_classifier": config.idle_classifier,
            "head": self.head and self.head.weights_hash,
            "language": self.language and self.language.weights_hash,
            "vocabularies": self.vocabularies.digests(),
            **language_inputs(recipe, recipe.translator.suffix),
            "translator": recipe.translator,
            "objective": config.objective,
            "generation": config.generation,
            "training": config.training,
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

    def describe(self, folder: Path, model: SignToText, widths: Mapping[Stream, int]) -> None:
        """Write beside a run's checkpoints what it needs to open from itself: vocabularies, widths, mBART's sizes."""
        self.vocabularies.save(folder)
        write_json(folder / STREAMS_FILE, widths)
        save_architecture(folder, model.translator)


def published_vocabularies(recipe: Recipe) -> Vocabularies:
    """Return the tokenizer of a published mBART folder, and its gloss table, or one of the corpus if it has none.

    Raises:
        SltError: the recipe names no folder, or reads and writes otherwise than published weights do.
    """
    text, translator = recipe.text, recipe.translator
    for key, ours, theirs in (
        ("text.order", text.order, "forward"),
        ("translator.direction", translator.direction, "gloss2text"),
        ("translator.gloss_input", translator.gloss_input, "vectors"),
    ):
        if ours != theirs:
            raise SltError(f"recipe {recipe.name} has {key} {ours}, published weights {theirs}; set -o {key}={theirs}")
    folder = text.tokenizer
    if folder is None:
        raise SltError(
            f"recipe {recipe.name} trains a tokenizer of its own, whose ids mean nothing to published weights; "
            "name the mBART folder that they belong to with -o text.tokenizer=... -o translator.mbart.folder=..."
        )
    pickled = folder / GLOSS_TABLE
    table = next((path for path in (pickled.with_suffix(".json"), pickled) if path.is_file()), None)
    if table is None:
        return Vocabularies.build(recipe.corpus, text)
    tokenizer = Tokenizer.load(folder, text.language, detokenise=text.detokenise, order=text.order)
    return Vocabularies(tokenizer, read_gloss_table(table))


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
    return corpus_classes(recipe)


def to_keep_both(recipe: Recipe, *what: Lent) -> str:
    """Return the options by which a recipe under another name, with runs of its own, still takes what is here now."""
    own = {name: getattr(recipe, f"{name}_folder") for name in what if getattr(recipe.uses, name) is None}
    return "".join(f" -o uses.{name}={folder}" for name, folder in own.items() if folder.is_dir())
