"""Runs, a store and a recipe that the first version made are read by this one, and left as they are."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from cache_tools import files
from safetensors.torch import save_file
from stage_tools import change_json, refusal, rows

from slt_pipeline.config.recipe import load_recipe
from slt_pipeline.files import file_hash
from slt_pipeline.systems import recogniser
from slt_pipeline.systems.predictions import read_predictions

ARCHIVE = Path(__file__).parents[1] / "data" / "runs-of-the-first-edition.zip"
VIDEO = "corpus/videos/dev/dev-00000.mp4"
TIMES = ("start_error", "end_error", "start_error_90", "end_error_90")
JOINT = ("-o", "runs_dir=joint", "-o", "translator.head=trained", "-o", "extract.store=runs/toy/features")
JOINT += ("-o", "uses={encoder: runs/toy, language: runs/toy}")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def old(unpacked, tmp_path, monkeypatch) -> Path:
    """The folder of the first version, worked in."""
    shutil.copytree(unpacked, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def kept(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Everything but what evaluation writes."""
    return {path: found for path, found in files(folder).items() if "evaluate" not in path.parts}


def scores(path: str) -> dict[tuple[str, str], dict[str, float]]:
    """Numbers by task and split; chrF was not scored then."""
    table = rows({"rows": json.loads(Path(path).read_text())})
    return {
        key: {name: row[name] for name in row if isinstance(row[name], float) and name != "chrf"}
        for key, row in table.items()
    }


def test_its_recipe_is_evaluated_with_the_same_scores(old, slt):
    before, numbers = kept(old), scores("runs/toy/evaluate/scores.json")
    run = slt("evaluate", "-r", "toy.yaml", "--device", "cpu")
    # of its few clips those of dev and test have glosses that training lacks, which is said today
    assert (run.status, [line for line in run.err.splitlines() if "of what Gloss2Text reads is <unk>" not in line]) == (
        0,
        [],
    )
    today = scores("runs/toy/evaluate/scores.json")
    times = {name: today["sign2gloss", "dev"].pop(name) for name in TIMES}  # by the spikes, nobody told before
    assert 0 < min(times.values()) < max(times.values()) < 1
    assert today == {key: pytest.approx(row) for key, row in numbers.items()}
    assert len(numbers) == 8
    assert kept(old) == before


def test_its_translator_is_evaluated_by_its_folder(old, slt):
    before, numbers = kept(old), scores("runs/toy/evaluate/scores.json")
    assert slt("evaluate", "--run", "runs/toy/translate_train", "--device", "cpu").status == 0
    found = scores("runs/toy/translate_train/evaluate/scores.json")
    assert found == {key: pytest.approx(row) for key, row in numbers.items() if key[0] == "sign2text"}
    assert kept(old) == before


def test_its_trained_head_is_evaluated_by_its_folder(old, slt):
    before, numbers = kept(old), scores("joint/toy/evaluate/scores.json")
    chosen = ("--run", "joint/toy/translate_train", "-o", "extract.store=runs/toy/features")
    assert slt("evaluate", *chosen, "--device", "cpu").status == 0
    found = scores("joint/toy/translate_train/evaluate/scores.json")
    for split in ("dev", "test"):
        assert found["sign2text", split] == pytest.approx(numbers["sign2text", split])
    log = [json.loads(line) for line in Path("joint/toy/translate_train/metrics.jsonl").read_text().splitlines()]
    assert found["sign2gloss", "dev"]["wer"] == pytest.approx(log[-1]["wer"])  # of its own head
    assert kept(old) == before


def test_a_video_is_translated_as_it_was_decoded(old, slt):
    before = kept(old)
    run = slt("translate", "-r", "toy.yaml", VIDEO, "--device", "cpu")
    (pair, _) = read_predictions(Path("runs/toy/evaluate/sign2text-dev.json")).rows
    assert (run.status, json.loads(run.out)["text"]) == (0, pair["hypothesis"])
    assert kept(old) == before


ALL_SPLITS = ("-o", "visual_train.vocabulary_splits=[train,dev,test]")
"""What was the default: another one would be other classes."""


@pytest.mark.parametrize(
    ("command", "folder", "options"),
    [
        ("visual-train", "runs/toy/visual_train", (*ALL_SPLITS, "-o", "visual_train.init=start.safetensors")),
        ("gloss2text-train", "runs/toy/gloss2text_train", ()),
        ("translate-train", "runs/toy/translate_train", ()),
        ("translate-train", "joint/toy/translate_train", JOINT),
    ],
)
def test_a_finished_run_is_returned_and_not_touched(old, slt, command, folder, options):
    save_file({}, "start.safetensors")  # in place of the weights that visual-train started from: the archive has none
    change_json(
        Path("runs/toy/visual_train/inputs.json"),
        lambda inputs: inputs.update(init=file_hash(Path("start.safetensors"))),
    )
    before = files(old)
    run = slt(command, "-r", "toy.yaml", *options, "--device", "cpu")
    result = json.loads(Path(folder, "result.json").read_text())
    assert (run.status, run.err) == (0, "")
    assert f"best {result['score']} {result['best_score']:.4g} at step {result['best_step']}; {folder}" in run.out
    assert files(old) == before


def test_its_store_is_shown_and_verified(old, slt):
    before = files(old)
    info, verified = (slt("cache", command, "runs/toy/features") for command in ("info", "verify"))
    assert (info.status, verified.status) == (0, 0)
    assert "10" in info.out
    assert "runs/toy/features: all is well\n" in verified.out
    assert files(old) == before


def test_its_store_is_extended_by_nothing_and_refused_by_nothing(old, slt):
    run = slt("extract", "-r", "toy.yaml", "--device", "cpu")
    assert "0 clips written, 10 were there, 0 rejected" in run.out


@pytest.mark.parametrize("stage", ["extract", "evaluate", "sweep"])
def test_its_features_are_of_the_first_kind(old, stages, monkeypatch, stage):
    """Raised by hand when the same settings give other numbers: features that say no number are the first."""
    monkeypatch.setattr(recogniser, "FEATURES", 2)
    assert "features = 1, but now it is 2" in refusal(stages[stage], load_recipe("toy.yaml"))


def test_a_run_that_was_not_finished_is_not_gone_on_with_in_another_way(old, stages):
    """Half of it was trained with padding and spelling as published, which is what there was."""
    Path("joint/toy/translate_train/result.json").unlink()
    recipe = load_recipe("toy.yaml", [option for option in JOINT if option != "-o"])
    assert "padding = 'published', but now it is 'masked'" in refusal(stages["translate_train"], recipe)
