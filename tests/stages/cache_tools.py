"""What the tests of `slt cache` with a recipe share."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from cache import FeatureStore
from slt_pipeline.cli.main import main
from slt_pipeline.systems.encoding import ClipEncoder


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Yield what runs a command as a user does, in this process; a fixture."""
    logger = logging.getLogger("slt_pipeline")
    before = logger.handlers[:], logger.level, logger.propagate
    for name, value in (("SLT_DEBUG", "0"), ("GOMP_SPINCOUNT", "10000")):
        monkeypatch.setenv(name, value)  # which commands set for their process

    def run(*arguments: str | Path | int) -> Ended:
        monkeypatch.setattr("sys.argv", ["slt", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Ended(int(end.value.code or 0), *capsys.readouterr())

    yield run
    logger.handlers[:], logger.level, logger.propagate = before


def note_encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the clips that are encoded from now on, in order."""
    ids: list[str] = []

    def noted(encoder, clips, root):
        for clip, found in encode(encoder, clips, root):
            ids.append(clip.id)
            yield clip, found

    encode = ClipEncoder.clips
    monkeypatch.setattr(ClipEncoder, "clips", noted)
    return ids


def contents(path: str | Path) -> dict[str, dict[str, np.ndarray]]:
    store = FeatureStore.open(path)
    return {clip: {name: store.read(clip, name) for name in store.streams} for clip in store}


def files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
