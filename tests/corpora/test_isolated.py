"""Isolated signs: a class per folder, or a WLASL list."""

import json

import pytest

from slt_pipeline.corpora.importing import rejected_path
from slt_pipeline.corpora.isolated import import_class_folders, import_wlasl
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError


def test_class_folders_with_splits(tmp_path, write_frames):
    for place in ("train/GO HOME/1", "train/RAIN/2", "val/RAIN/3", "test/RAIN/4"):
        write_frames(tmp_path / "signs" / place, 6)
    report = import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 2, "dev": 1, "test": 1}
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "m.jsonl")}
    assert clips["train/GO HOME/1"].gloss == ("GO-HOME",)
    assert clips["val/RAIN/3"].split == "dev" and clips["val/RAIN/3"].num_frames == 6
    assert validate(tmp_path / "m.jsonl").ok


def test_class_folders_without_splits_hold_out_every_nth(tmp_path, write_frames):
    for number in range(7):
        write_frames(tmp_path / "signs" / "RAIN" / f"c{number}", 4)
    import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl", dev_every=3)
    dev = [clip.id for clip in read_manifest(tmp_path / "m.jsonl", "dev")]
    assert dev == ["RAIN/c2", "RAIN/c5"]


def test_video_that_cannot_be_read_is_listed_or_stops(tmp_path, write_frames):
    write_frames(tmp_path / "signs" / "RAIN" / "a", 4)
    (tmp_path / "signs" / "RAIN" / "b.mp4").write_text("no film")
    report = import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl")
    assert [clip.id for clip in read_manifest(tmp_path / "m.jsonl")] == ["RAIN/a"]
    (rejected,) = [json.loads(line) for line in rejected_path(tmp_path / "m.jsonl").read_text().splitlines()]
    assert rejected["id"] == "RAIN/b.mp4" and "not a readable video" in rejected["reason"]
    assert any("1 clips left out" in line for line in report.lines())
    with pytest.raises(SltError, match="not a readable video"):
        import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl", strict=True)


def test_a_clip_that_links_out_of_the_media_root_is_listed_with_the_cure_and_the_others_are_imported(
    tmp_path, write_frames
):
    write_frames(tmp_path / "signs" / "HAUS" / "a", 8)
    write_frames(tmp_path / "elsewhere" / "b", 8)
    (tmp_path / "signs" / "HAUS" / "b").symlink_to(tmp_path / "elsewhere" / "b")
    report = import_class_folders(tmp_path / "signs", tmp_path / "signs" / "m.jsonl")
    assert [clip.id for clip in read_manifest(tmp_path / "signs" / "m.jsonl")] == ["HAUS/a"]
    (row,) = report.rejected
    assert row["id"] == "HAUS/b"
    assert "is outside of the media root" in row["reason"] and "--media-root" in row["reason"]


def test_folder_without_clips(tmp_path):
    with pytest.raises(SltError, match="no clips; expected <class>/<clip>"):
        import_class_folders(tmp_path, tmp_path / "m.jsonl")


def test_wlasl_list(tmp_path, real_data):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "00335.gif").write_bytes((real_data / "videos" / "asl_house.gif").read_bytes())
    entries = [
        {
            "gloss": "house",
            "instances": [
                {"video_id": "00335", "split": "train", "signer_id": 12},
                {"video_id": "00336", "split": "val", "signer_id": 3},
            ],
        }
    ]
    (tmp_path / "wlasl.json").write_text(json.dumps(entries))
    report = import_wlasl(tmp_path / "wlasl.json", tmp_path / "videos", tmp_path / "m.jsonl")
    (clip,) = read_manifest(tmp_path / "m.jsonl")
    assert (clip.id, clip.gloss, clip.num_frames, clip.signer) == ("00335", ("house",), 73, "12")
    assert [row["id"] for row in report.rejected] == ["00336"]


@pytest.mark.parametrize(
    "content", ["{", "{}x", '[{"gloss": "a"}]', '[{"gloss": "a", "instances": [{"video_id": 1}]}]']
)
def test_wrong_wlasl_list(tmp_path, content):
    (tmp_path / "wlasl.json").write_text(content)
    with pytest.raises(SltError, match="not a WLASL list"):
        import_wlasl(tmp_path / "wlasl.json", tmp_path, tmp_path / "m.jsonl")
