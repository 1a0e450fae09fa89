"""Times of glosses, from training to translation and scores, on the toy system."""

import json
import shutil

import pytest
import torch
from stage_tools import KilledError, change_clips, refusal, rows

from slt_pipeline.models.ctc import align
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems.times import TIMES_FILE, GlossTimes
from slt_pipeline.training.checkpoint import RESULT
from slt_pipeline.training.run import Run

ERRORS = {"start_error", "end_error", "start_error_90", "end_error_90", "num_timed"}


def _glosses(recipe, toy, **options) -> list[list[dict]]:
    system = Translate(recipe, device="cpu", **options)
    return [system.video(str(toy.video(clip)))["glosses"] for clip in toy.of("test")]


def _without_times(toy) -> None:
    (toy.recipe().run_folder("visual_train") / TIMES_FILE).unlink()


def _make_reference(toy, found: list[list[dict]]) -> int:
    """Make what was found in the test clips their reference; return the number of glosses."""
    changes = {
        clip.id: {
            "gloss": tuple(gloss["gloss"] for gloss in glosses),
            "extra": {"spans": [[gloss["start"] * clip.fps, gloss["end"] * clip.fps] for gloss in glosses]},
        }
        for clip, glosses in zip(toy.of("test"), found, strict=True)
    }
    change_clips(toy.root / "corpus" / "manifest.jsonl", changes)
    return sum(len(glosses) for glosses in found)


def _scored(toy, stages) -> tuple[dict, str]:
    report = stages["evaluate"](toy.recipe(evaluate__splits="[test]"), device="cpu")
    assert all(not ERRORS & row.keys() for (task, _), row in rows(report).items() if task != "sign2gloss")
    return rows(report)["sign2gloss", "test"], report["table"]


def test_evaluation_measures_the_times_that_translation_gives(own, stages):
    assert (own.recipe().run_folder("visual_train") / TIMES_FILE).is_file()
    number = _make_reference(own, _glosses(own.recipe(), own))
    row, table = _scored(own, stages)
    assert row["num_timed"] == number > 0
    assert max(row["start_error_90"], row["end_error_90"]) <= 0.001  # to which translation rounds
    assert "start_error" in table
    _without_times(own)
    assert _scored(own, stages)[0]["end_error"] > 0.01  # the spikes are elsewhere


def test_without_a_head_times_are_those_of_the_spikes_as_ever(own):
    learned = _glosses(own.recipe(), own)
    _without_times(own)
    system, clip = Translate(own.recipe(), device="cpu"), own.of("test")[0]
    streams = system.recogniser.encode_clip(clip, own.root / "corpus")
    found = system.video(str(own.video(clip)))["glosses"]
    ids = system.recogniser.classes.encode([gloss["gloss"] for gloss in found])
    expected = [(4 * start / clip.fps, 4 * end / clip.fps) for start, end in align(streams["gloss_logits"], ids)]
    assert [(gloss["start"], gloss["end"]) for gloss in found] == [pytest.approx(span, abs=1e-3) for span in expected]
    assert [gloss["gloss"] for gloss in found] == [gloss["gloss"] for gloss in learned[0]]
    assert found != learned[0]


def test_spikes_are_what_a_recipe_gets_that_asks_for_them(own, stages):
    recipe = own.recipe(visual_train__times="spike", runs_dir=own.root / "other")
    shutil.copytree(own.root / "runs" / "toy" / "visual_pretrain", recipe.run_folder("visual_pretrain"))
    stages["visual_train"](recipe, device="cpu")
    assert not (recipe.run_folder("visual_train") / TIMES_FILE).exists()
    for name in ("best.json", "metrics.jsonl"):
        assert len(_lines(recipe, name)) == len(_lines(own.recipe(), name))
    weights = [GlossTimes.open(r).head for r in (recipe, own.recipe())]
    assert weights[0] is None
    assert weights[1] is not None


def _lines(recipe, name: str) -> list[str]:
    return (recipe.run_folder("visual_train") / name).read_text().splitlines()


def test_a_run_that_is_killed_before_it_is_marked_learns_the_same_times_again(own, stages, monkeypatch):
    folder = own.recipe().run_folder("visual_train")
    expected = (folder / TIMES_FILE).read_bytes()

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", killed)
        with pytest.raises(KilledError):
            stages["visual_train"](own.recipe(), device="cpu", overwrite=True)
    assert (folder / TIMES_FILE).read_bytes() == expected
    assert not (folder / RESULT).exists()
    (folder / TIMES_FILE).unlink()
    stages["visual_train"](own.recipe(), device="cpu")
    assert (folder / TIMES_FILE).read_bytes() == expected


def test_another_kind_of_times_is_another_run_and_an_old_run_is_of_any_kind(own, stages):
    other = own.recipe(visual_train__times="sign")
    assert "made with times = 'stroke', but now it is 'sign'" in refusal(stages["visual_train"], other)
    inputs = own.recipe().run_folder("visual_train") / "inputs.json"
    inputs.write_text(json.dumps({k: v for k, v in json.loads(inputs.read_text()).items() if k != "times"}))
    _without_times(own)
    assert stages["visual_train"](other, device="cpu") == own.results["visual_train"]
    (inputs.parent / RESULT).unlink()
    stages["visual_train"](other, device="cpu")  # stopped half-way by an earlier version
    assert (inputs.parent / TIMES_FILE).is_file()


def test_times_that_were_learned_for_other_weights_are_refused(own):
    folder = own.recipe().run_folder("visual_train")
    best = json.loads((folder / "best.json").read_text())
    meta = folder / "checkpoints" / f"step-{best['step']:08d}" / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "weights": "0" * 64}))
    assert "learned for weights" in refusal(lambda device: GlossTimes.open(own.recipe()))


def test_a_joint_run_learns_the_times_of_its_own_encoder(toy, joint):
    opened = joint.opened()
    own_times, first = GlossTimes.open(opened).head, GlossTimes.open(toy.recipe()).head
    assert own_times is not None
    assert first is not None
    assert not torch.equal(own_times.mean, first.mean)
    assert len(_glosses(opened, toy, run=joint.folder)) == len(toy.of("test"))


def test_a_clip_without_times_takes_no_part_and_without_any_there_is_no_error(own, stages):
    found = _glosses(own.recipe(), own)
    _make_reference(own, found)
    manifest, (first, second) = own.root / "corpus" / "manifest.jsonl", own.of("test")
    change_clips(manifest, {first.id: {"extra": None}})
    assert _scored(own, stages)[0].get("num_timed", 0) == len(found[1])
    change_clips(manifest, {second.id: {"extra": {"spans": []}}})
    assert not ERRORS & _scored(own, stages)[0].keys()
