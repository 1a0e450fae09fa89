"""Corpora as their makers distribute them become manifests: spans of long videos, cut clips, folders of pictures."""

import json
import pickle
import shutil
import zipfile

import pytest
from video_files import grey_pictures, levels, write_stamped

from slt_pipeline.corpora.csl_daily_text import import_csl_daily_text, labels_of
from slt_pipeline.corpora.footage import open_clip
from slt_pipeline.corpora.how2sign import import_how2sign
from slt_pipeline.corpora.importing import rejected_path
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.phoenix14t import import_phoenix14t
from slt_pipeline.corpora.phoenix14t_csv import import_phoenix14t_csv, lists_of
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError

HEADER = "name|video|start|end|speaker|orth|translation\n"


@pytest.fixture
def release(tmp_path, write_frames):
    """RWTH's release with five sentences, of which the frames of one are missing."""
    root = tmp_path / "PHOENIX-2014-T"
    (root / "annotations" / "manual").mkdir(parents=True)
    rows = {
        "train": [("a", "JETZT WETTER WETTER E R Z", "und nun das wetter"), ("gone", "REGEN", "regen")],
        "dev": [("b", "", 'für "morgen"'), ("c", "SONNE", "")],
        "test": [("a", "WIE AUSSEHEN __ON__", "wie sieht es aus .")],
    }
    for split, sentences in rows.items():
        lines = [f"{name}|{name}/1/*.png|-1|-1|Signer01|{orth}|{text}\n" for name, orth, text in sentences]
        path = root / "annotations" / "manual" / f"PHOENIX-2014-T.{split}.corpus.csv"
        path.write_text(HEADER + "".join(lines), encoding="utf-8")
        for name, *_ in sentences:
            if name != "gone":
                write_frames(root / "features" / "fullFrame-210x260px" / split / name, 28)
    return root


@pytest.mark.parametrize("inside", [".", "annotations", "annotations/manual"])
def test_phoenix_lists_of_rwth(release, tmp_path, inside):
    lists = lists_of(release / inside)
    assert lists is not None
    report = import_phoenix14t_csv(lists, tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1, "dev": 2, "test": 1}
    assert [row["id"] for row in report.rejected] == ["train/gone"]
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "m.jsonl")}
    assert [(clip.id, clip.gloss, clip.text) for clip in clips.values()] == [
        ("train/a", ("JETZT", "WETTER", "WETTER", "E", "R", "Z"), "und nun das wetter ."),
        ("dev/b", None, 'für "morgen" .'),
        ("dev/c", ("SONNE",), None),
        ("test/a", ("WIE", "AUSSEHEN", "__ON__"), "wie sieht es aus ."),
    ]
    assert {(clip.signer, clip.fps, clip.num_frames) for clip in clips.values()} == {("Signer01", 25.0, 28)}
    assert validate(tmp_path / "m.jsonl").ok


def test_phoenix_lists_with_cleaned_glosses(release, tmp_path):
    import_phoenix14t_csv(release / "annotations" / "manual", tmp_path / "m.jsonl", variant="cleaned")
    glosses = {clip.id: clip.gloss for clip in read_manifest(tmp_path / "m.jsonl")}
    assert glosses["train/a"] == ("JETZT", "WETTER", "E+R+Z")
    assert glosses["test/a"] == ("WIE-AUSSEHEN",)


def test_what_a_list_of_a_release_can_be_cured_by_is_what_its_command_can_do(release, tmp_path):
    lists = release / "annotations" / "manual"
    with (lists / "PHOENIX-2014-T.dev.corpus.csv").open("a") as file:
        file.write("d|d|-1|-1|Signer01|A|eins | zwei\n")
    report = import_phoenix14t_csv(lists, tmp_path / "m.jsonl")
    assert any(row["reason"].endswith("8 cells for 7 columns; no cell may hold a pipe") for row in report.rejected)
    (lists / "PHOENIX-2014-T.dev.corpus.csv").write_bytes(HEADER.encode() + "a|a|-1|-1|S|A|grün\n".encode("latin1"))
    with pytest.raises(SltError, match=r"corpus.csv:2: not utf-8: byte 0xfc; save it as UTF-8$"):
        import_phoenix14t_csv(lists, tmp_path / "m.jsonl")


