"""What joint training starts from: a trained encoder, and the translator that was trained on its features, whole."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from slt_pipeline.config.provenance import require_made_with
from slt_pipeline.config.recipe import Recipe, opened_as
from slt_pipeline.config.runs import FRAMES_FILE, STREAMS_FILE
from slt_pipeline.config.taps import Stream
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.load import media_digest, media_root
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, write_json
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import VideoFront, stream_widths
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.systems.parts import HEAD, TRANSLATOR, load_strictly
from slt_pipeline.systems.recogniser import CLASSES_FILE, FEATURES, encoder_fingerprint, shape_of, trained_encoder
from slt_pipeline.systems.translator import build_behind_front, language_inputs, save_architecture, translator_for
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import Checkpoint
from slt_pipeline.video.prepared import FrameShape

_OR_USE = ", or take that of another recipe or run with -o uses.translator=..."


@dataclass(frozen=True)
class JointStart:
    """Checked and not loaded yet."""

    recipe: Recipe
    encoder: Checkpoint
    translator: Checkpoint
    vocabularies: Vocabularies
    """Those of the translator; its classes are the encoder's."""

    @classmethod
    def of(cls, recipe: Recipe) -> "JointStart":
        """Look up the two runs that a recipe starts from.

        Raises:
            SltError: one is missing or was made with other settings, or the translator was trained on the features of
                another encoder or knows its classes by other numbers.
        """
        recipe.translator.require_reads_signs()
        encoder, folder = trained_encoder(recipe), recipe.translator_folder
        reads = {"store": encoder_fingerprint(recipe, encoder)}
        translator = translator_for(recipe, folder, reads, _OR_USE)
        vocabularies = Vocabularies.load(folder)
        classes = GlossVocabulary.load(recipe.encoder_folder / CLASSES_FILE).digest()
        require_made_with(
            {"classes": vocabularies.digests()["classes"]},
            {"classes": classes},
            f"the translator in {folder}",
            "train it anew with `slt translate-train --overwrite`",
        )
        return cls(recipe, encoder, translator, vocabularies)

    @property
    def classes(self) -> GlossVocabulary:
        """Gloss classes of the encoder."""
        assert self.vocabularies.classes is not None, "a translator of signs knows the classes of its recogniser"
        return self.vocabularies.classes

    @property
    def shape(self) -> FrameShape:
        """Size and rate of the frames that the encoder was trained on."""
        return shape_of(self.recipe.encoder_folder)

    def inputs(self, clips: Sequence[Clip], folder: Path) -> dict[str, Any]:
        """Return all that decides the result of a run in `folder` that starts so.

        It is the account of an encoder, and of a translator that reads it, so that the run opens as both.
        """
        recipe, config = self.recipe, self.recipe.joint_train
        return {
            "seed": recipe.seed,
            "clips": file_hash(Path(recipe.corpus.manifest)),
            "media": media_digest(clips, media_root(recipe.corpus)),
            "protocol": recipe.corpus.protocol,
            "started_from": {"encoder": self.encoder.weights_hash, "translator": self.translator.weights_hash},
            "features": FEATURES,
            "encoder": recipe.encoder,
            "video": recipe.video,
            "classes": self.classes.digest(),
            "vocabularies": self.vocabularies.digests(),
            **language_inputs(recipe, recipe.translator.suffix),
            "translator": opened_as(recipe, folder).translator,
            "objective": recipe.joint_objective,
            "freeze": config.freeze,
            "beam_size": config.beam_size,
            "times": recipe.visual_train.times,
            "generation": recipe.joint_generation,
            "training": config.training,
        }

    def build(self) -> SignToText:
        """Build the model with every weight of both runs; a head that was trained with the translator is the head.

        Raises:
            SltError: a run lacks a weight, or has one too many.
        """
        recipe, encoder = self.recipe, VisualEncoder(self.recipe.encoder, len(self.classes))
        translator = build_behind_front(recipe, self.vocabularies, self._widths(encoder), recipe.translator_folder)
        model = SignToText(VideoFront(encoder, recipe.joint_train.freeze), translator)
        of_encoder, of_translator = (
            f"the encoder in {self.encoder.folder}",
            f"the translator in {self.translator.folder}",
        )
        visual = _by_part(self.encoder.weights, ("s3d.", "head."), of_encoder)
        rest = _by_part(_todays_names(self.translator.weights), (HEAD, TRANSLATOR), of_translator)
        load_strictly(encoder.s3d, visual["s3d."], of_encoder)
        load_strictly(encoder.head, visual["head."], of_encoder)
        if recipe.translator.head == "trained":
            load_strictly(encoder.head, rest[HEAD], of_translator)
        elif rest[HEAD]:
            raise SltError(f"{of_translator} has a visual head, and translator.head is stored; set it to trained")
        load_strictly(translator, rest[TRANSLATOR], of_translator)
        return model

    def describe(self, folder: Path, model: SignToText) -> None:
        """Write beside a run's checkpoints what it needs to open from itself, as an encoder and as a translator."""
        self.vocabularies.save(folder)
        write_json(folder / FRAMES_FILE, asdict(self.shape))
        write_json(folder / STREAMS_FILE, self._widths(encoder_of(model)))
        save_architecture(folder, model.translator)

    def _widths(self, encoder: VisualEncoder) -> dict[Stream, int]:
        return stream_widths(encoder.s3d.out_channels, self.recipe.encoder.head.hidden, len(self.classes))


def encoder_of(model: SignToText) -> VisualEncoder:
    """Return the encoder inside a model that reads pixels."""
    assert isinstance(model.front, VideoFront) and isinstance(model.front.encoder, VisualEncoder)
    return model.front.encoder


def _by_part(weights: Mapping[str, Tensor], parts: Sequence[str], what: str) -> dict[str, dict[str, Tensor]]:
    """Return weights by the part that their names begin with, under the rest of the name.

    Raises:
        SltError: one is of no part.
    """
    if odd := [name for name in weights if not name.startswith(tuple(parts))]:
        raise SltError(f"{what} has {odd[0]}, of which the recipe's model knows nothing")
    return {
        part: {name.removeprefix(part): value for name, value in weights.items() if name.startswith(part)}
        for part in parts
    }


def _todays_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a translator's run; those of earlier versions hold the visual head as `head`."""
    return {f"front.{name}" if name.startswith("head.") else name: value for name, value in weights.items()}
