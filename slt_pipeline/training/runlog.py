"""metrics.jsonl: one JSON object a line, appended while a run goes on, cut back when it resumes."""

import os
from collections.abc import Mapping
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
