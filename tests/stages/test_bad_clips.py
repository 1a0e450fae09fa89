"""A bad clip never ends a run: it is left out, listed and counted, or with --strict named before all else."""

import json
import logging
from dataclasses import replace

import pytest
from joint_tools import recipe_of
from stage_tools import CPU, KilledError, change_clips, refusal, trainable_of, weights, write_video

from slt_pipeline.corpora.frames import ClipDataset
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.joint_train import joint_train
from slt_pipeline.systems.features import rejected_path
from slt_pipeline.systems.left_out import LeftOut
from slt_pipeline.video.reader import open_video

pytestmark = pytest.mark.long

STAGES = ("visual_pretrain", "visual_train")


@pytest.fixture
def said(caplog, monkeypatch):
    """What was logged, as lines."""
    monkeypatch.setattr(logging.getLogger("slt_pipeline"), "propagate", True)
    caplog.set_level(logging.INFO, logger="slt_pipeline")
    return lambda: [record.getMessage() for record in caplog.records]


def cut(toy, clip):
    """The file ends in the middle."""
    path = toy.video(clip)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_video(toy, clip):
    """Nothing is wrong with name and size, only with the content."""
    toy.video(clip).write_bytes(b"this is no video, but nobody knows before it is decoded\n" * 40)


def away(toy, clip):
    toy.video(clip).unlink()


def empty_folder(toy, clip):
    toy.video(clip).unlink()
    toy.video(clip).mkdir()


def closed(toy, clip):
    """Its name is longer than the disk allows: an error of the system's, not ours."""
    _rename(toy, clip, "videos/" + 300 * "x" + ".mp4")


def two_frames(toy, clip):
    """And the manifest says more."""
    write_video(toy.video(clip), open_video(str(toy.video(clip))).read([0, 1]))


def two_frames_as_the_manifest_says(toy, clip):
    two_frames(toy, clip)
    for name in ("manifest", "isolated"):
        change_clips(toy.root / f"corpus/{name}.jsonl", {clip.id: {"num_frames": 2, "alignments": None, "extra": None}})


BREAK = [cut, no_video, away, empty_folder, closed, two_frames, two_frames_as_the_manifest_says]


def _rename(toy, clip, video):
    for name in ("manifest", "isolated"):
        path = toy.root / f"corpus/{name}.jsonl"
        write_manifest(path, [replace(c, video=video) if c.id == clip.id else c for c in read_manifest(path)])


def _listed(recipe, stage):
    pretrained = stage == "visual_pretrain"
    return read_json_lines(recipe.run_folder(stage) / "rejected.jsonl" if pretrained else rejected_path(recipe))


def _scores(recipe, stage, split):
    rows = read_json_lines(recipe.run_folder(stage) / "metrics.jsonl")
    return [row for row in rows if row["split"] == split]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("harm", BREAK)
def test_training_goes_on_without_bad_clips_and_lists_them(own, stages, said, stage, harm):
    recipe = own.recipe()
    train, dev = own.of("train")[3], own.of("dev")[1]
    harm(own, train)
    harm(own, dev)
    result = stages[stage](recipe, device="cpu", overwrite=True)
    assert result["best_score"] == result["best_score"]  # a number
    assert {(row["id"], row["by"]) for row in _listed(recipe, stage)} == {(train.id, stage), (dev.id, stage)}
    assert all("\n" not in row["reason"] and row["reason"] for row in _listed(recipe, stage))
    warnings = [line for line in said() if f"{train.id} is left out" in line]
    assert len(warnings) == 1
    file = recipe.run_folder(stage) / "rejected.jsonl" if stage == "visual_pretrain" else rejected_path(recipe)
    assert f"{stage}: 1 of 6 train clips are left out: see {file}" in said()[-2:]
    assert said().count(f"{stage}: 1 of 2 dev clips are left out: see {file}") == 3  # two validations and the end
    assert len(_scores(recipe, stage, "dev")) == 2


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize("harm", [cut, no_video])
def test_strict_stops_at_the_first_with_name_and_reason(own, stages, stage, split, harm):
    bad = own.of(split)[1]
    harm(own, bad)
    message = refusal(stages[stage], own.recipe(), overwrite=True, strict=True)
    assert message.startswith(f"clip {bad.id}: ") and bad.video in message and "without --strict" in message


def test_strict_extraction_stops_too(own, stages, tmp_path):
    bad = own.of("test")[0]
    no_video(own, bad)
    message = refusal(stages["extract"], own.recipe(extract__store=tmp_path / "store"), strict=True)
    assert message.startswith(f"clip {bad.id}: ") and bad.video in message


def test_extraction_lists_whatever_cannot_be_read(own, stages, tmp_path):
    clip = own.of("train")[0]
    closed(own, clip)
    report = stages["extract"](own.recipe(extract__store=tmp_path / "store"), device="cpu")
    assert (report.written, report.rejected) == (9, 1)
    assert read_json_lines(report.rejected_file)[0]["reason"].endswith(": File name too long")


