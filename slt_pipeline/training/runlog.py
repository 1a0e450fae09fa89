"""metrics.jsonl: one JSON object a line, appended while a run goes on, cut back when it resumes."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class RunLog:
    """Appends records to a file; a record is on disk when `write` returns."""

    def __init__(self, path: Path, *, resume_step: int):
        """Open `path`; records of steps after `resume_step` belong to work that is done again, and are dropped."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        kept = [r for r in read_records(path) if r.get("step", 0) <= resume_step] if resume_step else []
        scratch = path.with_name(path.name + ".tmp")
        scratch.write_text("".join(_line(r) for r in kept), encoding="utf-8")
        scratch.replace(path)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())


def read_records(path: Path) -> list[dict[str, Any]]:
    """Records of a log; a last line torn by a kill is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
