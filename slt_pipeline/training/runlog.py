"""metrics.jsonl: one JSON object a line, appended while a run goes on, cut back when it resumes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slt_pipeline.files import json_line, read_json_lines, write_json_lines


class RunLog:
    """Appends records to a file; a record is on disk when `write` returns."""

    def __init__(self, path: Path, *, resume_step: int, validated: bool = True):
        """Open `path`; what belongs to work that is done again is dropped.

        Args:
            path: of the file.
            resume_step: records of later steps are dropped.
            validated: whether this step has been validated; if not, a record of its scores is dropped too.
        """
        self.path = path
        kept = [r for r in read_json_lines(path) if r.get("step", 0) <= resume_step] if resume_step else []
        again = {"split": "dev", "step": resume_step}
        write_json_lines(path, (record for record in kept if validated or not again.items() <= record.items()))

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json_line(record))
            file.flush()
            os.fsync(file.fileno())


@dataclass
class Meter:
    """Sums over clips since the last log line: of the loss, of its parts, and of what is counted."""

    loss: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    count: float = 0
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, loss: float, losses: Mapping[str, float], clips: float, counts: Mapping[str, float]) -> None:
        """Take in one forward pass, whose losses are means over `clips`."""
        self.loss += loss * clips
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value * clips
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0) + value
        self.count += clips

    def text(self) -> str:
        """Return the mean loss so far, for a progress bar."""
        return f"loss {self.loss / max(1, self.count):.3f}"


def in_words(scores: Mapping[str, float]) -> str:
    """Return scores on one line; those called `..._rate` together in brackets behind what they are rates of."""
    parts: list[str] = []
    for name, value in scores.items():
        rate = name.removesuffix("_rate")
        if rate == name or not parts:
            parts.append(f"{name} {value:.4g}")
        elif parts[-1].endswith(")"):
            parts[-1] = f"{parts[-1][:-1]}, {rate} {value:.3g})"
        else:
            parts[-1] += f" ({rate} {value:.3g})"
    return "  ".join(parts)


def means(meters: Sequence[Meter]) -> dict[str, Any]:
    """Return the means over the clips of all processes, and the counts."""
    clips = sum(meter.count for meter in meters)
    losses = {name: sum(m.losses[name] for m in meters) / clips for name in meters[0].losses}
    counts = {name: sum(m.counts.get(name, 0) for m in meters) for name in _names(m.counts for m in meters)}
    return {"loss": sum(meter.loss for meter in meters) / clips, "losses": losses, **counts}


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