@pytest.mark.parametrize("command", ["visual-pretrain", "visual-train", "extract"])
def test_strict_is_an_option_of_the_commands_that_read_video(own, slt, tmp_path, command):
    for clip in own.clips:
        no_video(own, clip)
    anew = ["-o", f"extract.store={tmp_path / 'store'}"] if command == "extract" else ["--overwrite"]
    run = slt(command, "-r", own.file, "--device", "cpu", "--strict", *anew)
    assert run.status == 2 and "without --strict it would be left out" in run.err


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize("harm", [away, no_video])
def test_if_no_clip_can_be_read_it_is_not_the_clips(own, stages, stage, split, harm):
    for clip in own.of(split):
        harm(own, clip)
    message = refusal(stages[stage], own.recipe(), overwrite=True)
    number = len(own.of(split))
    assert f"none of {number} {split} clips can be read, such as {own.of(split)[0].id}: " in message
    assert "is the media root right?" in message


def test_a_wrong_media_root_is_refused_before_the_old_run_is_given_up(own, stages, tmp_path):
    recipe = own.recipe(corpus__media_root=tmp_path)
    message = refusal(stages["visual_train"], recipe, overwrite=True)
    assert "none of 6 train clips can be read" in message
    assert (recipe.run_folder("visual_train") / "result.json").is_file()


def test_joint_training_leaves_out_and_lists_bad_clips_too(own, tmp_path):
    recipe = recipe_of(own, tmp_path)
    train, dev = own.of("train")[3], own.of("dev")[1]
    no_video(own, train)
    cut(own, dev)
    joint_train(recipe, device="cpu")
    listed = read_json_lines(recipe.run_folder("joint_train") / "rejected.jsonl")
    assert {(row["id"], row["by"]) for row in listed} == {(clip.id, "joint_train") for clip in (train, dev)}
    assert "clip " in refusal(joint_train, recipe, overwrite=True, strict=True)


def test_what_extraction_listed_stays_and_what_it_can_encode_is_taken_off(own, stages):
    recipe, file = own.recipe(), rejected_path(own.recipe())
    train, test = own.of("train")[0], own.of("test")[0]
    file.write_text(json.dumps({"id": test.id, "reason": "was away", "by": "extract"}) + "\n")
    whole = own.video(train).read_bytes()
    cut(own, train)
    stages["visual_train"](recipe, device="cpu", overwrite=True)
    assert [(row["id"], row["by"]) for row in read_json_lines(file)] == [
        (test.id, "extract"),
        (train.id, "visual_train"),
    ]
    own.video(train).write_bytes(whole)
    store = recipe.store
    assert not isinstance(store, str)
    store.rename(store.with_name("old"))
    report = stages["extract"](recipe, device="cpu")
    assert report.rejected == 0 and not file.exists()


def test_a_run_that_begins_anew_lists_anew_and_one_that_goes_on_keeps_its_list(own):
    recipe, file = own.recipe(), rejected_path(own.recipe())
    left_out = LeftOut("visual_train", file)
    left_out.usable(own.of("train"), own.root / "corpus", recipe.video.sampling)
    left_out.add({own.of("train")[0].id: "of an earlier day"})
    again = LeftOut("visual_train", file)
    again.begin(recipe.run_folder("visual_train"))  # which has checkpoints
    assert [row["reason"] for row in read_json_lines(file)] == ["of an earlier day"]
    LeftOut("visual_train", file).begin(own.root / "elsewhere")
    assert not file.exists()


@pytest.mark.parametrize("stage", STAGES)
def test_a_loop_that_is_stopped_goes_on_to_the_same_end_with_a_bad_clip(own, stages, stage, monkeypatch):
    """What stands in for a bad clip is a function of seed, epoch and index too."""
    no_video(own, own.of("train")[2])
    options = {f"{stage}__training__checkpoint_minutes": 1e-9}
    if stage == "visual_train":
        options |= {"visual_train__init": "null", "encoder__s3d__freeze_blocks": 0}
    recipes = [own.recipe(runs_dir=own.root / name, **options) for name in ("whole", "parts")]
    stages[stage](recipes[0], device="cpu")
    real, seen = ClipDataset.__getitem__, []

    def stop(self, key):
        seen.append(key)
        if len(seen) == 5:  # of the second step; the first is saved
            raise KilledError
        return real(self, key)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(ClipDataset, "__getitem__", stop)
        stages[stage](recipes[1], device="cpu")
    stages[stage](recipes[1], device="cpu")
    whole, parts = (weights(recipe, stage) for recipe in recipes)
    assert all((whole[name] == parts[name]).all() for name in whole)


def test_ctc_infeasible_clips_that_were_drawn_are_counted(own, stages):
    clip = own.of("train")[1]
    change_clips(own.root / "corpus/manifest.jsonl", {clip.id: {"gloss": (clip.gloss or ())[:1] * 40}})
    recipe = own.recipe(visual_train__max_infeasible=0.5)
    stages["visual_train"](recipe, device="cpu", overwrite=True)
    drawn = [row["infeasible"] for row in _scores(recipe, "visual_train", "train")]
    assert len(drawn) == 4 and sum(drawn) == 2  # once an epoch


def test_validation_tells_kinds_of_errors_and_blank_clips(own, stages, said, monkeypatch):
    recipe = own.recipe()
    trainable = trainable_of(monkeypatch, lambda: stages["visual_train"](recipe, device="cpu", overwrite=True))
    model = trainable.model.to(CPU).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gloss_output_layer.bias"):
            parameter.data[0] = 1e4
    scores = trainable.validate(model)
    assert scores == {"wer": 100.0, "sub_rate": 0.0, "del_rate": 100.0, "ins_rate": 0.0, "blank_only": 100.0}
