"""`slt translate`: plain videos to text and glosses with times."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.frames import EvalVideo
from slt_pipeline.errors import SltError
from slt_pipeline.models.ctc import decode_clips
from slt_pipeline.models.taps import Taps
from slt_pipeline.systems.confidence import Confidence, fitted_to
from slt_pipeline.systems.features import fingerprint
from slt_pipeline.systems.recogniser import open_recogniser
from slt_pipeline.systems.times import GlossTimes
from slt_pipeline.systems.translator import open_sign2text, require_reads_signs
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.run import Plan
from slt_pipeline.video.reader import open_video

log = logging.getLogger(__name__)


def plan(recipe: Recipe, run: Path | None = None) -> Plan:
    """What the stage would read and write."""
    return {"encoder": recipe.encoder_folder, "translator": run or recipe.run_folder("translate_train")}, {}


class Translate:
    """A trained system, ready to take videos."""

    def __init__(self, recipe: Recipe, *, device: str = "auto", run: Path | None = None):
        """Open encoder and translator.

        Args:
            recipe: names the systems, and is what they are checked against.
            device: where they compute.
            run: folder of the translator; None: the recipe's own.

        Raises:
            SltError: one of them is not trained yet, or the translator was trained on the features of another encoder.
        """
        require_reads_signs(recipe, run)
        self.recipe, self.device = recipe, pick_device(device)
        self.recogniser = open_recogniser(recipe, self.device)
        reads = {"store": fingerprint(recipe, self.recogniser.checkpoint, self.device)}
        self.translator = open_sign2text(recipe, self.device, reads, run)
        self.on_video = self.recogniser.on_video()
        self.times = GlossTimes.open(recipe)
        self.confidence = self._open_confidence(run or recipe.run_folder("translate_train"))

    def video(self, path: str) -> dict[str, Any]:
        """Translate one video: text, n-best with scores, confidence, warnings, glosses with start and end in seconds.

        The video is brought to the frame rate and size that the encoder was trained on.

        Raises:
            SltError: it cannot be read or has fewer than 4 frames at that rate.
        """
        config, shape = self.recipe.translate, self.recogniser.shape
        video = EvalVideo(open_video(path, None, shape.fps, self.recogniser.decode_on), self.recipe.video, shape)
        if video.seconds > config.max_seconds:
            raise SltError(
                f"{path} lasts {video.seconds:.0f} s, translate.max_seconds is {config.max_seconds:g}; "
                "cut it into sentences, or raise the limit"
            )
        if video.all_frames - len(video) >= self.recipe.video.sampling.multiple:
            log.warning("%s: only its middle %d frames are used (video.sampling.max_frames)", path, len(video))
        streams = self.on_video.whole(video)
        stored = streams[self.recipe.translator.stream][None]
        with torch.no_grad():
            taps = self.translator.model.front({"features": stored.clone(), "lengths": torch.tensor([len(stored[0])])})
        config = self.recipe.translate
        found = self.translator.translate(taps, config.generation, num_return=config.num_best, with_scores=True)
        (nbest,), (logits, classes) = found.nbest(config.num_best), self._recognised(taps, streams)
        several = {"nbest": [scored.told() for scored in nbest]} if config.num_best > 1 else {}
        return {
            "video": path,
            "text": nbest[0].text,
            **several,
            **self._judged(nbest[0].score, logits, streams),
            "glosses": self._glosses(logits, classes, streams["s3d"], int(video.indices[0])),
            "seconds": round(video.seconds, 3),
        }

    def _open_confidence(self, folder: Path) -> Confidence | None:
        generation, encoder = self.recipe.translate.generation, self.recogniser.checkpoint.weights_hash
        return Confidence.open(folder, fitted_to(self.translator.weights, encoder, generation))

    def _judged(self, score: float, logits: torch.Tensor, streams: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        if self.confidence is None:
            return {"confidence": None, "warnings": []}
        measures = self.confidence.measures(score, logits, streams)
        return self.confidence.of(measures)._asdict()

    def _recognised(self, taps: Taps, streams: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, GlossVocabulary]:
        """Gloss logits (S, K) with their classes, of the translator's own head where it has one."""
        logits, classes = streams["gloss_logits"][None], self.recogniser.classes
        if self.translator.recognises:
            assert taps.gloss_logits is not None and self.translator.vocabularies.classes is not None
            logits, classes = taps.gloss_logits, self.translator.vocabularies.classes
        return logits[0, : int(taps.lengths[0])].float().cpu(), classes

    def _glosses(
        self, logits: torch.Tensor, classes: GlossVocabulary, features: torch.Tensor, first_frame: int
    ) -> list[dict[str, Any]]:
        """Glosses with times."""
        (ids,) = decode_clips([logits], self.recipe.translate.beam_size)
        glosses = classes.decode(ids)

        def second(frame: float) -> float:
            return round((first_frame + frame) / self.recogniser.shape.fps, 3)

        return [
            {"gloss": name, "start": second(start), "end": second(end)}
            for name, (start, end) in zip(glosses, self.times.frames(glosses, features, logits, ids), strict=True)
        ]
