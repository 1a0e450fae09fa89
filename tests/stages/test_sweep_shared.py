"""The runs of a sweep share what they read, and come to what each of them comes to alone."""

from pathlib import Path

import pytest

from cache import FeatureStore
from slt_pipeline.corpora import manifest
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.files import kept, read_json
from slt_pipeline.stages.sweep import sweep
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.systems.features import open_features


@pytest.fixture
def two_runs(toy, tmp_path):
    """A recipe whose sweep is two seeds of one epoch, on the toy system's store."""
    uses = toy.root / "runs" / "toy"
    where = {"runs_dir": tmp_path / "runs", "uses__encoder": uses, "uses__language": uses, "evaluate__splits": "[dev]"}
    short = {"translate_train__training__epochs": 1, "translate_train__training__validate_every": 1}
    return toy.recipe(**where, **short, sweep__grid="{translator.mapper.input: [s3d]}", sweep__seeds="[4, 3]")


def test_all_runs_of_a_sweep_read_one_store_and_one_manifest(two_runs, toy, monkeypatch):
    opened, lines, once, parse = [], [], FeatureStore.open, manifest.parse_line
    Path(toy.recipe().corpus.manifest).touch()  # so that nothing of an earlier test is still known
    (Path(str(toy.recipe().store)) / "store.json").touch()
    monkeypatch.setattr(FeatureStore, "open", lambda *a, **k: opened.append(a) or once(*a, **k))
    monkeypatch.setattr(manifest, "parse_line", lambda *a: lines.append(a) or parse(*a))
    report = sweep(two_runs, device="cpu")
    assert [row["scores"]["dev"]["bleu4"] >= 0 for row in report["results"]] == [True, True]
    assert len(opened) == 1
    assert len(lines) == len(Path(two_runs.corpus.manifest).read_text().splitlines())


def test_a_run_behind_others_ends_as_it_does_alone(two_runs, tmp_path):
    report = sweep(two_runs, device="cpu")
    behind = Path(report["folder"]) / report["results"][1]["folder"]
    first = two_runs.model_copy(update={"seed": 3, "translator": _with_tap(two_runs, "s3d")})
    alone = translate_train(first, device="cpu", folder=tmp_path / "alone")
    assert read_json(behind / "result.json") == alone
    weights = [next(run.glob("checkpoints/*/weights.safetensors")).read_bytes() for run in (behind, tmp_path / "alone")]
    assert weights[0] == weights[1]


def _with_tap(recipe, tap):
    mapper = recipe.translator.mapper.model_copy(update={"input": tap})
    return recipe.translator.model_copy(update={"mapper": mapper})


def test_a_manifest_that_somebody_edits_is_read_anew(tmp_path):
    path = tmp_path / "manifest.jsonl"
    line = '{{"id": "{0}", "video": "{0}.mp4", "num_frames": 8, "fps": 25.0, "signer": "a", "gloss": null, '
    line += '"text": "da", "split": "train"}}\n'
    path.write_text(line.format("one"))
    before = read_manifest(path)
    before.clear()  # a list of one's own
    assert [clip.id for clip in read_manifest(path, "train")] == ["one"]
    path.write_text(line.format("one") + line.format("two"))
    assert [clip.id for clip in read_manifest(path, "train")] == ["one", "two"]


def test_a_store_that_grows_between_two_runs_is_opened_anew(toy, tmp_path):
    recipe = toy.recipe()
    store = open_features(recipe)
    assert open_features(recipe) is store
    assert open_features(recipe, features_in="memory") is not store
    (Path(str(recipe.store)) / "index" / "00000099.claim").touch()
    try:
        assert open_features(recipe) is not store
    finally:
        (Path(str(recipe.store)) / "index" / "00000099.claim").unlink()


def test_what_is_read_is_kept_until_a_file_changes_comes_or_goes(tmp_path):
    path, read = tmp_path / "a.txt", []

    @kept(lambda path: [path])
    def text_of(path):
        read.append(path)
        return path.read_text() if path.exists() else ""

    assert [text_of(path), text_of(path)] == ["", ""]
    path.write_text("one")
    assert [text_of(path), text_of(path)] == ["one", "one"]
    path.write_text("three")
    assert text_of(path) == "three"
    path.unlink()
    assert text_of(path) == ""
    assert len(read) == 4
