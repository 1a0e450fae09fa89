"""What a task made of a split: outputs beside what was right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slt_pipeline.config.stages import Task
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.systems.outputs import NBest
from slt_pipeline.text.gloss_form import gloss_sentence


@dataclass(frozen=True)
class Decoded:
    """What a task made of a split."""

    task: Task
    clips: Sequence[Clip]
    hypotheses: Sequence[str]
    scores: Mapping[str, float]
    nbest: Sequence[NBest] = ()
    """The best texts of each clip with scores; empty: none were asked for, or these are glosses."""
    glosses: Sequence[Sequence[str]] = ()
    """Glosses that were recognised; empty: none were."""

    @property
    def references(self) -> list[str]:
        """What is right of every clip."""
        return references_of(self.task, self.clips)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what was decoded beside what was right, clip by clip, as `evaluate/` keeps it."""
        for number, (clip, reference) in enumerate(zip(self.clips, self.references, strict=True)):
            line: dict[str, Any] = {"id": clip.id, "reference": reference, "hypothesis": self.hypotheses[number]}
            if self.nbest:
                line["nbest"] = [scored.told() for scored in self.nbest[number]]
            if self.glosses:
                line["glosses"] = list(self.glosses[number])
            if self.task == "text2gloss":
                line["source"] = " ".join(clip.gloss or ())
            elif clip.gloss:
                line["gloss_reference"] = list(clip.gloss)
            yield line


def references_of(task: Task, clips: Sequence[Clip]) -> list[str]:
    """Return what is right of every clip, which is of the task's direction."""
    return [gloss_sentence(clip.gloss or ()) if task == "sign2gloss" else clip.text or "" for clip in clips]
