"""The trained visual encoder and what it makes of clips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from slt_pipeline import __version__
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.frames import EvalFrames
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.metrics.wer import RecognitionScores
from slt_pipeline.models.ctc import decode_clips
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.stages._run import file_hash
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.checkpoint import WEIGHTS, Checkpoint, best_checkpoint

VOCABULARY_FILE = "glosses.json"
SHAPE_FILE = "frames.json"


@dataclass(frozen=True)
class TrainedEncoder:
    """The best visual encoder of a recipe with its gloss classes."""

    model: VisualEncoder
    vocabulary: GlossVocabulary
    checkpoint: Checkpoint


@dataclass(frozen=True)
class GlossTargets:
    """Gloss classes of a clip: what CTC trains on. A class, not a closure, so that loader processes can have it."""

    vocabulary: GlossVocabulary

    def __call__(self, clip: Clip) -> list[int]:
        return self.vocabulary.encode(clip.gloss or ())


def load_encoder(recipe: Recipe, device: torch.device) -> TrainedEncoder:
    """The encoder that visual-train left, in eval mode.

    **Raises:** SltError if there is none, naming the command that makes it.
    """
    folder = recipe.run_folder("visual_train")
    checkpoint = best_checkpoint(folder, made_by=f"slt visual-train -r {recipe.name}")
    vocabulary = GlossVocabulary.load(folder / VOCABULARY_FILE)
    model = VisualEncoder(recipe.encoder, len(vocabulary))
    checkpoint.load_model(model)
    return TrainedEncoder(model.to(device).eval(), vocabulary, checkpoint)


def encode_clips(
    model: VisualEncoder, recipe: Recipe, clips: Sequence[Clip], root: Path | None, device: torch.device
) -> Iterator[tuple[Clip, dict[str, torch.Tensor]]]:
    """Streams (T,D) of every clip, one clip at a time: batching would let padding leak into the last two steps."""
    eval_frames = EvalFrames(recipe.video)
    for clip in clips:
        frames = eval_frames(clip.video, root)[None].to(device)
        streams, lengths = model.encode(frames, torch.tensor([frames.shape[2]], device=device))
        yield clip, {name: stream[0, : int(lengths[0])] for name, stream in streams.items()}


def recognise(
    gloss_logits: Sequence[torch.Tensor], vocabulary: GlossVocabulary, beam_size: int
) -> list[tuple[str, ...]]:
    """Glosses decoded from the logits (T,K) of each clip."""
    logits = [clip.float().cpu() for clip in gloss_logits]
    return [tuple(vocabulary.decode(ids)) for ids in decode_clips(logits, beam_size)]


def score_glosses(recipe: Recipe, hypotheses: Sequence[Sequence[str]], clips: Sequence[Clip]) -> RecognitionScores:
    """WER of decoded glosses under the corpus's protocol."""
    references = [" ".join(clip.gloss or ()) for clip in clips]
    return get_protocol(recipe.corpus.protocol).score_recognition([" ".join(h) for h in hypotheses], references)


def fingerprint(recipe: Recipe, checkpoint: Checkpoint) -> dict[str, Any]:
    """What made the features: whatever changes a number in the store is named here.

    The clips are not: the store remembers each clip's own source (`clip_source`), so that a manifest may grow.
    """
    return {
        "encoder_weights": file_hash(checkpoint.folder / WEIGHTS),
        "encoder": recipe.encoder.model_dump(mode="json"),
        "sampling": recipe.video.sampling.model_dump(mode="json"),
        "transform": recipe.video.transform.model_dump(mode="json"),
        "decoder": f"av {version('av')}",
        "dtype": recipe.extract.dtype,
        "slt": __version__,
    }
