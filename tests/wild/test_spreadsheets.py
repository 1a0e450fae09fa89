"""A person brings videos and a spreadsheet: what it says becomes a manifest, and what it does not say stays unsaid."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from video_files import grey_pictures, levels, write_stamped

from slt_pipeline.cli.main import cli
from slt_pipeline.corpora.footage import open_clip
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.table import Columns, import_table
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_form import gloss_form
from slt_pipeline.text.normalise import nfc, single_spaced
from slt_pipeline.video.reader import open_video

LINES = (
    "name,path,sentence,glosses\n"
    "a,videos/a.mp4,Im Norden regnet es.,NORD REGEN\n"
    "b,videos/b.mp4,,SONNE\n"
    'c,videos/c.mp4,"Heute, und morgen",\n'
)
NAMES = ("--id", "name", "--video", "path", "--text", "sentence", "--gloss", "glosses")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Eight frames, 40 ms each."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    return write_stamped(path, grey_pictures(8), range(0, 320, 40))


@pytest.fixture
def folder(tmp_path, video):
    """A folder with `videos/{a,b,c}.mp4`."""
    (tmp_path / "videos").mkdir()
    for name in "abc":
        (tmp_path / "videos" / f"{name}.mp4").hardlink_to(video)
    return tmp_path


def imported(folder, *options, table="mine.csv"):
    """Run the command; returns its exit status, what it said, the clips and what it left out."""
    out = folder / "manifest.jsonl"
    arguments = ["data", "import", "table", str(folder / table), "--out", str(out), *options]
    result = CliRunner().invoke(cli, arguments)
    rejected = folder / "manifest.rejected.jsonl"
    left_out = [json.loads(line) for line in rejected.read_text().splitlines()] if rejected.exists() else []
    if isinstance(result.exception, SltError):
        return 2, str(result.exception), read_manifest(out) if out.exists() else [], left_out
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output, read_manifest(out) if out.exists() else [], left_out


def said(clips):
    return [(clip.id, clip.text, clip.gloss) for clip in clips]


SAID = [
    ("a", "Im Norden regnet es.", ("NORD", "REGEN")),
    ("b", None, ("SONNE",)),
    ("c", "Heute, und morgen", None),
]


def test_a_spreadsheet_with_its_own_names_for_columns(folder):
    (folder / "mine.csv").write_text(LINES)
    status, output, clips, left_out = imported(folder, *NAMES, "--split", "dev")
    assert (status, left_out) == (0, []) and "3 dev" in output
    assert said(clips) == SAID
    assert {(clip.split, clip.signer, clip.num_frames, clip.fps) for clip in clips} == {("dev", "unknown", 8, 25.0)}
    assert validate(folder / "manifest.jsonl").ok


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode("utf-8-sig"),
        LINES.encode("utf-16"),
        LINES.encode("utf-16-le"),
        LINES.replace("\n", "\r\n").encode(),
        LINES.replace("\n", "\r").encode(),
        ("sep=,\n" + LINES).encode(),
        ("\ufeffsep=,\r\n" + LINES).encode("utf-16-le"),
        (LINES + ",,,\n\n").encode(),
        LINES.replace("name,path", "Name , PATH").encode(),
        LINES.replace('"Heute, und morgen",', '"Heute, und morgen"').encode(),
        LINES.replace("Heute, und", "Heute,\n und").encode(),
        LINES.replace("videos/b", r"videos\b").encode(),
        LINES.replace("b.mp4", "b").encode(),
    ],
    ids=[
        "byte-order-mark",
        "utf-16",
        "utf-16-without-mark",
        "windows",
        "old-mac",
        "excel-sep",
        "excel-sep-utf-16",
        "empty-rows",
        "capitals",
        "cells-short",
        "line-in-a-cell",
        "backslash",
        "no-suffix",
    ],
)
def test_the_same_table_as_other_programs_write_it(folder, content):
    (folder / "mine.csv").write_bytes(content)
    status, output, clips, left_out = imported(folder, *NAMES)
    assert (status, left_out) == (0, []), output
    assert said(clips) == SAID


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_cells_between_other_characters(folder, delimiter):
    (folder / "mine.csv").write_text(LINES.replace(",", delimiter))
    clips = imported(folder, *NAMES)[2]
    assert said(clips)[:2] == SAID[:2]
    (folder / "told.csv").write_text(LINES.replace(",", "~"))
    assert said(imported(folder, *NAMES, "--delimiter", "~", table="told.csv")[2])[:2] == SAID[:2]


def test_one_bad_row_is_left_out_by_line_and_the_others_stay(folder):
    rows = [
        "a,videos/a.mp4,gut,",
        "gone,videos/gone.mp4,gut,",
        "a,videos/b.mp4,der Name kommt wieder,",
        ",videos/b.mp4,kein Name,",
        "d,,kein Video,",
        "e,videos/b.mp4,zu,viele,Kommas,,hier",
        "f,../outside.mp4,gut,",
        'g,videos/b.mp4,"nie geschlossen,',
        'h,videos/b.mp4,"Ja" sagt er,',
        "i,videos/c.mp4,gut,",
    ]
    (folder / "mine.csv").write_text("name,path,sentence,glosses\n" + "\n".join(rows))
    (folder / "videos" / "c.mp4").unlink()
    (folder / "videos" / "c.mp4").write_bytes(b"no video")
    status, output, clips, left_out = imported(folder, *NAMES)
    assert status == 0 and "7 clips left out" in output, output
    assert said(clips) == [
        ("a", "gut", None),
        ("g", '"nie geschlossen', None),
        ("h", '"Ja" sagt er', None),
    ]
    reasons = {row["reason"].split(":")[1]: row["reason"] for row in left_out}
    for line, words in {
        "3": "no such video",
        "4": "the id 'a' was used before, at mine.csv:2",
        "5": "id must be a non-empty string",
        "6": "no video is named",
        "7": "7 cells for 4 columns; put quotes around a cell that holds a comma",
        "8": "no such video",
        "11": "not a readable video file",
    }.items():
        assert words in reasons[line], reasons
    status, output, *_ = imported(folder, *NAMES, "--strict")
    assert status != 0 and "mine.csv:3: " in output


def test_columns_that_are_missing_or_there_twice_are_named_with_those_that_there_are(folder):
    (folder / "mine.csv").write_text(LINES)
    status, output, *_ = imported(folder, "--video", "path", "--text", "satz")
    assert status == 2 and "no column 'satz'; the first line names name, path, sentence, glosses" in output
    status, output, *_ = imported(folder)
    assert status == 2 and "no column 'video'" in output
    (folder / "mine.csv").write_text(LINES.replace("glosses", "sentence"))
    status, output, *_ = imported(folder, *NAMES[:6])
    assert status == 2 and "column 'sentence' is there 2 times, as 3 and 4" in output


def test_columns_of_the_fields_own_names_are_read_in_whatever_capitals_and_others_are_named(folder):
    (folder / "mine.csv").write_text("ID,Video,TEXT,Gloss,Split,Notes\na,videos/a.mp4,Gut.,GUT,dev,x\n")
    _, output, (clip,), _ = imported(folder)
    assert (clip.id, clip.text, clip.gloss, clip.split) == ("a", "Gut.", ("GUT",), "dev")
    assert "columns that are not read: Notes" in output


@pytest.mark.parametrize("separator", ["comma", ","])
def test_a_separator_of_glosses_may_be_named_and_is_something(folder, separator):
    (folder / "mine.csv").write_text('video,gloss\nvideos/a.mp4,"A,B"\n')
    assert imported(folder, "--gloss-separator", separator)[2][0].gloss == ("A", "B")
    status, output, *_ = imported(folder, "--gloss-separator", "")
    assert status == 2 and "separates nothing" in output
    assert imported(folder, "--delimiter", "")[0] == 2


@pytest.mark.parametrize("name", ["mine.xlsx", "mine.ods", "mine.xls", "renamed.csv"])
def test_a_workbook_is_refused_with_the_cure(folder, name):
    (folder / name).write_bytes(b"PK\x03\x04" if name != "mine.xls" else b"\xd0\xcf\x11\xe0")
    status, output, *_ = imported(folder, *NAMES, table=name)
    assert status == 2 and "save it as CSV" in output


def test_a_table_in_another_encoding_is_refused_until_it_is_named(folder):
    (folder / "mine.csv").write_bytes(LINES.replace("Norden", "Süden").encode("cp1252"))
    status, output, *_ = imported(folder, *NAMES)
    assert status == 2 and "mine.csv:2: not utf-8" in output and "--encoding" in output
    assert imported(folder, *NAMES, "--encoding", "cp1252")[2][0].text == "Im Süden regnet es."
    status, output, *_ = imported(folder, *NAMES, "--encoding", "windoof")
    assert status == 2 and "no encoding is called 'windoof'" in output
    (folder / "mine.csv").write_text(LINES)
    status, output, *_ = imported(folder, *NAMES, "--encoding", "punycode")
    assert status == 2 and "not punycode" in output


def test_split_signer_rate_and_glosses_between_commas(folder):
    (folder / "frames").mkdir()
    for number, picture in enumerate(grey_pictures(6)):
        Image.fromarray(picture).save(folder / "frames" / f"{number}.png")
    (folder / "mine.tsv").write_text(
        "video\tgloss\tsplit\tsigner\tfps\nvideos/a.mp4\tGOLF BALL, WEG ,\tvalidation\tAnna\t\n"
        "frames\tIX\ttrain\t\t12,5\nvideos/b.mp4\tIX\ttraining set\t\t\n"
    )
    status, output, clips, left_out = imported(folder, "--gloss-separator", ",", table="mine.tsv")
    assert status == 0, output
    assert [(c.id, c.gloss, c.split, c.signer, c.fps, c.num_frames) for c in clips] == [
        ("videos/a", ("GOLF-BALL", "WEG"), "dev", "Anna", 25.0, 8),
        ("frames", ("IX",), "train", "unknown", 12.5, 6),
    ]
    assert "'training set' is no split" in left_out[0]["reason"]


@pytest.mark.parametrize(
    ("start", "end", "unit"),
    [
        ("0.08", "0.2", "seconds"),
        ("0,08", "0:00,2", "seconds"),
        ("80", "200", "milliseconds"),
        ("80", "0:00,2", "milliseconds"),
    ],
)
def test_sentences_inside_a_longer_video(folder, start, end, unit):
    rows = f"videos/a.mp4;{start};{end};eins\nvideos/a.mp4;{end};;zwei\nvideos/a.mp4;{end};{start};drei\n"
    (folder / "mine.csv").write_text("path;s;e;text\n" + rows + "videos/a.mp4;bald;;vier\n")
    options = ("--video", "path", "--start", "s", "--end", "e", "--times-in", unit)
    status, output, clips, left_out = imported(folder, *options)
    assert status == 0, output
    assert [(c.id, c.start, c.end, c.num_frames) for c in clips] == [
        ("videos/a-2", 0.08, 0.2, 3),
        ("videos/a-3", 0.2, None, 3),
    ]
    found = [level for clip in clips for level in levels(open_clip(clip, folder).read())]
    assert found == levels(open_video("videos/a.mp4", folder).read())[2:]
    assert "end must be after start" in left_out[0]["reason"] and "'bald' is no time" in left_out[1]["reason"]


def test_nothing_that_can_be_used_leaves_the_old_manifest(folder):
    (folder / "mine.csv").write_text(LINES)
    imported(folder, *NAMES)
    (folder / "mine.csv").write_text(LINES.replace("videos/", "elsewhere/"))
    status, output, clips, left_out = imported(folder, *NAMES)
    assert status == 2 and "none of 3 clips can be used: mine.csv:2: " in output
    assert said(clips) == SAID and len(left_out) == 3


def test_a_folder_is_listed_once_for_all_clips_that_are_named_without_their_suffix(folder, monkeypatch):
    listed = []
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or iterdir(path))
    (folder / "mine.csv").write_text("video\n" + "".join(f"videos/{name}\n" for name in "abcd"))
    _, _, clips, left_out = imported(folder)
    assert [clip.video for clip in clips] == [f"videos/{name}.mp4" for name in "abc"] and len(left_out) == 1
    assert listed.count(folder / "videos") == 1


def test_videos_elsewhere_need_a_media_root(folder):
    (folder / "mine.csv").write_text(LINES.replace("videos/", ""))
    arguments = (folder / "mine.csv", folder / "out" / "m.jsonl", Columns("name", "path", "sentence", "glosses"))
    with pytest.raises(SltError, match=r"outside of the media root .*--media-root"):
        import_table(*arguments, videos=folder / "videos")
    assert import_table(*arguments, videos=folder / "videos", media_root=folder).num_clips == {"train": 3}
    assert read_manifest(folder / "out" / "m.jsonl")[0].video == "videos/a.mp4"


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(WORDS, st.lists(WORDS, max_size=3), st.booleans()), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_text_comes_through_any_table(folder, rows, delimiter, end, encoding):
    """What is written by the rules of CSV is read as it was; no row is lost without a word."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, lineterminator=end)
    writer.writerow(["id", "video", "text", "gloss"])
    for number, (text, glosses, there) in enumerate(rows):
        writer.writerow([number, "videos/a.mp4" if there else "videos/z.mp4", text, "\n".join(glosses)])
    (folder / "t.csv").write_bytes(written.getvalue().encode(encoding))
    try:
        report = import_table(folder / "t.csv", folder / "t.jsonl", Columns(), gloss_separator="\n")
    except SltError as error:
        assert not any(there for *_, there in rows), error
        return
    clips = {clip.id: clip for clip in read_manifest(folder / "t.jsonl")}
    assert len(clips) + len(report.rejected) == len(rows)
    for number, (text, glosses, there) in enumerate(rows):
        assert there == (str(number) in clips)
        if there:
            clip = clips[str(number)]
            assert (clip.text or "") == nfc(single_spaced(text.strip()))
            assert (clip.gloss or ()) == tuple(form for gloss in glosses if (form := gloss_form(gloss)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=300), st.text(st.sampled_from('ab,;"\n\r\tvideo'), max_size=80).map(str.encode)
    )
)
def test_any_bytes_are_a_table_or_one_line_that_says_why_not(folder, content):
    (folder / "t.csv").write_bytes(b"video,text\n" + content)
    try:
        import_table(folder / "t.csv", folder / "t.jsonl", Columns())
    except SltError as error:
        assert "\n" not in str(error)
