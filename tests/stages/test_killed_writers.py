"""A folder that a killed process was writing leaves nothing behind, and what it had moved aside comes back."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from slt_pipeline.files import replacing_folder

FORK = multiprocessing.get_context("fork")


def _killed(path: Path, after: int) -> None:
    """Write the folder in a process that is killed after so many renames: 0 in the block, 1 between the two."""

    def child() -> None:
        made, rename = [], Path.rename

        def counted(source: Path, target: Path) -> Path:
            made.append(rename(source, target))
            if len(made) == after:
                os.kill(os.getpid(), signal.SIGKILL)
            return made[-1]

        Path.rename = counted  # type: ignore[method-assign]
        with replacing_folder(path) as folder:
            (folder / "weights").write_text("half")
            if after == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _write(path: Path, content: str) -> None:
    with replacing_folder(path) as folder:
        (folder / "weights").write_text(content)


def _left(path: Path) -> list[str]:
    return sorted(place.name for place in path.parent.iterdir())


@pytest.mark.parametrize("after", [0, 1, 2])
def test_the_next_writer_clears_what_a_killed_one_has_left(tmp_path, after):
    path = tmp_path / "mbart"
    _write(path, "first")
    _killed(path, after)
    assert len(_left(path)) > 1 and path.exists() == (after != 1)
    _write(path, "second")
    assert _left(path) == ["mbart"] and (path / "weights").read_text() == "second"


def test_what_was_moved_aside_comes_back_though_the_next_writer_fails(tmp_path):
    path = tmp_path / "mbart"
    _write(path, "first")
    _killed(path, 1)
    with pytest.raises(ZeroDivisionError), replacing_folder(path):
        raise ZeroDivisionError
    assert _left(path) == ["mbart"] and (path / "weights").read_text() == "first"


def test_what_a_living_process_writes_and_what_others_are_called_is_left_alone(tmp_path):
    path, ours = tmp_path / "mbart", ".mbart.notes.tmp"
    (tmp_path / ours).mkdir()
    _killed(tmp_path / "mbart.large", 0)
    others = [name for name in _left(path) if "large" in name]
    begun, go_on = FORK.Event(), FORK.Event()

    def child() -> None:
        with replacing_folder(path) as folder:
            (folder / "weights").write_text("slow")
            begun.set()
            go_on.wait(60)

    process = FORK.Process(target=child)
    process.start()
    assert begun.wait(60)
    _write(path, "quick")
    go_on.set()
    process.join()
    assert process.exitcode == 0
    assert (path / "weights").read_text() == "slow"
    assert _left(path) == sorted([ours, "mbart", *others]) and len(others) == 2
