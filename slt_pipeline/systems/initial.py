"""What an encoder starts from: the S3D of a file or run, or a whole encoder, made for the frames that it will see."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from slt_pipeline.config.encoder import EncoderConfig
from slt_pipeline.config.provenance import differences, flatten, require_made_with
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.runs import holds_encoder
from slt_pipeline.config.video import TransformConfig
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, read_json
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.models.weights import load_s3d
from slt_pipeline.models.weights_file import SUFFIXES, Frames, frames_said
from slt_pipeline.systems.parts import ENCODER, best_of, load_strictly
from slt_pipeline.systems.recogniser import CLASSES_FILE
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import Checkpoint, best_checkpoint, read_weights
from slt_pipeline.training.run import INPUTS

log = logging.getLogger(__name__)

_HEAD = "head."
_CLASSIFIER = f"{_HEAD}gloss_output_layer.weight"
_FREE = ("s3d.freeze_blocks", "head.dropout")
"""What of an encoder may differ from the one that it starts from: they decide no feature."""


@dataclass(frozen=True)
class Initial:
    """Weights to start from: checked against the recipe, not loaded yet."""

    where: Path
    """A file, or a run."""
    checkpoint: Checkpoint | None
    """Of a run the best one."""
    told: bool
    """Whether they say which frames they are for."""

    @property
    def hash(self) -> str:
        """SHA-256 of the file of weights."""
        return self.checkpoint.weights_hash if self.checkpoint else file_hash(self.where)

    def load_s3d(self, s3d: S3D) -> None:
        """Copy the backbone into `s3d`.

        Raises:
            SltError: it has none, or another one.
        """
        load_s3d(s3d, self._weights())

    def load(self, encoder: VisualEncoder, classes: GlossVocabulary) -> None:
        """Copy backbone, and where they have one, head and classifier into an encoder with these classes.

        Raises:
            SltError: they are of another network, or know other classes.
        """
        weights = self._weights()
        if _CLASSIFIER in weights:
            self._require_classes(len(weights[_CLASSIFIER]), classes)
            head = {name.removeprefix(_HEAD): value for name, value in weights.items() if name.startswith(_HEAD)}
            load_strictly(encoder.head, head, f"the head in {self.where}")
        load_s3d(encoder.s3d, weights)

    def _weights(self) -> Mapping[str, Tensor]:
        if not self.told:
            log.warning("%s does not say for which frames it is: channel order and scaling are not checked", self.where)
        return self.checkpoint.weights if self.checkpoint else read_weights(self.where)

    def _require_classes(self, number: int, classes: GlossVocabulary) -> None:
        table = self.where / CLASSES_FILE
        known = GlossVocabulary.load(table) if table.is_file() else None
        if number == len(classes) and known in (None, classes):
            return
        name = f"-o visual_train.vocabulary={table}" if known else "the table that it was trained with"
        differ = "others, or in another order" if number == len(classes) else f"{len(classes)}"
        raise SltError(
            f"the classifier in {self.where} has {number} gloss classes, the recipe {differ}; give the recipe its "
            f"classes with {name if known else f'-o visual_train.vocabulary=FILE, {name}'}, or start from its S3D "
            f"alone: `slt weights export RUN --to s3d.safetensors`, -o visual_train.init=s3d.safetensors"
        )


def initial_weights(recipe: Recipe, init: str | None) -> Initial | None:
    """Look up what a stage starts from, by `visual_pretrain` (the recipe's own), run folder, or file; None: nothing.

    Raises:
        SltError: it is missing, or is made for another network or other frames than the recipe's.
    """
    if init is None:
        return None
    if init == "visual_pretrain" or Path(init).is_dir():
        return _of_run(recipe, recipe.run_folder(init) if init == "visual_pretrain" else Path(init))
    path = Path(init)
    if path.suffix != SUFFIXES[0] and path.is_file():
        raise SltError(
            f"{path} is no safetensors file; make one of it with `slt weights import {path} --to s3d.safetensors`"
        )
    frames = frames_said(path) if path.is_file() else None
    if frames:
        cure = "or, if they are for other frames, import them anew with --color-order, --mean and --std"
        require_frames(recipe.video.transform, frames, f"the file {path}", cure)
    return Initial(path, None, frames is not None)


def require_frames(transform: TransformConfig, frames: Frames, what: str, or_else: str = "") -> None:
    """Refuse a recipe that would show weights other frames than they are for.

    Raises:
        SltError: channel order, mean or std differ; both values and the keys to set are named.
    """
    said = {"video": {"transform": asdict(frames)}}
    now = {"video": {"transform": asdict(Frames.of(transform))}}
    keys = [f"-o {key}={json.dumps(was, separators=(',', ':'))}" for key, was, _ in differences(said, now)]
    cure = f"set {' '.join(keys)}".replace('"', "")
    require_made_with(said, now, what, f"{cure}, {or_else}" if or_else else cure)


def _of_run(recipe: Recipe, folder: Path) -> Initial:
    whole = holds_encoder(folder)
    found = best_of(folder, ENCODER, "slt visual-train") if whole else best_checkpoint(folder, "slt visual-pretrain")
    before = flatten(read_json(folder / INPUTS, dict))
    frames = asdict(Frames.of(recipe.video.transform))
    now: dict[str, Any] = {"video": {"transform": frames}, **_network(recipe.encoder, before, whole)}
    cure = f"set it back, train anew with `slt {'visual-train' if whole else 'visual-pretrain'} --overwrite`, or name "
    cure += "a file as visual_train.init"
    require_made_with(before, now, f"the {'encoder' if whole else 'S3D'} in {folder}", cure, in_part=True)
    return Initial(folder, found, told=True)


def _network(config: EncoderConfig, before: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    """Return what of a recipe's encoder has to be as in the run: a run of the S3D alone knows no more of it."""
    under = "encoder." if whole else ""
    now = {key: value for key, value in flatten(config).items() if key not in _FREE}
    if before.get(f"{under}s3d.use_blocks", 0) > config.s3d.use_blocks:
        del now["s3d.use_blocks"]  # blocks that are not kept are left out
    return {f"{under}{key}": value for key, value in now.items() if whole or key.startswith("s3d.")}
