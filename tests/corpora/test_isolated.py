"""Isolated signs and actions: a class per folder, or the lists of Kinetics and WLASL."""

import json

import numpy as np
import pytest

from slt_pipeline.avatar.encode import write_mp4
from slt_pipeline.corpora.footage import open_clip
from slt_pipeline.corpora.importing import rejected_path
from slt_pipeline.corpora.isolated import import_class_folders
from slt_pipeline.corpora.kinetics import import_kinetics
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.validate import validate
from slt_pipeline.corpora.wlasl import import_wlasl
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
    assert "corpus.isolated_media_root" in row["reason"]


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


@pytest.mark.parametrize("content", ["{", "{}x", '[{"gloss": "a"}]', '[{"gloss": "a", "instances": 1}]'])
def test_wrong_wlasl_list(tmp_path, content):
    (tmp_path / "wlasl.json").write_text(content)
    with pytest.raises(SltError, match="not a WLASL list"):
        import_wlasl(tmp_path / "wlasl.json", tmp_path, tmp_path / "m.jsonl")


def test_folders_that_others_leave_and_files_that_are_no_videos_do_not_hide_the_clips(tmp_path, write_frames):
    for place in ("training/RAIN/1", "validation/RAIN/2", "testing/RAIN/3"):
        write_frames(tmp_path / "signs" / place, 4)
    (tmp_path / "signs" / "__MACOSX").mkdir()
    (tmp_path / "signs" / "training" / "RAIN" / "notes.txt").write_text("no clip")
    report = import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1, "dev": 1, "test": 1}
    (row,) = report.rejected
    assert row["id"] == "training/RAIN/notes.txt" and "neither a video" in row["reason"]


@pytest.fixture
def film(tmp_path):
    """`film("a/b.mp4", 30)` encodes so many frames; the number of a frame is its brightness, over four."""

    def write(name, num_frames, fps=25):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = np.repeat(np.arange(num_frames, dtype=np.uint8) * 4, 32 * 32 * 3).reshape(num_frames, 32, 32, 3)
        write_mp4(path, frames, fps, crf=1, gop=10)
        return path

    return write


KINETICS = "label,youtube_id,time_start,time_end,split"


def test_kinetics_by_its_lists(tmp_path, film):
    film("k400/train/abseiling/aaaaaaaaaa1_000007_000017.mp4", 8)
    film("k400/train/-bbbbbbbbb2_000010_000020.mp4", 9)  # as the mirror has them, without folders of classes
    film("k400/replacement/ccccccccc3x_000000_000010.mp4", 10)
    (tmp_path / "k400/train/ccccccccc3x_000000_000010.mp4").write_bytes(b"")
    film("k400/val/ddddddddd4x_000001_000011.mp4", 11)
    (tmp_path / "train.csv").write_text(
        f'{KINETICS},is_cc\nabseiling,aaaaaaaaaa1,7,17,train,0\n"air drumming",-bbbbbbbbb2,10,20,train,0\n'
        "abseiling,ccccccccc3x,0,10,train,0\nabseiling,eeeeeeeeeee,3,13,train,0\n"
    )
    (tmp_path / "validate.csv").write_text(f"{KINETICS}\nair drumming,ddddddddd4x,1,11,validate\n")
    lists = [tmp_path / "train.csv", tmp_path / "validate.csv"]
    report = import_kinetics(lists, tmp_path / "k400", tmp_path / "m.jsonl")
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "m.jsonl")}
    assert {name: (clip.gloss, clip.split, clip.num_frames) for name, clip in clips.items()} == {
        "aaaaaaaaaa1_000007_000017": (("abseiling",), "train", 8),
        "-bbbbbbbbb2_000010_000020": (("air-drumming",), "train", 9),
        "ccccccccc3x_000000_000010": (("abseiling",), "train", 10),
        "ddddddddd4x_000001_000011": (("air-drumming",), "dev", 11),
    }
    (row,) = report.rejected
    assert row["id"] == "eeeeeeeeeee_000003_000013" and "no such video" in row["reason"]
    assert "2 classes" in report.notes and validate(tmp_path / "m.jsonl").ok


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"{KINETICS}\n", "lists no clip"),
        ("youtube_id,time_start,time_end,split\nabc,1,2,test\n", "no column label; its first line must be label,"),
        (f"{KINETICS}\na,b,one,2,train\n", "list.csv:2: expected"),
        (f"{KINETICS}\na,b,1,2,holdout\n", "list.csv:2: expected .*holdout"),
    ],
)
def test_wrong_kinetics_list(tmp_path, content, words):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(SltError, match=words):
        import_kinetics([tmp_path / "list.csv"], tmp_path, tmp_path / "m.jsonl")


def test_one_bad_row_of_kinetics_is_listed_by_its_line_and_the_others_are_imported(tmp_path, film):
    film("k400/aaaaaaaaaa1_000007_000017.mp4", 8)
    rows = ["", "run,aaaaaaaaaa1,7,17,train", "run,b,one,2,train", "run,c,1,inf,train", ",d,1,2,train", "run,e,1,2,all"]
    (tmp_path / "list.csv").write_text("\n".join([KINETICS, *rows]))
    report = import_kinetics([tmp_path / "list.csv"], tmp_path / "k400", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1}
    assert [row["id"].rpartition(":")[2] for row in report.rejected] == ["4", "5", "6", "7"]
    with pytest.raises(SltError, match=r"list\.csv:4: expected"):
        import_kinetics([tmp_path / "list.csv"], tmp_path / "k400", tmp_path / "m.jsonl", strict=True)


