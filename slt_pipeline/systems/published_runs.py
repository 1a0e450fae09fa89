"""Runs that published checkpoints become: what each kind needs to open, and what its tensors must agree with."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.runs import FRAMES_FILE
from slt_pipeline.config.translator import CVSLTConfig
from slt_pipeline.corpora.gloss_tables import read_gloss_table
from slt_pipeline.corpora.load import load_clips, media_root
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_json
from slt_pipeline.models.foreign import Foreign, Kind
from slt_pipeline.models.matching import Match
from slt_pipeline.models.published import CLASSES, PIECES, ROWS, match_encoder, match_published, settings_of
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.translator import Translator
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.models.weights_file import FRAMES, Frames
from slt_pipeline.systems.features import open_features, rejected_path, widths_of
from slt_pipeline.systems.initial import require_frames
from slt_pipeline.systems.left_out import LeftOut
from slt_pipeline.systems.recogniser import CLASSES_FILE
from slt_pipeline.systems.start import Start, published_vocabularies, require_own
from slt_pipeline.systems.translator import GLOSS_SUFFIX, build_gloss2text, language_inputs, save_architecture

_CURES = {
    CLASSES: "name the table that it was trained with by --gloss-classes",
    PIECES: "name the mBART folder it was trained with: -o text.tokenizer= -o translator.mbart.folder=",
    ROWS: "name the mBART folder whose gloss table it was trained with: -o text.tokenizer=",
}


class PublishedRun(ABC):
    """A finished run of `stage`, made of weights that others trained."""

    stage: ClassVar[str]
    score: ClassVar[str]
    """By which published weights are chosen (FACTS 8.1)."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe

    @property
    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """What the run is checked for when it is opened."""

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Sizes of its vocabularies."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the model of the recipe."""

    def match(self, foreign: Foreign, model: nn.Module) -> Match:
        """Lay the weights beside the model's.

        Raises:
            SltError: they are of other settings than the recipe's, which are named with both values.
        """
        self._require_settings(foreign)
        return self._match(foreign.state, model)

    @abstractmethod
    def _match(self, state: Mapping[str, Tensor], model: nn.Module) -> Match: ...

    @abstractmethod
    def describe(self, folder: Path, model: nn.Module) -> None:
        """Write beside the checkpoint what the run needs to open."""

    def _require_settings(self, foreign: Foreign) -> None:
        recipe, head = self.recipe, self.recipe.encoder.head
        names = ("hidden", "feedforward", "positional_encoding")
        ours: dict[str, Any] = {**self.sizes, **{f"encoder.head.{name}": getattr(head, name) for name in names}}
        if isinstance(recipe.translator, CVSLTConfig):
            ours |= {"translator.latent": recipe.translator.latent, "translator.attention": recipe.translator.attention}
        for name, theirs in settings_of(foreign.state).items():
            if theirs != ours.get(name, theirs):
                value = str(theirs).lower() if isinstance(theirs, bool) else theirs
                cure = _CURES.get(name, f"set -o {name}={value}")
                raise SltError(f"the checkpoint {foreign.path} has {name} {value}, the recipe {ours[name]}; {cure}")


class Sign2Gloss(PublishedRun):
    """The visual encoder: extraction goes on from it."""

    stage, score = "visual_train", "wer"

    def __init__(self, recipe: Recipe, classes: Path | None, frames: Frames | None, shape: Mapping[str, float]):
        """Look up what its classes and frames are.

        Args:
            recipe: what it was trained as.
            classes: published table gloss -> class; None: `visual_train.vocabulary` of the recipe.
            frames: those that it is for; None: the published ones.
            shape: `width`, `height` and `fps` of the videos that it was trained on, where they are known.

        Raises:
            SltError: one of them is not known, or the recipe makes other frames.
        """
        super().__init__(recipe)
        require_own(recipe, "encoder")
        table = classes or recipe.visual_train.vocabulary
        if table is None:
            raise SltError(
                "the gloss classes of a published Sign2Gloss are not in it; name its table with --gloss-classes, or as "
                "-o visual_train.vocabulary=FILE"
            )
        or_else = "or say --color-order, --mean and --std if it was trained otherwise"
        require_frames(recipe.video.transform, frames or FRAMES["sign2gloss"], "a published Sign2Gloss", or_else)
        self.classes = read_gloss_table(Path(table))
        self.shape = _shape(recipe, shape)

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides its features."""
        recipe = self.recipe
        return {"encoder": recipe.encoder, "video": recipe.video, "classes": self.classes.digest(), "shape": self.shape}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of classes."""
        return {CLASSES: len(self.classes)}

    def build(self) -> nn.Module:
        """Return the encoder."""
        return VisualEncoder(self.recipe.encoder, len(self.classes))

    def _match(self, state: Mapping[str, Tensor], model: nn.Module) -> Match:
        return match_encoder(state, model, self.recipe.encoder.s3d.use_blocks)

    def describe(self, folder: Path, model: nn.Module) -> None:
        """Write classes, and size and rate of frames."""
        self.classes.save(folder / CLASSES_FILE)
        write_json(folder / FRAMES_FILE, self.shape)


