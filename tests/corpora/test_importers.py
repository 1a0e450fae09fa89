"""Annotation files as distributed become manifests; what cannot be used is named."""

import json
import shutil
import zipfile

import pytest

from slt_pipeline.corpora.csl_daily import import_csl_daily
from slt_pipeline.corpora.importing import rejected_path
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.phoenix14t import import_phoenix14t
from slt_pipeline.corpora.stats import corpus_stats
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError
from slt_pipeline.video.reader import open_video


def phoenix(name, num_frames=8, **changes):
    record = {"name": name, "signer": "Signer01", "gloss": "JETZT WETTER", "text": "und nun das wetter ."}
    return record | {"num_frames": num_frames} | changes


def csl(name, num_frames=8, text="你们好！", **changes):
    return {"name": name, "signer": 3, "gloss": "你们 好", "text": text, "num_frames": num_frames} | changes


SPLITS = {"train": [phoenix("train/a"), phoenix("train/b")], "dev": [phoenix("dev/c")], "test": [phoenix("test/d")]}


def test_phoenix_clip(write_annotations, tmp_path):
    labels = {"pami0": "0 1 2 2 3 3 0 0", "pami1": "5 " * 8, "pami2": "1 2 3"}
    folder = write_annotations("phoenix-2014t", {**SPLITS, "dev": [phoenix("dev/c", alignments=labels)]})
    report = import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain")
    assert report.num_clips == {"train": 2, "dev": 1, "test": 1}
    assert any("dev/c: alignment pami2 left out: 3 labels for 8 frames" in line for line in report.lines())
    (clip,) = read_manifest(tmp_path / "m.jsonl", "dev")
    assert (clip.id, clip.split, clip.signer, clip.num_frames, clip.fps) == ("dev/c", "dev", "Signer01", 8, 25.0)
    assert (clip.gloss, clip.text) == (("JETZT", "WETTER"), "und nun das wetter .")
    assert clip.video == "fullFrame-210x260px/dev/c/images%04d.png"
    assert clip.alignments == {"pami0": (0, 1, 2, 2, 3, 3, 0, 0), "pami1": (5,) * 8}


def test_alignments_that_are_none_are_left_out_and_told(write_annotations, tmp_path):
    folder = write_annotations("phoenix-2014t", {**SPLITS, "dev": [phoenix("dev/c", alignments=["0 1"])]})
    report = import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain")
    assert "dev/c: alignments left out: a list, not labels by name" in report.lines()


def test_a_clip_that_is_listed_twice_is_named_and_nothing_is_written(write_annotations, tmp_path):
    folder = write_annotations("phoenix-2014t", {**SPLITS, "dev": [phoenix("dev/c"), phoenix("dev/c")]})
    with pytest.raises(SltError, match="the clip 'dev/c' is listed twice"):
        import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain")
    assert not (tmp_path / "m.jsonl").exists()


def test_phoenix_variant_chooses_the_files(write_annotations, tmp_path):
    folder = write_annotations("phoenix-2014t_cleaned", SPLITS)
    assert import_phoenix14t(folder, tmp_path / "m.jsonl").num_clips["train"] == 2
    with pytest.raises(SltError, match=r"phoenix-2014t\.train"):
        import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain")


@pytest.mark.parametrize("layout", ["fullFrame-210x260px", "features/fullFrame-210x260px", "images", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_phoenix_frames_are_found_in_every_layout(write_annotations, write_frames, tmp_path, layout, zipped):
    folder = write_annotations("phoenix-2014t", SPLITS)
    for records in SPLITS.values():
        for record in records:
            write_frames(tmp_path / "frames" / layout / record["name"], record["num_frames"])
    frames = tmp_path / "frames"
    if zipped:
        with zipfile.ZipFile(tmp_path / "frames.zip", "w") as archive:
            for file in frames.rglob("*.png"):
                archive.write(file, file.relative_to(frames))
        shutil.rmtree(frames)
        frames = tmp_path / "frames.zip"
    import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain", frames=frames)
    report = validate(tmp_path / "m.jsonl")
    assert report.ok and report.num_videos == 4, report.lines()


def test_frames_elsewhere_need_a_media_root_that_holds_them(write_annotations, write_frames, tmp_path):
    folder = write_annotations("phoenix-2014t", {"train": [phoenix("train/a")]})
    frames = tmp_path / "big" / "disk"
    write_frames(frames / "fullFrame-210x260px/train/a", 8)
    out = tmp_path / "project" / "m.jsonl"
    settings = {"variant": "plain", "frames": frames, "splits": ["train"]}
    with pytest.raises(SltError, match=r"disk is outside of the media root .*project; .*--media-root"):
        import_phoenix14t(folder, out, **settings)
    report = import_phoenix14t(folder, out, **settings, media_root=tmp_path / "big")
    assert any("name it as --media-root to slt data validate" in line for line in report.lines())
    (clip,) = read_manifest(out)
    assert clip.video == "disk/fullFrame-210x260px/train/a/images%04d.png"
    assert open_video(clip.video, tmp_path / "big").num_frames == 8


def test_frames_in_no_known_layout_are_an_error(write_annotations, tmp_path):
    folder = write_annotations("phoenix-2014t", SPLITS)
    (tmp_path / "frames" / "somewhere").mkdir(parents=True)
    with pytest.raises(SltError, match="clip train/a was not found; looked for fullFrame"):
        import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain", frames=tmp_path / "frames")
    with pytest.raises(SltError, match="no such folder or zip"):
        import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain", frames=tmp_path / "nowhere")


@pytest.mark.parametrize("half_width", [False, True])
def test_csl_clip(write_annotations, write_frames, tmp_path, half_width):
    splits = {"train": [csl("S0"), csl("S1", text="你好吗？“好”。")], "dev": [csl("S2")], "test": [csl("S3")]}
    for name in ("S0", "S1", "S2", "S3"):
        write_frames(tmp_path / "sentence_frames-512x512" / name, 8, "{:06d}.jpg", start=0)
    folder = write_annotations("csl-daily", splits)
    import_csl_daily(folder, tmp_path / "m.jsonl", half_width=half_width, frames=tmp_path)
    clips = read_manifest(tmp_path / "m.jsonl")
    assert [clip.text for clip in clips[:2]] == (
        ["你们好!", "你好吗?“好”。"] if half_width else ["你们好！", "你好吗？“好”。"]
    )
    assert (clips[0].signer, clips[0].gloss, clips[0].alignments) == ("3", ("你们", "好"), None)
    assert clips[0].video == "sentence_frames-512x512/S0/%06d.jpg"
    assert validate(tmp_path / "m.jsonl").ok


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (phoenix("train/a", num_frames="8"), "entry 0: num_frames must be int, found str"),
        ({"name": "a"}, "entry 0: signer must be str, found NoneType"),
        (phoenix("../../etc/passwd"), "is no name of a clip"),
        (phoenix("/etc/passwd"), "is no name of a clip"),
        (phoenix("train/a", num_frames=0), "has 0 frames"),
    ],
)
def test_wrong_record_is_named(write_annotations, tmp_path, record, message):
    folder = write_annotations("phoenix-2014t", {"train": [record]})
    with pytest.raises(SltError, match=message):
        import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain", splits=["train"])
    assert not (tmp_path / "m.jsonl").exists()