def _wlasl(folder, **instances):
    """Write a list in which `house` has these instances, and return it."""
    rows = [
        {"video_id": name.lstrip("v"), "split": "train", "fps": 25, "signer_id": 1, "bbox": [1, 2, 30, 31], **values}
        for name, values in instances.items()
    ]
    (folder / "wlasl.json").write_text(json.dumps([{"gloss": "house", "instances": rows}]))
    return folder / "wlasl.json"


def test_wlasl_frames_are_counted_from_one_and_minus_one_is_the_end(tmp_path, film):
    film("raw/AbCdEfGhI-1.mp4", 30)
    film("raw/003.mp4", 20)
    video = {"url": "https://www.youtube.com/watch?v=AbCdEfGhI-1"}
    listed = _wlasl(
        tmp_path,
        v001=video | {"frame_start": 11, "frame_end": 20},
        v002=video | {"frame_start": 25, "frame_end": -1},
        v003={"frame_start": 1, "frame_end": -1},
        v004=video | {"frame_start": 31, "frame_end": 60},
    )
    report = import_wlasl(listed, tmp_path / "raw", tmp_path / "m.jsonl")
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "m.jsonl")}
    assert {name: (clip.frames, clip.num_frames) for name, clip in clips.items()} == {
        "001": ((10, 20), 10),
        "002": ((24, 30), 6),
        "003": (None, 20),
        "004": (None, 30),  # no longer than its part: a video that was cut already
    }
    assert clips["001"].extra == {"bbox": [1, 2, 30, 31]}
    pixels = open_clip(clips["001"], tmp_path).read()[:, 16, 16, 0].astype(int)
    assert np.abs(pixels - 4 * np.arange(10, 20)).max() <= 2
    assert report.rejected == [] and validate(tmp_path / "m.jsonl").ok


def test_wlasl_frames_follow_the_rate_of_the_video(tmp_path, film):
    film("raw/AbCdEfGhI-1.mp4", 60, fps=50)
    listed = _wlasl(tmp_path, v001={"url": "youtu.be/AbCdEfGhI-1", "frame_start": 11, "frame_end": 20})
    import_wlasl(listed, tmp_path / "raw", tmp_path / "m.jsonl")
    (clip,) = read_manifest(tmp_path / "m.jsonl")
    assert clip.frames == (20, 40) and clip.fps == 50


def test_wlasl_videos_that_were_cut_are_whole_and_what_is_missing_is_listed(tmp_path, film):
    film("videos/001.mp4", 10)
    film("videos/002.mp4", 40)
    listed = _wlasl(
        tmp_path,
        v001={"frame_start": 101, "frame_end": 110},
        v002={"frame_start": 101, "frame_end": 120},
        v003={"frame_start": 1, "frame_end": 9},
        v0001={"frame_start": 1, "frame_end": 9} | {"video_id": "001"},
    )
    report = import_wlasl(listed, tmp_path / "videos", tmp_path / "m.jsonl")
    (clip,) = read_manifest(tmp_path / "m.jsonl")
    assert (clip.id, clip.frames, clip.num_frames) == ("001", None, 10)
    reasons = {row["id"]: row["reason"] for row in report.rejected}
    assert "frames 101 to 120 at 25 fps are listed, and it has 40" in reasons["002"]
    assert "no such video" in reasons["003"] and "listed twice" in reasons["001"]


def test_wlasl_takes_the_first_glosses_of_the_list(tmp_path, film):
    film("videos/1.mp4", 8)
    rows = [{"gloss": name, "instances": [{"video_id": "1", "split": "train"}]} for name in ("book", "drink")]
    (tmp_path / "wlasl.json").write_text(json.dumps(rows))
    report = import_wlasl(tmp_path / "wlasl.json", tmp_path / "videos", tmp_path / "m.jsonl", num_glosses=1)
    assert [clip.gloss for clip in read_manifest(tmp_path / "m.jsonl")] == [("book",)] and not report.rejected


@pytest.mark.parametrize("wrong", [{"split": "all"}, {"fps": 0}, {"frame_end": float("inf")}, {"bbox": None}])
def test_one_bad_instance_of_wlasl_is_listed_and_the_others_are_imported(tmp_path, film, wrong):
    film("videos/001.mp4", 8)
    listed = _wlasl(tmp_path, v001={}, v002=wrong)
    report = import_wlasl(listed, tmp_path / "videos", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1} and "002" in report.rejected[0]["reason"]
    with pytest.raises(SltError, match="002"):
        import_wlasl(listed, tmp_path / "videos", tmp_path / "m.jsonl", strict=True)


def test_a_list_without_clips_leaves_the_manifest_that_was_there(tmp_path):
    (tmp_path / "m.jsonl").write_text("before")
    (tmp_path / "wlasl.json").write_text("[]")
    with pytest.raises(SltError, match="no clips are listed"):
        import_wlasl(tmp_path / "wlasl.json", tmp_path, tmp_path / "m.jsonl")
    assert (tmp_path / "m.jsonl").read_text() == "before"


def test_videos_beside_the_folders_of_classes_are_listed(tmp_path, write_frames, film):
    write_frames(tmp_path / "signs/train/RAIN/1", 4)
    film("signs/loose.mp4", 4)
    film("signs/train/loose.mp4", 4)
    report = import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1}
    assert {row["id"] for row in report.rejected} == {"loose.mp4", "train/loose.mp4"}
    assert {row["reason"] for row in report.rejected} == {"lies in no folder of a class; move it into that of its sign"}


def test_where_no_clip_can_be_read_the_reason_of_a_clip_is_told_first(tmp_path, write_frames, film):
    write_frames(tmp_path / "signs/RAIN/1", 4)
    film("signs/loose.mp4", 4)
    with pytest.raises(SltError, match=r"none of 2 clips can be read, such as RAIN/1: .*outside of the media root"):
        import_class_folders(tmp_path / "signs", tmp_path / "elsewhere" / "m.jsonl")