class Gloss2Text(PublishedRun):
    """The language model: translators start from it."""

    stage, score = "gloss2text_train", "bleu4"

    def __init__(self, recipe: Recipe):
        super().__init__(recipe)
        require_own(recipe, "language")
        self.vocabularies = published_vocabularies(recipe)

    @property
    def inputs(self) -> dict[str, Any]:
        """What the language side is made of."""
        return {**language_inputs(self.recipe, GLOSS_SUFFIX), "vocabularies": self.vocabularies.digests()}

    @property
    def sizes(self) -> dict[str, int]:
        """Pieces of text and rows of the gloss table."""
        return {PIECES: self.vocabularies.text.vocab_size, ROWS: len(self.vocabularies.glosses)}

    def build(self) -> nn.Module:
        """Return the translator of glosses."""
        return build_gloss2text(self.recipe, self.vocabularies)

    def _match(self, state: Mapping[str, Tensor], model: nn.Module) -> Match:
        found = match_published(state, nn.ModuleDict({"translator": model}))
        return found.without("translator.")

    def describe(self, folder: Path, model: nn.Module) -> None:
        """Write tokenizer and gloss table, and mBART's sizes."""
        assert isinstance(model, Translator)
        self.vocabularies.save(folder)
        save_architecture(folder, model)


class Sign2Text(PublishedRun):
    """A whole translator of stored features, with a visual head of its own."""

    stage, score = "translate_train", "bleu4"

    def __init__(self, recipe: Recipe, classes: Path | None):
        super().__init__(recipe)
        if recipe.translator.head != "trained":
            raise SltError(
                f"recipe {recipe.name} has translator.head = {recipe.translator.head!r}, and a published translator "
                "brings its own visual head; set -o translator.head=trained"
            )
        self.start, self.store = Start.of_published(recipe, classes), open_features(recipe)

    @property
    def inputs(self) -> dict[str, Any]:
        """As of a run that is trained."""
        return self.start.inputs(self.store)

    @property
    def sizes(self) -> dict[str, int]:
        """Classes, pieces of text and rows of the gloss table."""
        texts = self.start.vocabularies
        return {CLASSES: len(self.start.classes), PIECES: texts.text.vocab_size, ROWS: len(texts.glosses)}

    def build(self) -> nn.Module:
        """Return head and translator."""
        return self.start.build(widths_of(self.store))

    def _match(self, state: Mapping[str, Tensor], model: nn.Module) -> Match:
        return match_published(state, model)

    def describe(self, folder: Path, model: nn.Module) -> None:
        """Write vocabularies, widths and mBART's sizes."""
        assert isinstance(model, SignToText)
        self.start.describe(folder, model, widths_of(self.store))


def published_run(
    kind: Kind, recipe: Recipe, classes: Path | None, frames: Frames | None, shape: Mapping[str, float]
) -> PublishedRun:
    """Return what a published checkpoint becomes; arguments as of `Sign2Gloss`."""
    match kind:
        case "sign2gloss":
            return Sign2Gloss(recipe, classes, frames, shape)
        case "gloss2text":
            return Gloss2Text(recipe)
        case _:
            return Sign2Text(recipe, classes)


def _shape(recipe: Recipe, said: Mapping[str, float]) -> dict[str, float]:
    """Return size and rate of the videos: what is said, else those of the training clips."""
    if said.keys() >= {"width", "height", "fps"}:
        return dict(said)
    try:
        clips = load_clips(recipe.corpus.manifest, "train")
        found = LeftOut("weights import", rejected_path(recipe)).shape(clips, media_root(recipe.corpus))
    except SltError as error:
        raise SltError(
            f"size and rate of the videos are not known ({error}); name those that it was trained on, such as "
            "--frame-size 210x260 --fps 25"
        ) from error
    return {**asdict(found), **said}
