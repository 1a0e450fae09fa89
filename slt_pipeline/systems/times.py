"""When glosses are signed: learned at the end of an encoder's training, and told of what it recognises."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.runs import holds_encoder
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.load import media_root
from slt_pipeline.errors import SltError
from slt_pipeline.files import write_bytes
from slt_pipeline.models.ctc import STRIDE, align
from slt_pipeline.models.learn_times import Steps, learn_times
from slt_pipeline.models.times import TimesHead, near_features
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.systems.encoding import FrameReader
from slt_pipeline.systems.left_out import LeftOut, Unreadable
from slt_pipeline.systems.parts import load_strictly
from slt_pipeline.systems.recogniser import CLASSES_FILE, shape_of, trained_encoder
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training import distributed
from slt_pipeline.training.checkpoint import best_checkpoint, read_weights
from slt_pipeline.video.sampling import eval_indices

TIMES_FILE = "times.safetensors"
_OF = "of_encoder"
"""What the file says of itself: the SHA-256 of the weights that the head was learned for."""
_BLOCKS = 4
"""Of S3D, which have the stride that steps are counted by."""
_LARGEST = 6e4
_PRIOR = {"stroke": 0.1, "sign": 1.0}
"""Weight of the priors by what is asked for: with more of them the ways between signs belong to the signs."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimesLearner:
    """What is done at the end of training, unless `visual_train.times` is `spike`."""

    recipe: Recipe
    folder: Path
    """The run's."""
    model: nn.Module
    """What was trained; it is given the best weights."""
    encoder: VisualEncoder
    """The part of the model that makes features."""
    clips: Sequence[Clip]
    """Of the training split."""
    classes: GlossVocabulary
    reader: FrameReader
    left_out: LeftOut

    def __call__(self) -> None:
        """Learn when the glosses of the training clips are signed, and write the head beside the checkpoints."""
        if self.recipe.visual_train.times == "spike":
            return
        if (blocks := self.recipe.encoder.s3d.use_blocks) != _BLOCKS:
            log.warning(
                "times are those of CTC's spikes: they are learned of %d blocks of S3D, not %d", _BLOCKS, blocks
            )
            return
        checkpoint = distributed.first(lambda: best_checkpoint(self.folder, made_by=""))  # when it is the last word
        checkpoint.load_model(self.model)
        self.encoder.to(self.reader.device).eval()
        clips = [clip for clip in self.clips if clip.gloss]
        log.info("times: looking at %d training clips", len(clips))
        found = distributed.shared_out(clips, self._steps)
        self.left_out.add({c.id: r.reason for c, r in zip(clips, found, strict=True) if isinstance(r, Unreadable)})
        steps = [each for each in found if not isinstance(each, Unreadable) and each.fit]
        distributed.first(lambda: self._learn(steps, checkpoint.weights_hash))

    @torch.inference_mode()
    def _steps(self, clips: Sequence[Clip]) -> list[Steps | Unreadable]:
        found: list[Steps | Unreadable] = []
        for clip, frames in self.reader.read(clips, media_root(self.recipe.corpus)):
            if isinstance(frames, Unreadable):
                found.append(frames)
                continue
            near, features = near_features(self.encoder.s3d, frames[0]), self.encoder.s3d.pooled(frames)[0]
            found.append(Steps(_halved(near), _halved(features), tuple(self.classes.encode(clip.gloss or ()))))
        return found

    def _learn(self, steps: Sequence[Steps], weights_hash: str) -> None:
        if not steps:
            log.warning("times: no training clip has glosses to learn from; times are those of CTC's spikes")
            return
        prior = _PRIOR[self.recipe.visual_train.times]
        head = learn_times(steps, len(self.classes), prior, self.recipe.seed)
        write_bytes(self.folder / TIMES_FILE, save(head.state_dict(), metadata={_OF: weights_hash}))


def _halved(features: Tensor) -> Tensor:
    """Keep features in half of the memory; those of weights that were never trained may be too large for it."""
    return features.clamp(-_LARGEST, _LARGEST).half().cpu()


@dataclass(frozen=True)
class GlossTimes:
    """Tells when the glosses of a clip are signed."""

    head: TimesHead | None
    """None: by the spikes of CTC."""
    classes: GlossVocabulary | None
    """Of the head."""

    @classmethod
    def open(cls, recipe: Recipe) -> "GlossTimes":
        """Open what the encoder of a recipe knows of times; nothing where it was trained without.

        Raises:
            SltError: the head was learned for other weights.
        """
        file = recipe.encoder_folder / TIMES_FILE
        if not file.is_file():
            return cls(None, None)
        classes, weights = GlossVocabulary.load(recipe.encoder_folder / CLASSES_FILE), read_weights(file)
        with safe_open(file, framework="pt") as opened:
            learned_for = (opened.metadata() or {}).get(_OF, "unknown")
        if learned_for != (best := trained_encoder(recipe).weights_hash):
            raise SltError(
                f"{file} was learned for weights {learned_for[:12]}, and the best of the run are {best[:12]}; delete "
                "it to have the times of CTC's spikes, or train anew with `slt visual-train --overwrite`"
            )
        head = TimesHead(weights["mean"].shape[0], len(classes))
        load_strictly(head, weights, str(file))
        return cls(head.eval(), classes)

    def frames(
        self, glosses: Sequence[str], features: Tensor | None, gloss_logits: Tensor, gloss_ids: Sequence[int]
    ) -> list[tuple[float, float]]:
        """Return first and last-plus-one frame of each gloss, counted from the first that the encoder was given.

        Args:
            glosses: recognised in the clip.
            features: (S, C) of S3D; None where nobody has kept them.
            gloss_logits: (S, K) by which they were recognised.
            gloss_ids: the same glosses as classes of these.
        """
        if self.head is None or self.classes is None or features is None:
            return [(STRIDE * start, STRIDE * end) for start, end in align(gloss_logits, gloss_ids)]
        return self.head.frames(features, self.classes.encode(glosses))


def clip_times(frames: Sequence[tuple[float, float]], clip: Clip, recipe: Recipe) -> list[tuple[float, float]]:
    """Return seconds of a clip, of frames that are counted from the first which the encoder was given."""
    folder = recipe.encoder_folder
    fps = shape_of(folder).fps if holds_encoder(folder) else clip.fps
    first = int(eval_indices(round(clip.num_frames * fps / clip.fps), recipe.video.sampling)[0])
    return [((first + start) / fps, (first + end) / fps) for start, end in frames]