def test_rejected_list_of_an_earlier_import_does_not_stay(write_annotations, tmp_path):
    folder = write_annotations("phoenix-2014t", SPLITS)
    rejected_path(tmp_path / "m.jsonl").write_text(json.dumps({"id": "x", "reason": "old"}))
    import_phoenix14t(folder, tmp_path / "m.jsonl", variant="plain")
    assert not rejected_path(tmp_path / "m.jsonl").exists()


REAL = {
    "plain": {
        "gloss_tokens": (55247, 3748, 4264),
        "gloss_types": (1085, 393, 411),
        "with_repeats": (56, 1, 4),
        "oov_gloss_types": (0, 12, 19),
    },
    "cleaned": {
        "gloss_tokens": (55358, 3754, 4272),
        "gloss_types": (1061, 396, 414),
        "ctc_infeasible_half": (26, 1, 0),
    },
}
REAL_PHOENIX = {
    "num_clips": (7096, 519, 642),
    "num_frames": (827354, 55775, 64627),
    "over_cap": (1, 0, 0),
    "signers": (9, 9, 9),
    "words": (106177, 7339, 8458),
    "word_types": (2888, 952, 1002),
    "char_types": (32, 32, 32),
    "texts": (6853, 509, 630),
    "texts_in_train": (0, 25, 32),
    "oov_word_types": (0, 57, 59),
    "ctc_infeasible": (1, 0, 0),
    "without_gloss": (0, 0, 0),
    "without_text": (0, 0, 0),
}
REAL_CSL = {
    "num_clips": (18401, 1077, 1176),
    "num_frames": (2185329, 131931, 150248),
    "over_cap": (8, 0, 0),
    "signers": (10, 10, 10),
    "gloss_tokens": (133714, 8173, 9002),
    "gloss_types": (2000, 1344, 1345),
    "char_types": (2343, 1358, 1358),
    "texts": (6578, 797, 798),
    "texts_in_train": (0, 2, 2),
    "with_repeats": (1605, 97, 114),
    "ctc_infeasible": (3, 0, 0),
    "ctc_infeasible_half": (53, 2, 2),
    "oov_gloss_types": (0, 0, 0),
    "oov_char_types": (0, 43, 43),
}


@pytest.mark.parametrize("variant", ["plain", "cleaned"])
def test_counts_of_real_phoenix(real_data, tmp_path, variant):
    report = import_phoenix14t(
        real_data / "phoenix-2014t", tmp_path / "m.jsonl", variant=variant, alignments=variant == "cleaned"
    )
    assert len(report.notes) == 1, "every alignment of the distributed files has one label a frame"
    stats = _assert_counts(tmp_path / "m.jsonl", REAL_PHOENIX | REAL[variant])
    train = stats["train"]
    assert (train.frames.min, train.frames.median, train.frames.max) == (16, 112, 475)
    assert round(train.frames.mean, 1) == 116.6 and train.word_length.max == 53 and train.char_length.max == 302


def test_counts_of_real_csl_daily(real_data, tmp_path):
    settings = {"half_width": True, "splits": ["dev", "test"]}
    report = import_csl_daily(real_data / "csl-daily", tmp_path / "m.jsonl", **settings)
    assert f"punctuation of {582 + 670} texts written in half width" in report.notes
    import_csl_daily(real_data / "csl-daily", tmp_path / "m.jsonl")
    stats = _assert_counts(tmp_path / "m.jsonl", REAL_CSL)
    assert round(stats["train"].frames.mean, 1) == 118.8 and stats["train"].char_length.max == 43


def _assert_counts(manifest, expected):
    stats = corpus_stats(read_manifest(manifest))
    got = {name: tuple(getattr(stats[split], name) for split in ("train", "dev", "test")) for name in expected}
    assert got == expected
    return stats