@pytest.mark.parametrize("zipped", [False, True])
def test_phoenix_frames_one_folder_deeper_as_the_lists_have_it(release, tmp_path, zipped):
    features = release / "features"
    for folder in list(features.glob("*/*/*")):
        pictures = [path.rename(folder.parent / path.name) for path in folder.iterdir()]
        (folder / "1").mkdir()
        for path in pictures:
            path.rename(folder / "1" / path.name)
    if zipped:
        with zipfile.ZipFile(tmp_path / "features.zip", "w") as archive:
            for path in features.rglob("*.png"):
                archive.write(path, path.relative_to(features))
        shutil.rmtree(features)
        features = tmp_path / "features.zip"
    report = import_phoenix14t_csv(release / "annotations" / "manual", tmp_path / "m.jsonl", frames=features)
    assert sum(report.num_clips.values()) == 4 and validate(tmp_path / "m.jsonl").ok


def test_phoenix_lists_say_what_the_pickles_say(real_data, tmp_path, write_frames):
    """A row of RWTH's own list beside the same sentence of the published pickles."""
    sample = real_data / "phoenix-2014t" / "real_sample" / "PHOENIX-2014-T.train.corpus.csv"
    name = sample.read_text(encoding="utf-8").splitlines()[1].split("|")[0]
    lists = tmp_path / "annotations" / "manual"
    lists.mkdir(parents=True)
    shutil.copy(sample, lists / "PHOENIX-2014-T.test.corpus.csv")  # the pickles have it there
    write_frames(tmp_path / "features" / "fullFrame-210x260px" / "test" / name, 8)
    import_phoenix14t_csv(lists, tmp_path / "csv.jsonl")
    (found,) = read_manifest(tmp_path / "csv.jsonl")
    import_phoenix14t(
        real_data / "phoenix-2014t", tmp_path / "p.jsonl", variant="plain", splits=["test"], alignments=False
    )
    (wanted,) = (clip for clip in read_manifest(tmp_path / "p.jsonl") if clip.id == found.id)
    assert (found.id, found.text, found.gloss, found.signer) == (wanted.id, wanted.text, wanted.gloss, wanted.signer)


@pytest.fixture
def ustc(tmp_path, write_frames):
    """USTC's release with three clips, and one each without split, labels and frames."""
    labels = tmp_path / "sentence" / "sentence_label"
    labels.mkdir(parents=True)
    rows = [
        ("S000007_P0003_T00", "你们 好", "你 们 好 ！", "你们 好 ！"),
        ("S000008_P0000_T00", "他 今天", '他 说 “ 是 " 。', "他 说"),
        ("S000009_P0011_T00", "ATM 机", "A T M 机 。", "ATM 机"),
        ("S000010_P0001_T00", "无", "无", "无"),
        ("S000011_P0001_T00", "没 有", "没 有", "没有"),
    ]
    lines = [f"{n}|{name}|8|{gloss}|{char}|{word}|x n" for n, (name, gloss, char, word) in enumerate(rows)]
    (labels / "video_map.txt").write_text("index|name|length|gloss|char|word|postag\n" + "\n".join(lines) + "\n")
    splits = ["train", "dev", "test", None, "train"]
    listed = [f"{row[0]}|{split}" for row, split in zip(rows, splits, strict=True) if split]
    (labels / "split_1.txt").write_text("name|split\n" + "\n".join([*listed, "S009999_P0001_T00|train"]) + "\n")
    for name, *_ in rows[:4]:
        write_frames(tmp_path / "sentence" / "frames_512x512" / name, 8, "{:06d}.jpg", start=0)
    info = [
        {
            "name": name,
            "length": 8,
            "label_gloss": gloss.split(),
            "label_char": char.split(),
            "label_word": word.split(),
        }
        for name, gloss, char, word in rows
    ]
    return labels, {"info": info, "gloss_map": ["x"]}


@pytest.mark.parametrize("pickled", [False, True])
def test_csl_daily_of_ustc(ustc, tmp_path, pickled):
    labels, content = ustc
    if pickled:
        (labels / "video_map.txt").unlink()
        (labels / "csl2020ct_v2.pkl").write_bytes(pickle.dumps(content))
    assert labels_of(tmp_path) == tmp_path / "sentence" / "sentence_label"
    report = import_csl_daily_text(labels, tmp_path / "m.jsonl")
    assert [(c.id, c.gloss, c.text, c.split, c.signer, c.num_frames) for c in read_manifest(tmp_path / "m.jsonl")] == [
        ("S000007_P0003_T00", ("你们", "好"), "你们好！", "train", "3", 8),
        ("S000008_P0000_T00", ("他", "今天"), '他说“是"。', "dev", "0", 8),
        ("S000009_P0011_T00", ("ATM", "机"), "ATM机。", "test", "11", 8),
    ]
    reasons = {row["id"]: row["reason"] for row in report.rejected}
    assert "no split in split_1.txt" in reasons["S000010_P0001_T00"]
    assert "S000011_P0001_T00" in reasons
    assert "has a split, but no labels" in reasons["S009999_P0001_T00"]
    assert validate(tmp_path / "m.jsonl").ok


