"""metrics.jsonl: one JSON object a line, appended while a run goes on, cut back when it resumes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slt_pipeline.files import json_line, read_json_lines, write_json_lines


class RunLog:
    """Appends records to a file; a record is on disk when `write` returns."""

    def __init__(self, path: Path, *, resume_step: int):
        """Open `path`; records of steps after `resume_step` belong to work that is done again, and are dropped."""
        self.path = path
        kept = [r for r in read_json_lines(path) if r.get("step", 0) <= resume_step] if resume_step else []
        write_json_lines(path, kept)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json_line(record))
            file.flush()
            os.fsync(file.fileno())


@dataclass
class Meter:
    """Sums of the loss and of its parts since the last log line."""

    loss: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, loss: float, losses: Mapping[str, float]) -> None:
        """Take in one forward pass."""
        self.loss += loss
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value
        self.count += 1

    def text(self) -> str:
        """Return the mean loss so far, for a progress bar."""
        return f"loss {self.loss / max(1, self.count):.3f}"

    def pop(self) -> dict[str, Any]:
        """Return the means, and start anew."""
        means = {"loss": self.loss / self.count, "losses": {n: v / self.count for n, v in self.losses.items()}}
        self.loss, self.losses, self.count = 0.0, {}, 0
        return means
