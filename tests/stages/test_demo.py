"""The demo's steps: what waits for what, and what the clock says of them."""

import json
import pickle

import pytest

from slt_pipeline.config.recipe import load_recipe, recipes_using
from slt_pipeline.errors import SltError
from slt_pipeline.stages import demo
from slt_pipeline.training.side_by_side import Ended, Job


def test_phase_two_waits_for_the_store_and_the_language_model_alone(tmp_path):
    where = (f"runs_dir={tmp_path}",)
    recipe = load_recipe("demo/mmtlb", where)
    jobs = {job.name: job for job in demo._jobs(recipe, recipes_using(recipe, where), "cpu")}
    basis = ("extract", "gloss2text-train")
    assert {name: jobs[name].needs for name in basis} == dict.fromkeys(basis, ())
    assert jobs["joint-train demo/joint"].needs == (*basis, "translate-train")
    assert jobs["extract demo/joint"].needs == ("joint-train demo/joint",)
    others = [name for name in jobs if name not in (*basis, "joint-train demo/joint", "extract demo/joint")]
    assert {name: jobs[name].needs for name in others} == dict.fromkeys(others, basis)
    assert others[:2] == ["translate-train", "translate-train demo/cvslt"]
    assert [name.split(" ")[0] for name in others[2:]] == ["sweep"] * 3
    assert not any(job.here for job in jobs.values())
    assert all(pickle.dumps(job) for job in jobs.values())


def test_a_step_that_was_done_before_takes_no_process(tmp_path):
    recipe = load_recipe("demo/mmtlb", (f"runs_dir={tmp_path}",))
    folder = recipe.run_folder("gloss2text_train")
    folder.mkdir(parents=True)
    (folder / "result.json").touch()
    assert [job.name for job in demo._jobs(recipe, (), "cpu") if job.here] == ["gloss2text-train"]


def test_the_clock_has_the_seconds_of_each_step_and_those_on_the_wall_over_restarts(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(demo.time, "monotonic", lambda: now[0])

    def step(seconds: float) -> None:
        now[0] += seconds

    path = tmp_path / "steps.json"
    clock = demo._Clock(path)
    clock.run("synth", lambda: step(5))
    now[0] += 40
    for name, seconds in (("extract", 30.0), ("sweep", 40.0)):  # side by side
        clock.keep(Ended(Job(name, len), seconds))
    assert json.loads(path.read_text()) == {"synth": 5.0, "extract": 30.0, "sweep": 40.0, "total": 45.0}
    now[0] = 0.0  # of another process
    clock = demo._Clock(path)
    clock.run("sweep", lambda: step(2))
    assert clock.seconds == {"synth": 5.0, "extract": 30.0, "sweep": 42.0}
    assert clock.total == 47.0
    with pytest.raises(SltError, match="extract: no such clip"):
        clock.keep(Ended(Job("extract", len), 1.0, error="no such clip"))


def test_the_clock_reads_what_was_written_before_steps_went_side_by_side(tmp_path):
    (tmp_path / "steps.json").write_text('{"synth": 5.0, "extract": 30.0}')
    assert demo._Clock(tmp_path / "steps.json").before == 35.0
