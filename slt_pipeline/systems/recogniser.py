"""The recogniser: a trained visual encoder with its gloss classes, video to features and glosses."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from slt_pipeline import __version__
from slt_pipeline.config.provenance import ABSENT, require_made_with
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.runs import FRAMES_FILE, holds_encoder
from slt_pipeline.config.video import VideoConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json
from slt_pipeline.models.ctc import decode_clips, is_blank
from slt_pipeline.models.engines import Engine, build_engine, require_engine
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.systems.encoding import ClipEncoder, FrameReader
from slt_pipeline.systems.left_out import Unreadable
from slt_pipeline.systems.parts import ENCODER, best_of
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import Checkpoint
from slt_pipeline.training.run import INPUTS, warn_if_unfinished
from slt_pipeline.video.by_torchcodec import chosen_decoder
from slt_pipeline.video.prepared import FrameShape

CLASSES_FILE = "glosses.json"

OR_USE_ENCODER = ", or take those of another recipe or run with -o uses.encoder=..."

FEATURES = 1
"""Raised by hand when the same weights and settings would give other features than the version before."""


@dataclass(frozen=True)
class Recogniser:
    """The best visual encoder of a run, in evaluation mode, with its gloss classes."""

    model: VisualEncoder
    engine: Engine
    """What computes its S3D."""
    classes: GlossVocabulary
    checkpoint: Checkpoint
    video: VideoConfig
    """How frames are made for it."""
    shape: FrameShape
    """Size and rate of the videos that it was trained on."""
    decode_on: str | None = None
    """Device on which video files are decoded for it; None: by PyAV."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    def on_video(self, num_workers: int | None = None, *, sources: bool = False) -> ClipEncoder:
        """Return the encoder with what reads video for it, by so many loaders, and tells what clips are made from."""
        reader = FrameReader(self.video, self.shape, self.device, num_workers, self.decode_on)
        return ClipEncoder(self.model, reader, self.engine, sources)

    def encode_clip(self, clip: Clip, root: Path | None) -> dict[str, torch.Tensor]:
        """Return the streams (S,D) of one clip.

        Raises:
            SltError: its video cannot be read or is too short.
        """
        ((_, found),) = self.on_video(0).clips([clip], root)
        if isinstance(found, Unreadable):
            raise SltError(found.reason)
        return found.streams


def open_recogniser(recipe: Recipe, device: torch.device) -> Recogniser:
    """Open the encoder that a recipe uses, and check that it was trained with the recipe's frames and network.

    Raises:
        SltError: there is none, or it was trained with other settings, which are named with both values.
    """
    folder, config = recipe.encoder_folder, recipe.encoder
    require_engine(config.engine, config.precision, device)
    decode_on = str(device) if chosen_decoder(recipe.video.decoder, str(device)) == "torchcodec" else None
    checkpoint = trained_encoder(recipe)
    classes = GlossVocabulary.load(folder / CLASSES_FILE)
    model = VisualEncoder(config, len(classes))
    checkpoint.load_model(model)
    model.to(device).eval()
    engine = build_engine(model.s3d, config.engine, config.precision, device)
    return Recogniser(model, engine, classes, checkpoint, recipe.video, shape_of(folder), decode_on)


def shape_of(folder: Path) -> FrameShape:
    """Return size and rate of the frames that the encoder of a run was trained on.

    Raises:
        SltError: its file says something else.
    """
    told = read_json(folder / FRAMES_FILE, dict)
    try:
        return FrameShape(**told)
    except TypeError:
        names = ", ".join(field.name for field in fields(FrameShape))
        raise SltError(f"{folder / FRAMES_FILE} has {', '.join(told) or 'nothing'}, not {names}; put it back") from None


def trained_encoder(recipe: Recipe) -> Checkpoint:
    """Return the best checkpoint of the encoder that a recipe uses, checked against the recipe; nothing is loaded.

    Raises:
        SltError: there is none, or it was trained with another network, other frames or other classes.
    """
    folder = recipe.encoder_folder
    checkpoint = best_of(folder, ENCODER, "slt visual-train", OR_USE_ENCODER)
    if not holds_encoder(folder):
        raise SltError(f"{folder} holds no visual encoder; name a run of `slt visual-train` or `slt joint-train`")
    warn_if_unfinished(folder)
    classes = GlossVocabulary.load(folder / CLASSES_FILE)
    require_made_with(
        read_json(folder / INPUTS, dict),
        {"encoder": recipe.encoder, "video": recipe.video, "classes": classes.digest()},
        f"the encoder in {folder}",
        "set it back, or train another encoder with `slt visual-train`",
        in_part=True,
    )
    return checkpoint


def recognise(gloss_logits: Sequence[torch.Tensor], classes: GlossVocabulary, beam_size: int) -> list[tuple[str, ...]]:
    """Return the glosses decoded from the logits (S,K) of each clip."""
    logits = [clip.float().cpu() for clip in gloss_logits]
    return [tuple(classes.decode(ids)) for ids in decode_clips(logits, beam_size)]


def recognise_clips(
    encoder: ClipEncoder, clips: Sequence[Clip], root: Path, classes: GlossVocabulary, beam_size: int
) -> list[tuple[tuple[str, ...], bool] | Unreadable]:
    """Return of every clip its glosses, and whether its best path is all blank; or why it cannot be read."""
    found: dict[str, torch.Tensor | Unreadable] = {}
    for clip, encoded in encoder.clips(clips, root):
        unreadable = isinstance(encoded, Unreadable)
        found[clip.id] = encoded if unreadable else encoded.streams["gloss_logits"].float().cpu()
    logits = [found[clip.id] for clip in clips]
    glosses = iter(recognise([each for each in logits if not isinstance(each, Unreadable)], classes, beam_size))
    return [each if isinstance(each, Unreadable) else (next(glosses), is_blank(each)) for each in logits]


def encoder_fingerprint(recipe: Recipe, checkpoint: Checkpoint, device: torch.device | None = None) -> dict[str, Any]:
    """Return what decides the features of an encoder, whatever holds them.

    Args:
        recipe: says how frames are made, and what computes.
        checkpoint: the encoder.
        device: where features are made; None: none are made here, and it is no difference where they were.
    """
    return {
        "features": FEATURES,
        "encoder_weights": checkpoint.weights_hash,
        "encoder": recipe.encoder,
        "encoder.engine": recipe.encoder.engine,
        "encoder.precision": recipe.encoder.precision,
        "video.decoder": _decoder(recipe, device),
        "device": device.type if device else ABSENT,
        "sampling": recipe.video.sampling,
        "transform": recipe.video.transform,
    }


def _decoder(recipe: Recipe, device: torch.device | None) -> str:
    """Return what decodes video files there, or would wherever that is."""
    wanted = recipe.video.decoder
    if device is None:
        return ABSENT if wanted == "auto" else wanted
    return chosen_decoder(wanted, str(device))


def recorded(recipe: Recipe, device: torch.device) -> dict[str, str]:
    """Return what is worth knowing of how features were made and decides nothing: versions, device, date."""
    decoder = {"pyav": "av"}.get(chosen := chosen_decoder(recipe.video.decoder, str(device)), chosen)
    return {
        "slt": __version__,
        "decoder": f"{decoder} {version(decoder)}",
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "date": datetime.now(UTC).date().isoformat(),
    }
