"""Jobs side by side: each in a process of its own, together as fast as the cores allow, one's end no other's."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import side_jobs

from slt_pipeline.errors import SltError
from slt_pipeline.training import ahead
from slt_pipeline.training.side_by_side import Ended, Job, side_by_side
from slt_pipeline.training.threads import num_cores, threads_each

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["from nothing", "imported ahead"])
def workers(request, monkeypatch, tmp_path):
    """How processes of jobs start."""
    monkeypatch.setattr(ahead, "_begun", [])
    monkeypatch.setattr(ahead, "_GPU", tmp_path / "no-gpu")
    if request.param == "imported ahead":
        ahead.import_ahead("slt_pipeline.training.trainable", 1)
    return request.param


def all_ended(*jobs: Job, at_once: int = 2, threads: int = 1) -> dict[str, Ended]:
    found: dict[str, Ended] = {}
    side_by_side(jobs, at_once, threads, lambda ended: found.update({ended.job.name: ended}))
    return found


def test_a_job_that_fails_or_dies_takes_no_other_with_it(workers, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "slt_pipeline"):
        found = all_ended(
            Job("killed", side_jobs.die, (signal.SIGKILL,)),
            Job("asked", side_jobs.die, (signal.SIGTERM,)),
            Job("refused", side_jobs.fail, (True,)),
            Job("broken", side_jobs.fail, (False,)),
            Job("after", side_jobs.note, (tmp_path, "after"), needs=("killed",)),
            Job("threads", side_jobs.threads),
            Job("well", side_jobs.note, (tmp_path, "well")),
            at_once=4,
            threads=2,
        )
    assert {name: ended.error for name, ended in found.items()} == {
        "killed": "its process was killed by SIGKILL; if memory was short, run fewer at a time",
        "asked": "its process was asked to stop",
        "refused": "no such clip",
        "broken": "ZeroDivisionError: by nothing",
        "after": "it needs killed, which did not end well",
        "threads": None,
        "well": None,
    }
    assert found["threads"].value == (min(2, num_cores()), "2")
    assert found["well"].value == "well"
    assert "well: well is here" in caplog.messages
    assert any(line.startswith("broken: failed\nTraceback") for line in caplog.messages)
    assert any(line.startswith("well: ended after") for line in caplog.messages)


def test_a_job_starts_when_those_that_it_needs_have_ended(tmp_path):
    order = []
    jobs = [
        Job("last", side_jobs.note, (tmp_path, "last"), needs=("first", "here")),
        Job("first", side_jobs.note, (tmp_path, "first", 0.2)),
        Job("here", os.getpid, here=True),
    ]
    side_by_side(jobs, 3, 1, lambda ended: order.append((ended.job.name, ended.value)))
    assert order == [("here", os.getpid()), ("first", "first"), ("last", "last")]


def test_what_the_caller_raises_stops_the_others(tmp_path):
    def refuse(ended: Ended) -> None:
        raise SltError(f"{ended.job.name}: {ended.error}")

    jobs = [
        Job("slow", side_jobs.note, (tmp_path, "slow", 60)),
        Job("refused", side_jobs.fail_behind, (tmp_path, "slow")),
    ]
    with pytest.raises(SltError, match="refused: no such clip"):
        side_by_side(jobs, 2, 1, refuse)
    assert not (tmp_path / "slow.ended").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_parent_stops_every_job_and_starts_no_other(workers, tmp_path, signum):
    def when_started() -> None:
        while not (tmp_path / "slow.started").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signum)

    found: dict[str, Ended] = {}
    jobs = [Job(name, side_jobs.note, (tmp_path, name, 60)) for name in ("slow", "never")]
    threading.Thread(target=when_started).start()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(jobs, 1, 1, lambda ended: found.update({ended.job.name: ended}))
    assert {name: ended.stopped for name, ended in found.items()} == {"slow": True}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slow.started"]


@pytest.mark.parametrize("first", ["pass", "import_ahead('slt_pipeline.training.trainable', 1)"])
def test_jobs_stop_when_their_parent_is_killed(tmp_path, first):
    program = (
        "if __name__ == '__main__':\n"
        " import side_jobs, sys, pathlib\n"
        " from slt_pipeline.training.ahead import import_ahead\n"
        " from slt_pipeline.training.side_by_side import Job, side_by_side\n"
        f" {first}\n"
        " side_by_side([Job('slow', side_jobs.note_id, (pathlib.Path(sys.argv[1]), 60))], 1, 1, print)\n"
    )
    (tmp_path / "program.py").write_text(program)
    path = os.pathsep.join([str(ROOT), str(Path(side_jobs.__file__).parent)])
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    )
    noted = tmp_path / "id"
    wait_for(noted.exists)
    parent.kill()
    parent.wait()
    wait_for(lambda: not Path(f"/proc/{noted.read_text()}").exists())


def test_what_was_imported_ahead_is_there_when_a_worker_starts(workers):
    found = all_ended(Job("modules", side_jobs.has_module, ("slt_pipeline.training.trainable",)))
    assert found["modules"].value is (workers == "imported ahead")


def test_beside_a_gpu_nothing_is_imported_ahead(monkeypatch, tmp_path):
    monkeypatch.setattr(ahead, "_begun", [])
    monkeypatch.setattr(ahead, "_GPU", tmp_path)
    ahead.import_ahead("slt_pipeline.training.trainable", 1)
    assert ahead.context_of_workers().get_start_method() == "spawn"


def wait_for(true, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_several_processes_share_the_cores_unless_the_threads_of_each_are_given(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_each(n) for n in (1, num_cores(), 2 * num_cores())] == [num_cores(), 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_each(2) == 3
