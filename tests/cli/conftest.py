import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result

from slt_pipeline.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _leave_no_trace(monkeypatch) -> Iterator[None]:
    """Commands set up logging and a variable for their process; a test must not leave them to the next one."""
    monkeypatch.setenv("SLT_DEBUG", "0")
    logger = logging.getLogger("slt_pipeline")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def slt():
    """Run a command in this process; an exception that is not click's comes out as it is."""

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="slt", catch_exceptions=False)

    return run


@pytest.fixture
def slt_reading():
    """Run a command in this process with this text on its standard input."""

    def run(text, *arguments):
        return CliRunner().invoke(cli, [str(a) for a in arguments], input=text, prog_name="slt", catch_exceptions=False)

    return run


@pytest.fixture
def slt_process():
    """Run a command as a process of its own, as a user does."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "slt_pipeline.cli.main", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def write_video():
    """Write a small H.264 mp4."""

    def write(path: Path, num_frames: int = 12, size: int = 32, fps: int = 25) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=Fraction(fps))
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            for number in range(num_frames):
                picture = np.full((size, size, 3), 20 * number % 256, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
        return path

    return write
