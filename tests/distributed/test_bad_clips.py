"""Clips that cannot be read, met by different processes of one run."""

import shutil
from pathlib import Path

import pytest
from several import lines, run, slt
from toy_system import render, write_recipe

pytestmark = pytest.mark.long

FROM_SCRATCH = ["visual_train.init=null", "encoder.s3d.freeze_blocks=0"]


@pytest.fixture(scope="module")
def harmed(tmp_path_factory) -> Path:
    """Of a toy corpus, one training clip is away; another and a dev clip of the second process are no videos."""
    root = tmp_path_factory.mktemp("harmed")
    clips = render(root)
    write_recipe(root)
    by_split = {split: [root / "corpus" / c.video for c in clips if c.split == split] for split in ("train", "dev")}
    by_split["train"][1].unlink()
    for path in (by_split["train"][4], by_split["dev"][1]):
        path.write_bytes(b"no video" * 100)
    return root


def command(root: Path, runs: str, stage: str, *options: str) -> list[str]:
    overrides = [part for key in (*FROM_SCRATCH, f"runs_dir={root / runs}") for part in ("-o", key)]
    return [stage, "-r", str(root / "toy.yaml"), "--device", "cpu", *overrides, *options]


@pytest.mark.parametrize("stage", ["visual-pretrain", "visual-train"])
def test_two_processes_leave_out_and_list_what_one_does(harmed, stage):
    listed = []
    for world in (1, 2):
        ended = run(world, harmed / "logs", slt, *command(harmed, f"by{world}", stage))
        assert ended.codes == [0] * world, ended.log
        home = harmed / f"by{world}" / "toy"
        file = (
            home / stage.replace("-", "_") / "rejected.jsonl" if stage == "visual-pretrain" else home / "rejected.jsonl"
        )
        listed.append(sorted((row["id"], row["reason"]) for row in lines(file)))
        assert f"1 of 2 dev clips are left out: see {file}" in ended.logs[0]
        assert f"2 of 6 train clips are left out: see {file}" in ended.logs[0]
        assert all("left out" not in log for log in ended.logs[1:])
    assert listed[0] == listed[1] and len(listed[0]) == 3


def test_strict_ends_all_of_them_and_the_one_that_met_it_says_why(harmed):
    whole = harmed / "whole"
    shutil.copytree(harmed / "corpus", whole / "corpus")
    write_recipe(whole)
    videos = sorted((whole / "corpus" / "videos" / "train").iterdir())
    shutil.copy(videos[0], videos[0].with_name("train-00001.mp4"))  # which was away
    ended = run(2, harmed / "logs", slt, *command(whole, "runs", "visual-train", "--strict"))
    assert ended.codes == [2, 2]
    assert "slt: error: clip train-00004: " in ended.log
    assert "not a readable video file" in ended.log and "without --strict it would be left out" in ended.log
    assert "Traceback" not in ended.log
