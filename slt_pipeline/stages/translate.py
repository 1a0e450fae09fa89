"""`slt translate`: plain videos to text and glosses with times."""

import json
import logging
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json
from slt_pipeline.models.ctc import align, decode_clips
from slt_pipeline.stages._encoder import SHAPE_FILE, load_encoder
from slt_pipeline.stages._run import Plan
from slt_pipeline.stages._translator import generate, load_sign2text
from slt_pipeline.training.devices import pick_device
from slt_pipeline.video.fit import fit_frames, resample_indices
from slt_pipeline.video.reader import open_video
from slt_pipeline.video.sampling import eval_indices
from slt_pipeline.video.transforms import EvalTransform

log = logging.getLogger(__name__)


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    return {name: recipe.run_folder(name) for name in ("visual_train", "translate_train")}, {}


class Translate:
    """A trained system, ready to take videos."""

    def __init__(self, recipe: Recipe, *, device: str = "auto"):
        """Load encoder and translator.

        **Raises:** SltError naming the command to run if one of them is not trained yet.
        """
        self.recipe = recipe
        self.device = pick_device(device)
        self.encoder = load_encoder(recipe, self.device)
        self.model, self.side = load_sign2text(recipe, self.device)
        self.shape = read_json(recipe.run_folder("visual_train") / SHAPE_FILE)
        self.transform = EvalTransform(recipe.video.transform)

    def video(self, path: str) -> dict[str, Any]:
        """Translate one video: text, n-best with scores, glosses with start and end in seconds.

        The video is brought to the frame rate and size that the encoder was trained on.

        **Raises:** SltError if it cannot be read or has fewer than 4 frames at that rate.
        """
        video = open_video(path, None)
        seconds = video.num_frames / video.fps
        if seconds > self.recipe.translate.max_seconds:
            raise SltError(
                f"{path} lasts {seconds:.0f} s, translate.max_seconds is {self.recipe.translate.max_seconds:g}; "
                "cut it into sentences, or raise the limit"
            )
        at_rate = resample_indices(video.num_frames, video.fps, self.shape["fps"])
        used = eval_indices(len(at_rate), self.recipe.video.sampling)
        if len(used) == 0:
            rate = f"{len(at_rate)} at {self.shape['fps']:g} fps"
            raise SltError(f"{path} has {video.num_frames} frames, {rate}; at least 4 are needed")
        if len(at_rate) - len(used) >= self.recipe.video.sampling.multiple:
            log.warning("%s: only its middle %d frames are used (video.sampling.max_frames)", path, len(used))
        frames = fit_frames(video.read(at_rate[used]), self.shape["width"], self.shape["height"])
        streams, lengths = self.encoder.model.encode(
            self.transform(frames)[None].to(self.device), torch.tensor([len(used)], device=self.device)
        )
        return {
            "video": path,
            **self._text(streams, lengths),
            "glosses": self._glosses(streams["gloss_logits"][0, : int(lengths[0])], int(used[0])),
            "seconds": round(seconds, 3),
        }

    def _text(self, streams: dict[str, torch.Tensor], lengths: torch.Tensor) -> dict[str, Any]:
        config = self.recipe.translate
        source = {"features": streams[self.recipe.translator.stream].clone(), "lengths": lengths}
        texts, scores = generate(self.model, source, self.side.tokenizer, config.generation, config.num_best)
        nbest = [{"text": t, "score": round(s, 4)} for t, s in zip(texts, scores, strict=True)]
        return {"text": texts[0], **({"nbest": nbest} if config.num_best > 1 else {})}

    def _glosses(self, gloss_logits: torch.Tensor, first_frame: int) -> list[dict[str, Any]]:
        logits = gloss_logits.float().cpu()
        (ids,) = decode_clips([logits], self.recipe.translate.beam_size)
        names = self.encoder.vocabulary.decode(ids)
        per_step, fps = self.recipe.video.sampling.multiple, self.shape["fps"]

        def second(step: int) -> float:
            return round((first_frame + step * per_step) / fps, 3)

        return [
            {"gloss": name, "start": second(start), "end": second(end)}
            for name, (start, end) in zip(names, align(logits, ids), strict=True)
        ]


def as_line(result: dict[str, Any]) -> str:
    """One JSON line."""
    return json.dumps(result, ensure_ascii=False)