def test_a_clip_of_two_splits_of_csl_daily_is_left_out(ustc, tmp_path):
    labels, _ = ustc
    with (labels / "split_1.txt").open("a") as file:
        file.write("S000007_P0003_T00|test\nS000008_P0000_T00|dev\n")
    report = import_csl_daily_text(labels, tmp_path / "m.jsonl")
    assert report.num_clips == {"dev": 1, "test": 1}
    reasons = {row["id"]: row["reason"] for row in report.rejected}
    assert "the clip is of train and test in split_1.txt" in reasons["S000007_P0003_T00"]


def test_csl_daily_of_ustc_in_half_width(ustc, tmp_path):
    import_csl_daily_text(ustc[0], tmp_path / "m.jsonl", half_width=True)
    assert read_manifest(tmp_path / "m.jsonl")[0].text == "你们好!"


@pytest.mark.parametrize("columns", ["START_REALIGNED\tEND_REALIGNED", "START\tEND"])
def test_how2sign_as_spans_of_long_videos_and_as_clips(tmp_path, columns):
    names = ("VIDEO_ID", "VIDEO_NAME", "SENTENCE_ID", "SENTENCE_NAME", *columns.split("\t"), "SENTENCE")
    rows = [
        ("x", "x-5-rgb_front", "x_0", "x_0-5-rgb_front", "0.08", "0.24", 'He said "hi".'),
        ("x", "x-5-rgb_front", "x_1", "x_1-5-rgb_front", "0.16", "0.32", '"Fine," she said.'),
        ("x", "x-5-rgb_front", "x_2", "x_2-5-rgb_front", "5.0", "6.0", "Behind the end."),
        ("y", "y-1-rgb_front", "y_0", "y_0-1-rgb_front", "9.0", "9.5", "Cut already."),
        ("z", "z-1-rgb_front", "z_0", "z_0-1-rgb_front", "0.0", "1.0", "Gone."),
    ]
    (tmp_path / "how2sign_realigned_val.csv").write_text(
        "\n".join("\t".join(row) for row in (names, *rows)), encoding="utf-8"
    )
    (tmp_path / "raw_videos").mkdir()
    for name in ("x-5-rgb_front", "y_0-1-rgb_front"):
        write_stamped(tmp_path / "raw_videos" / f"{name}.mp4", grey_pictures(8), range(0, 320, 40))
    lists = [tmp_path / "how2sign_realigned_val.csv"]
    report = import_how2sign(lists, tmp_path / "raw_videos", tmp_path / "m.jsonl")
    clips = read_manifest(tmp_path / "m.jsonl")
    assert [(c.id, c.start, c.end, c.num_frames, c.text, c.split, c.signer, c.gloss) for c in clips] == [
        ("x_0-5-rgb_front", 0.08, 0.24, 4, 'He said "hi".', "dev", "5", None),
        ("x_1-5-rgb_front", 0.16, 0.32, 4, '"Fine," she said.', "dev", "5", None),
        ("y_0-1-rgb_front", None, None, 8, "Cut already.", "dev", "1", None),
    ]
    reasons = [json.loads(line)["reason"] for line in rejected_path(tmp_path / "m.jsonl").read_text().splitlines()]
    assert "the clip is 5 to 6 s of it, and it lasts 0.320 s" in reasons[0]
    assert "no video is called z_0-1-rgb_front" in reasons[1] and len(report.rejected) == 2
    whole = levels(open_clip(clips[2], tmp_path).read())
    assert levels(open_clip(clips[0], tmp_path).read()) == whole[2:6]
    assert validate(tmp_path / "m.jsonl").ok


def test_how2sign_list_whose_name_tells_no_split(tmp_path):
    (tmp_path / "all.csv").write_text("SENTENCE_NAME\tVIDEO_NAME\tSENTENCE\tSTART\tEND\n")
    with pytest.raises(SltError, match="the name tells no split; name one with --split"):
        import_how2sign([tmp_path / "all.csv"], tmp_path, tmp_path / "m.jsonl")
