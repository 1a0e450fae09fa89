"""Every command that several processes share out, on the toy system, against one process."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from several import Several, lines, run, slt, wait_for
from toy_system import render, write_recipe

from cache import FeatureStore
from slt_pipeline.systems.encoding import ClipEncoder
from slt_pipeline.systems.times import TIMES_FILE
from slt_pipeline.training import distributed
from slt_pipeline.training.checkpoint import list_checkpoints

pytestmark = pytest.mark.long

STAGES = ("visual-pretrain", "visual-train", "extract", "gloss2text-train", "translate-train", "joint-train")
TRAINED = [stage.replace("-", "_") for stage in STAGES if stage != "extract"]
ALIKE = [  # no dropout, whose draws are each process's own, and an optimiser that does not blow up rounding
    "encoder.head.dropout=0",
    "visual_pretrain.dropout=0",
    "translator.mbart.dropout=0",
    "translator.mbart.attention_dropout=0",
    *(f"{stage}.training.optimiser.{key}" for stage in TRAINED for key in ("lr.default=0.001", "eps=0.1")),
    *(f"{stage}.training.{key}" for stage in TRAINED[2:] for key in ("epochs=3", "validate_every=3")),
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    render(root)
    write_recipe(root)
    return root


def command(toy: Path, runs: str, stage: str, *overrides: str) -> list[str]:
    options = [part for key in (*overrides, f"runs_dir={toy / runs}") for part in ("-o", key)]
    return ["-q", stage, "-r", str(toy / "toy.yaml"), "--device", "cpu", *options]


@pytest.fixture(scope="module")
def done(toy) -> Path:
    """Every stage by one process, and by two that start from what the one has made: rounding would grow on the way."""
    for stage in STAGES:
        if (toy / "runs1").exists():
            shutil.copytree(toy / "runs1", toy / f"by2-{stage}")
        for world, runs in ((1, "runs1"), (2, f"by2-{stage}")):
            ended = run(world, toy / "logs", slt, *command(toy, runs, stage, *ALIKE))
            assert ended.codes == [0] * world, ended.log
    return toy


@pytest.mark.parametrize("stage", TRAINED)
def test_training_has_the_losses_and_scores_of_one_process(done, stage):
    one, two = (done / runs / "toy" / stage for runs in ("runs1", f"by2-{stage.replace('_', '-')}"))
    for a, b in zip(lines(one / "metrics.jsonl"), lines(two / "metrics.jsonl"), strict=True):
        assert a.keys() == b.keys()
        exact = a["step"] == 1 or stage in ("gloss2text_train", "translate_train")
        # elsewhere rounding grows: so small an S3D makes a hundred times more of it in every step
        assert a.get("protocol") == b.get("protocol")
        for name in a.keys() - {"split", "lr", "weights", "losses", "protocol"}:
            rel = 0.5 if not exact else 1e-2 if name == "grad_norm" else 1e-4
            assert b[name] == pytest.approx(a[name], rel=rel), (stage, a["step"], name)
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, two)]
    assert [result.pop("processes") for result in results] == [1, 2]
    assert results[0].keys() == results[1].keys()
    assert results[1]["score"] == results[0]["score"]


def test_two_processes_extract_what_one_does_bit_for_bit(done):
    one, two = (FeatureStore.open(done / runs / "toy" / "features") for runs in ("runs1", "by2-extract"))
    assert sorted(one) == sorted(two)
    assert len(one) == 10
    assert all((one.read(key, stream) == two.read(key, stream)).all() for key in one for stream in one.streams)


def test_a_second_extraction_of_a_split_is_refused_before_it_encodes(done):
    arguments = command(done, "runs1", "extract", *ALIKE, f"extract.store={done / 'both' / 'features'}")
    first = Several(1, done / "logs", slt, *arguments)
    wait_for(lambda: (done / "both" / ".features.train.lock").exists())
    first.kill(0, signal.SIGSTOP)
    second = run(1, done / "logs", slt, *arguments, "--split", "train")
    first.kill(0, signal.SIGCONT)
    assert second.codes == [2]
    assert "split train of the store" in second.log
    assert "is being written by another process" in second.log
    assert first.wait().codes == [0]
    assert not list((done / "both").glob(".*.lock"))


def test_a_second_training_in_a_folder_is_refused(done):
    arguments = command(done, "busy", "visual-pretrain", *ALIKE, "visual_pretrain.training.epochs=200")
    first = Several(1, done / "logs", slt, *arguments)
    wait_for(lambda: (done / "busy/toy/visual_pretrain/metrics.jsonl").exists())
    second = run(1, done / "logs", slt, *arguments)
    assert second.codes == [2]
    assert "visual_pretrain is being written by another process" in second.log
    first.kill(0, signal.SIGTERM)
    assert first.wait().codes == [130]


def test_one_that_is_killed_in_mid_training_ends_all_and_the_command_goes_on(done):
    """A checkpoint is due after every step; the end is that of a run that nobody has killed."""
    often = [
        *ALIKE,
        "visual_train.training.checkpoint_minutes=1e-9",
        "visual_train.init=null",
        "encoder.s3d.freeze_blocks=0",
    ]
    folder = done / "killed" / "toy" / "visual_train"
    both = Several(2, done / "logs", slt, *command(done, "killed", "visual-train", *often))
    wait_for(lambda: list_checkpoints(folder / "checkpoints"))
    both.kill(1)
    ended = both.wait(60)
    assert ended.codes == [2, -signal.SIGKILL]
    assert "another process was lost" in ended.logs[0]
    assert not (folder / "result.json").exists()
    for runs in ("killed", "unbroken"):
        assert run(2, done / "logs", slt, *command(done, runs, "visual-train", *often)).codes == [0, 0]
    ends = [
        list_checkpoints(done / runs / "toy" / "visual_train" / "checkpoints")[-1] for runs in ("killed", "unbroken")
    ]
    assert ends[0].weights_hash == ends[1].weights_hash


@pytest.mark.parametrize(
    "overrides",
    [
        ["translator.head=trained", "translate_train.objective={translation: 1, recognition: 0}"],
        ["translator.suffix=txt", "translate_train.init_language=null"],
        [
            "translator.system=cvslt",
            "translate_train.objective={prior: 1, posterior: 1, gaussian_kl: 1, output_kl: 1, recognition: 0}",
        ],
    ],
    ids=["idle classifier", "unused gloss table", "cvslt"],
)
def test_what_has_no_part_in_the_loss_stops_nobody(done, overrides, tmp_path):
    """On the store, and in joint training from there."""
    place = [f"uses={{encoder: {done / 'runs1/toy'}, language: {done / 'runs1/toy'}}}", "name=other"]
    joint = ["joint_train.objective={prior: 1, posterior: 1, gaussian_kl: 1, output_kl: 1, recognition: 0}"]
    joint = joint if any("cvslt" in key for key in overrides) else ["joint_train.objective.recognition=0"]
    for stage, more in (("translate-train", []), ("joint-train", joint)):
        ended = run(2, tmp_path, slt, *command(done, tmp_path.name, stage, *ALIKE, *overrides, *place, *more))
        assert ended.codes == [0, 0], ended.log


def test_it_ends_well_every_time(done):
    """Two writers of one file would meet now and then: as often as a test can afford."""
    short = [*ALIKE, "visual_pretrain.training.epochs=1"]
    for number in range(6):
        ended = run(2, done / "logs", slt, *command(done, f"often{number}", "visual-pretrain", *short))
        assert ended.codes == [0, 0], ended.log
        result = json.loads((done / f"often{number}/toy/visual_pretrain/result.json").read_text())
        assert result["best_step"] == 2


def test_a_mistake_is_told_once(done):
    ended = run(
        2, done / "logs", slt, *command(done, "runs1", "visual-train", *ALIKE, "visual_train.training.epochs=9")
    )
    assert ended.codes == [2, 2]
    assert ended.log.count("slt: error:") == 1
    assert "visual_train holds a run that was made with training.epochs = 2, but now it is 9" in ended.log


def interrupted_in_the_second(*arguments: str) -> None:
    """Ctrl-C comes to the second process alone, at its first clip."""
    encode = ClipEncoder.clips

    def clips(*arguments):
        if distributed.rank() == 1:
            raise KeyboardInterrupt
        return encode(*arguments)

    ClipEncoder.clips = clips
    slt(*arguments)


def test_an_interruption_of_one_alone_is_told_once(done):
    arguments = command(done, "runs1", "extract", *ALIKE, f"extract.store={done}/interrupted/features")
    ended = run(2, done / "logs", interrupted_in_the_second, *arguments)
    assert ended.codes == [2, 130]
    assert ended.log.count("interrupted; the same command goes on from here") == 1
    assert "slt: error" not in ended.log


def test_a_command_for_one_process_says_so(done):
    ended = run(2, done / "logs", slt, *command(done, "runs1", "evaluate", *ALIKE))
    assert ended.codes == [2, 2]
    assert "slt evaluate is work for one process, and the launcher has started 2" in ended.log


def test_one_gpu_for_two_processes_is_refused(done):
    arguments = command(done, "gpu", "visual-train", *ALIKE, "visual_train.init=null", "encoder.s3d.freeze_blocks=0")
    ended = run(2, done / "logs", slt, *["cuda:0" if part == "cpu" else part for part in arguments])
    assert ended.codes == [2, 2]
    assert "--device cuda:0 is one GPU, and there are 2 processes; use --device cuda" in ended.log


def test_the_number_of_processes_changes_nothing_of_the_experiment(done):
    one, two = (
        (done / runs / "toy" / "visual_train" / "inputs.json").read_text() for runs in ("runs1", "by2-visual-train")
    )
    assert one == two


def test_two_processes_share_out_what_times_are_learned_from(done):
    for stage in ("visual_train", "joint_train"):
        for runs in ("runs1", f"by2-{stage.replace('_', '-')}"):
            assert (done / runs / "toy" / stage / TIMES_FILE).is_file()
