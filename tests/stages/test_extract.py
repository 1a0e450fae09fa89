import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_system

from cache import Compression, FeatureStore
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.extract import _list_rejected
from slt_pipeline.systems.features import rejected_path
from slt_pipeline.systems.left_out import LeftOut

ROOT = Path(__file__).resolve().parents[2]
STREAMS = ("s3d", "gloss_rep", "gloss_logits")


def content(path) -> dict[tuple[str, str], bytes]:
    """Every clip's bytes by clip and stream, with shape and type."""
    store = FeatureStore.open(path)
    found = {}
    for clip_id in store:
        for stream in store.streams:
            features = store.read(clip_id, stream)
            found[clip_id, stream] = (features.shape, features.dtype.str, features.tobytes())
    return found


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_an_extraction_that_is_killed_and_run_again_is_byte_equal_to_an_unbroken_one(toy, stages, tmp_path, backend):
    recipe = toy.recipe(extract__store=tmp_path / "store", extract__backend=backend)
    overrides = [f"extract.store={tmp_path / 'store'}", f"extract.backend={backend}"]
    killed = subprocess.run(
        [sys.executable, toy_system.__file__, str(toy.file), "6", *overrides],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # Five clips were encoded, two at a time committed.
    assert FeatureStore.open(tmp_path / "store").keys() == [clip.id for clip in toy.clips[:4]]
    report = stages["extract"](recipe, device="cpu")
    assert (report.written, report.present) == (6, 4)
    assert FeatureStore.open(tmp_path / "store").backend == backend
    assert content(tmp_path / "store") == content(toy.recipe().store)


def test_half_precision_is_the_rounded_single_precision(toy, stages, tmp_path):
    stages["extract"](toy.recipe(extract__store=tmp_path / "half", extract__dtype="float16"), device="cpu")
    half, single = FeatureStore.open(tmp_path / "half"), FeatureStore.open(toy.recipe().store)
    for clip in toy.clips:
        for stream in STREAMS:
            assert np.array_equal(half.read(clip.id, stream), single.read(clip.id, stream).astype(np.float16))


def test_a_compressed_store_holds_the_rounded_numbers_and_is_not_continued_in_another_way(toy, stages, tmp_path):
    chosen = {"extract__store": tmp_path / "small", "extract__dtype": "float16"}
    stages["extract"](
        toy.recipe(**chosen, extract__compression="blosc", extract__keep_bits=4), split="dev", device="cpu"
    )
    small, single = FeatureStore.open(tmp_path / "small"), FeatureStore.open(toy.recipe().store)
    assert small.compression == Compression("blosc", keep_bits=4)
    for clip in toy.of("dev"):
        found, expected = small.read(clip.id, "s3d").astype(float), single.read(clip.id, "s3d").astype(float)
        assert not np.array_equal(found, expected)
        np.testing.assert_allclose(found, expected, rtol=2**-5 * 1.1, atol=1e-7)
    with pytest.raises(SltError, match=r"small has compression blosc, but none is asked for"):
        stages["extract"](toy.recipe(**chosen), device="cpu")
    with pytest.raises(SltError, match=r"small has keep_bits 4, but 5 is asked for"):
        stages["extract"](toy.recipe(**chosen, extract__compression="blosc", extract__keep_bits=5), device="cpu")


def test_splits_can_be_added_one_after_the_other(toy, stages, tmp_path):
    recipe = toy.recipe(extract__store=tmp_path / "store")
    counts = [stages["extract"](recipe, split=split, device="cpu").written for split in ("dev", "train", "all")]
    assert counts == [2, 6, 2]
    assert content(tmp_path / "store") == content(toy.recipe().store)


def test_only_the_streams_that_are_asked_for_are_stored(toy, stages, tmp_path):
    stages["extract"](toy.recipe(extract__store=tmp_path / "store", extract__streams="[gloss_rep]"), device="cpu")
    assert list(FeatureStore.open(tmp_path / "store").streams) == ["gloss_rep"]


@pytest.fixture
def damaged(own, monkeypatch) -> Path:
    """The copy, where one video is text, one is cut off to three frames, and the store is to be made anew."""
    import av

    monkeypatch.chdir(own.root)
    own.video(own.clips[1]).write_text("no video at all")
    short = own.video(own.clips[7])
    with av.open(str(short), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode())
    return own.root / "store"


def test_bad_clips_are_listed_with_reasons_and_the_others_are_stored(own, stages, damaged):
    recipe = own.recipe(extract__store=damaged)
    report = stages["extract"](recipe, device="cpu")
    assert (report.written, report.rejected) == (8, 2)
    rows = [json.loads(line) for line in report.rejected_file.read_text().splitlines()]
    assert [row["id"] for row in rows] == [own.clips[1].id, own.clips[7].id]
    assert own.clips[1].video in rows[0]["reason"]
    assert len(FeatureStore.open(damaged)) == 8


def test_bad_clips_make_the_command_exit_with_status_1(own, damaged, slt):
    shown = slt("-q", "extract", "-r", own.file, "-o", f"extract.store={damaged}")
    assert shown.status == 1
    assert "8 clips written, 0 were there, 2 rejected" in shown.out
    assert "rejected.jsonl" in shown.err
    assert "Traceback" not in shown.err


def test_a_clip_that_was_fixed_is_added_and_the_list_goes_away(own, toy, stages, damaged):
    recipe = own.recipe(extract__store=damaged)
    rejected = stages["extract"](recipe, device="cpu").rejected_file
    for clip in (own.clips[1], own.clips[7]):
        own.video(clip).write_bytes(toy.video(clip).read_bytes())
    report = stages["extract"](recipe, device="cpu")
    assert (report.written, report.present, report.rejected) == (2, 8, 0)
    assert not rejected.exists()
    assert content(damaged) == content(toy.recipe().store)


def test_an_empty_split_is_refused(own, stages):
    manifest = own.root / "corpus" / "manifest.jsonl"
    write_manifest(manifest, [Clip("a", "videos/a.mp4", 8, 25.0, "x", None, None, "train")])
    with pytest.raises(SltError, match="has no clips of split dev"):
        stages["extract"](own.recipe(extract__store=own.root / "new"), split="dev", device="cpu")


def test_a_manifest_without_clips_is_refused(toy, stages, tmp_path):
    (tmp_path / "m.jsonl").write_text("")
    recipe = toy.recipe(corpus__manifest=tmp_path / "m.jsonl", extract__store=tmp_path / "store")
    with pytest.raises(SltError, match=r"m\.jsonl has no clips"):
        stages["extract"](recipe, device="cpu")
    assert not (tmp_path / "store").exists()


def test_a_split_may_have_a_name_that_no_file_can_have(own, stages):
    clip = read_manifest(own.root / "corpus" / "manifest.jsonl")[0]
    clips = [replace(clip, id=name, split=name) for name in ("a/b", "x" * 300)]
    write_manifest(own.root / "corpus" / "manifest.jsonl", clips)
    assert stages["extract"](own.recipe(extract__store=own.root / "new"), device="cpu").written == 2


def test_bad_clips_of_one_split_stay_listed_when_another_is_extracted(own, stages, damaged):
    recipe = own.recipe(extract__store=damaged)
    rejected = stages["extract"](recipe, split="train", device="cpu").rejected_file
    stages["extract"](recipe, split="test", device="cpu")
    assert [json.loads(line)["id"] for line in rejected.read_text().splitlines()] == [own.clips[1].id]


def test_stages_that_list_bad_clips_in_one_file_at_once_keep_each_others_rows(toy, tmp_path):
    recipe = toy.recipe(extract__store=tmp_path / "store")
    left_out = LeftOut("visual-train", rejected_path(recipe))
    ways = [
        lambda number: _list_rejected(recipe, toy.clips[:2], [{"id": toy.clips[0].id, "reason": f"{number}"}]),
        lambda number: _list_rejected(recipe, toy.clips[2:4], [{"id": toy.clips[2].id, "reason": f"{number}"}]),
        lambda number: left_out.add({f"own{number}": f"{number}"}),
    ]

    def lists_again_and_again(way):
        for number in range(40):
            way(number)
            rows = read_json_lines(rejected_path(recipe))
            if f"{number}" not in [row["reason"] for row in rows]:
                os._exit(1)
        os._exit(0)

    fork = multiprocessing.get_context("fork")
    running = [fork.Process(target=lists_again_and_again, args=(way,)) for way in ways]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0, 0, 0]


@pytest.mark.parametrize(("key", "value"), [("backend", "hdf5"), ("streams", "[s3d]")])
def test_another_backend_or_other_streams_than_those_of_the_store_are_refused(toy, stages, key, value):
    with pytest.raises(SltError, match=rf"{key}|{value.strip('[]')}"):
        stages["extract"](toy.recipe(**{f"extract__{key}": value}), device="cpu")


def test_a_rejected_clip_does_not_keep_the_others_from_training(own, stages, damaged):
    recipe = own.recipe(extract__store=damaged)
    stages["extract"](recipe, device="cpu")
    assert stages["translate_train"](recipe, device="cpu", overwrite=True)["best_step"] > 0
