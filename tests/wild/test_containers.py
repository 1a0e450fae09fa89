"""Commands as containers run them: no home, no locale, no name of the user, nowhere to write but where told."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "slt_pipeline.cli.main")
_CAPABILITIES = "--inh-caps=+dac_override,+dac_read_search", "--ambient-caps=+dac_override,+dac_read_search"
NOBODY = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", *_CAPABILITIES)
"""A user whom no passwd file knows. It reads what root does, since the interpreter may be closed to all others."""
NO_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*command, before=(), without=(), **environment):
    """Run a command as a process of its own and return what it says, in bytes."""
    own = {name: value for name, value in os.environ.items() if name not in without}
    own |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run(
        [*before, *COMMAND, *map(str, command)], env=own, capture_output=True, timeout=120, check=False
    )


@pytest.fixture
def signs(tmp_path):
    """A folder of two signs; the name of one clip is in UTF-8, of the other in Latin-1."""
    for name in ("süd.mp4".encode(), "süd.mp4".encode("latin-1")):
        path = tmp_path / "signs" / "SÜD" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file, av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for _ in range(8):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
            container.mux(stream.encode())
    return tmp_path / "signs"


@pytest.mark.parametrize(
    ("without", "environment"),
    [
        ((), NO_LOCALE),
        ((), NO_LOCALE | {"LC_ALL": "POSIX", "PYTHONIOENCODING": "latin-1"}),
        ((), {"PYTHONIOENCODING": "ascii"}),
        (("HOME", "USER", "LOGNAME"), {}),
        ((), {"HOME": "/proc", "TMPDIR": "/not/there", "XDG_CACHE_HOME": "/proc/cache"}),
    ],
    ids=["no locale", "Latin-1", "ASCII", "no home", "nowhere to write"],
)
def test_an_import_and_its_validation_are_the_same_in_every_surrounding(tmp_path, signs, without, environment):
    out = tmp_path / "m.jsonl"
    done = run("data", "import", "isolated", signs, "--out", out, without=without, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    done.stdout.decode("utf-8")
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [(clip["video"], clip["gloss"]) for clip in found] == [
        ("signs/SÜD/süd.mp4", ["SÜD"]),
        ("signs/SÜD/s\udcfcd.mp4", ["SÜD"]),
    ]
    (tmp_path / "signs/SÜD/süd.mp4").unlink()
    done = run("data", "validate", out, "--json", without=without, **environment)
    assert (done.returncode, done.stderr) == (1, b"")
    (problem,) = map(json.loads, done.stdout.decode("utf-8").splitlines())
    assert "SÜD/süd.mp4: no such video" in problem["message"]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs to be root to become another user")
def test_a_user_whom_nobody_knows(public, signs):
    shutil.copytree(signs, public / "signs")
    out = public / "given" / "m.jsonl"
    out.parent.mkdir()
    os.chown(out.parent, 12345, 12345)
    done = run(
        "data",
        "import",
        "isolated",
        public / "signs",
        "--media-root",
        public,
        "--out",
        out,
        before=NOBODY,
        without=("HOME", "USER"),
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert out.stat().st_uid == 12345
    done = run("data", "validate", out, "--media-root", public, before=NOBODY, without=("HOME", "USER"))
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_needs_nothing(tmp_path):
    done = run("--help", HOME="/proc", TMPDIR="/not/there", **NO_LOCALE)
    assert (done.returncode, done.stderr) == (0, b"")
