"""Names, text files and folders as other systems and other people leave them: read, or named in one line."""

import json
import multiprocessing
import os
import socket
import traceback

import av
import numpy as np
import pytest
from click.testing import CliRunner

from slt_pipeline.cli.main import cli
from slt_pipeline.corpora.isolated import import_class_folders
from slt_pipeline.corpora.kinetics import import_kinetics
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError
from slt_pipeline.files import json_line, read_json_lines, read_lines, replacing, require_place
from slt_pipeline.video.reader import open_video

ODD_NAMES = [
    *(os.fsdecode("münchen".encode("latin-1")), os.fsdecode("第一句".encode("gbk")), "back\\slash", "~home", " space "),
    *("-dash", "100%d", "50%", "#1?", "😀" * 60, "dot.", "a'b\"c", "$HOME", "a!b", "*", "²", "a²"),
]


@pytest.fixture
def slt():
    """Run a command in this process; an exception that is not click's comes out as it is."""

    def run(*arguments):
        return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="slt", catch_exceptions=False)

    return run


@pytest.fixture
def film():
    """Write a small video, in the format that the name says."""

    def write(path, num_frames=8, codec="mpeg4", form=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file, av.open(file, "w", format=form or "mp4") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv422p" if codec == "mpeg2video" else "yuv420p"
            for number in range(num_frames):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * number, np.uint8), format="rgb24")
                container.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def line():
    """A line of a manifest."""

    def write(video, name=None, **more):
        clip = {"id": name or video, "video": video, "num_frames": 8, "fps": 25.0, "signer": "a"}
        return json_line({**clip, "gloss": ["RAIN"], "text": "regen", "split": "train", **more})

    return write


def without_rights(work):
    """Do the work in a process that may read and write only what its modes allow, and return its result."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def run():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setuid(65534)
        try:
            results.put(work())
        except BaseException:
            results.put(traceback.format_exc())

    process = context.Process(target=run)
    process.start()
    found = results.get()
    process.join()
    return found


# Names


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_clip_of_any_name_is_imported_and_found_again(tmp_path, film, name):
    film(tmp_path / "signs" / "RAIN" / f"{name}.mp4")
    report = import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1} and not report.rejected
    (tmp_path / "m.jsonl").read_text(encoding="utf-8")  # the manifest is valid UTF-8
    (clip,) = read_manifest(tmp_path / "m.jsonl")
    clip.id.encode("utf-8")
    assert open_video(clip.video, tmp_path).num_frames == 8
    assert validate(tmp_path / "m.jsonl").ok


def test_a_class_that_has_no_name_in_unicode_and_a_clip_with_a_line_feed_are_left_out(tmp_path, film):
    film(tmp_path / "signs" / "RAIN" / "1.mp4")
    film(tmp_path / "signs" / "RAIN" / "2\n.mp4")
    film(tmp_path / "signs" / os.fsdecode(b"S\xdcD") / "3.mp4")
    report = import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1} and len(report.rejected) == 2
    assert len(read_json_lines(tmp_path / "m.rejected.jsonl")) == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_names_of_all_kinds_in_one_translation(tmp_path, slt, film, monkeypatch):
    """What cannot be read is one line each, the others are translated, and the output is UTF-8 that names the file."""
    monkeypatch.setattr("slt_pipeline.stages.translate.Translate", Reader)
    good = [film(tmp_path / f"{name}.mp4") for name in ODD_NAMES]
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "empty.mp4").touch()
    bad = [
        "folder.mp4",
        "pipe.mp4",
        "loop.mp4",
        "empty.mp4",
        "a" * 300 + ".mp4",
        "caption with\nline feed",
        "no\0thing",
    ]
    out = tmp_path / "results" / "today" / "t.jsonl"
    ended = slt("translate", *good, *(tmp_path / name for name in bad), "/dev/null", "--out", out)
    assert ended.exit_code == 2
    assert [row["video"] for row in map(json.loads, out.read_text("utf-8").splitlines())] == list(map(str, good))
    assert len(ended.stderr.splitlines()) == len(bad) + 1
    assert all(text.startswith("slt: error: ") for text in ended.stderr.splitlines())


def test_strict_translation_stops_at_the_first(tmp_path, slt, film, monkeypatch):
    monkeypatch.setattr("slt_pipeline.stages.translate.Translate", Reader)
    good, out = film(tmp_path / "a.mp4"), tmp_path / "t.jsonl"
    with pytest.raises(SltError, match=r"missing\.mp4"):
        slt("translate", "--strict", good, tmp_path / "missing.mp4", good, "--out", out)
    assert list(tmp_path.iterdir()) == [good]


class Reader:
    """In the place of the trained system: it reads the video."""

    def __init__(self, *_, **__):
        pass

    def video(self, path):
        """Return what a translation names."""
        return {"video": path, "text": "regen", "glosses": [], "seconds": len(open_video(path).read()) / 25}


# Texts


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode("utf-32"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.removesuffix("\n").encode(),
    ],
    ids=["mark", "utf-16", "utf-16 without mark", "utf-32", "CR LF", "CR", "no end"],
)
def test_texts_of_other_systems_are_read(tmp_path, slt, film, line, written):
    film(tmp_path / "ä.mp4")
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(written(line("ä.mp4", "a") + line("ä.mp4", "b")))
    assert [clip.id for clip in read_manifest(manifest)] == ["a", "b"]
    assert validate(manifest).ok
    (tmp_path / "h.txt").write_bytes(written("es regnet .\nim süden schnee .\n"))
    (tmp_path / "r.txt").write_text("es regnet .\nim süden schnee .\n", encoding="utf-8")
    assert json.loads(slt("score", tmp_path / "h.txt", tmp_path / "r.txt").output)["bleu1"] == pytest.approx(100)


def test_a_list_of_another_system_is_read(tmp_path, film):
    film(tmp_path / "k" / "aaaaaaaaaaa_000007_000017.mp4")
    rows = "label,youtube_id,time_start,time_end,split\r\nclimbing,aaaaaaaaaaa,7,17,train\r\n"
    (tmp_path / "train.csv").write_bytes(rows.encode("utf-16"))
    report = import_kinetics([tmp_path / "train.csv"], tmp_path / "k", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1}


@pytest.mark.parametrize(("text", "encoding"), [("schön", "latin-1"), ("天气", "gbk"), ("天気", "cp932")])
def test_a_text_that_is_no_utf8_is_refused_with_the_line_and_the_cure(tmp_path, text, encoding):
    (tmp_path / "t.txt").write_bytes(f"regen\n{text}\n".encode(encoding))
    with pytest.raises(SltError, match=r"t.txt:2: not UTF-8: byte 0x.. in column \d; save the file as UTF-8"):
        read_lines(tmp_path / "t.txt")


def test_every_line_that_is_no_utf8_is_reported(tmp_path, line):
    lines = [line("ä.mp4", str(number)).encode("latin-1" if number % 2 else "utf-8") for number in range(4)]
    (tmp_path / "m.jsonl").write_bytes(b"".join(lines))
    report = validate(tmp_path / "m.jsonl", open_videos=False)
    assert [(problem.line, problem.kind) for problem in report.problems] == [(2, "bad-line"), (4, "bad-line")]


# Folders


def test_what_systems_leave_in_folders_is_passed_over(tmp_path, film):
    root = tmp_path / "signs"
    for split in ("training", "valid", "test"):
        film(root / split / "RAIN" / "1.MP4")
        film(root / split / "RAIN" / "._1.MP4")
        film(root / split / "RAIN" / "@eaDir" / "1.MP4" / "SYNOVIDEO_FILM_H.mpg")
        (root / split / "RAIN" / "Thumbs.db").touch()
        (root / split / "desktop.ini").touch()
        (root / split / ".ipynb_checkpoints").mkdir()
    for name in ("__MACOSX/train/RAIN", "lost+found", "$RECYCLE.BIN", ".git", "System Volume Information", "#recycle"):
        (root / name).mkdir(parents=True)
    (root / ".DS_Store").touch()
    report = import_class_folders(root, tmp_path / "m.jsonl", strict=True)
    assert report.num_clips == {"train": 1, "dev": 1, "test": 1} and not report.rejected


def test_files_that_systems_lay_beside_videos_do_not_take_their_place(tmp_path, film):
    film(tmp_path / "k" / "@eaDir" / "aaaaaaaaaaa_000007_000017.mp4" / "SYNOVIDEO_FILM_H.mp4")
    film(tmp_path / "k" / "z" / "aaaaaaaaaaa_000007_000017.MP4")
    (tmp_path / "k" / "aaaaaaaaaaa_000007_000017.webm").symlink_to("gone.webm")
    (tmp_path / "train.csv").write_text("label,youtube_id,time_start,time_end,split\nclimbing,aaaaaaaaaaa,7,17,train\n")
    report = import_kinetics([tmp_path / "train.csv"], tmp_path / "k", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1}


def test_a_folder_beside_the_splits_is_named(tmp_path, film):
    film(tmp_path / "signs" / "train" / "RAIN" / "1.mp4")
    film(tmp_path / "signs" / "eval" / "RAIN" / "2.mp4")
    with pytest.raises(SltError, match="eval: no name of a split; call it train, dev or test, or move it away"):
        import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [
        ("cam.MTS", "mpeg2video", "mpegts"),
        ("cam.m2ts", "h264", "mpegts"),
        ("cam.3gp", "mpeg4", "3gp"),
        ("cam.wmv", "wmv2", "asf"),
        ("cam.VOB", "mpeg2video", "vob"),
        ("cam.flv", "flv", "flv"),
        ("cam.mxf", "mpeg2video", "mxf"),
        ("cam.ogv", "libvpx", "ogg"),
        ("cam.part1", "mpeg4", "mp4"),
        ("without", "mpeg4", "mp4"),
    ],
)
def test_a_camera_file_of_any_suffix_is_a_clip(tmp_path, film, name, codec, form):
    film(tmp_path / "signs" / "RAIN" / name, codec=codec, form=form)
    report = import_class_folders(tmp_path / "signs", tmp_path / "m.jsonl")
    assert report.num_clips == {"train": 1}, report.rejected


def test_what_cannot_be_read_is_counted_and_listed_and_the_rest_is_imported(public, monkeypatch, film):
    place = public / "signs" / "RAIN"
    for name in ("a.mp4", "z.mp4", "closed.mp4", "shut/1.mp4", "../SNOW/1.mp4"):
        film(place / name)
    (place / "empty.mp4").touch()
    (place / "broken.mp4").symlink_to("gone.mp4")
    (place / "loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(place / "pipe.mp4")
    (place / "folder.mp4").mkdir()
    (place / "notes.txt").write_text("nothing")
    (place / "1.jpg").write_bytes(b"\xff\xd8")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(place)  # names of sockets are short
        server.bind("s.mp4")
        monkeypatch.undo()
    for name in ("closed.mp4", "shut", "../SNOW"):
        (place / name).chmod(0)
    report = without_rights(lambda: vars_of(import_class_folders(public / "signs", public / "m.jsonl")))
    (place / "shut").chmod(0o700)
    (place / "../SNOW").chmod(0o700)
    assert report[0] == {"train": 2}, report
    assert {row["id"].rpartition("/")[2] for row in report[1]} == {
        *("closed.mp4", "shut", "SNOW", "empty.mp4", "broken.mp4", "loop.mp4", "pipe.mp4", "folder.mp4"),
        *("notes.txt", "1.jpg", "s.mp4"),
    }
    assert all("\n" not in row["reason"] and row["reason"] for row in report[1])


def vars_of(report):
    """What of an import's report goes to another process."""
    return report.num_clips, report.rejected


def test_all_videos_of_a_manifest_that_cannot_be_read_are_reported_at_once(public, film, line):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        film(public / name)
    (public / "b.mp4").chmod(0)
    names = ["a.mp4", "b.mp4", "x" * 300, "missing.mp4", "../out.mp4", "\ud800.mp4", "c.mp4"]
    (public / "m.jsonl").write_text("".join(line(name, f"clip {n}") for n, name in enumerate(names)))
    found = without_rights(lambda: [(p.line, p.kind) for p in validate(public / "m.jsonl").problems])
    assert found == [*((number, "video") for number in (2, 3, 4, 5)), (6, "bad-line")]


def test_strict_validation_stops_at_the_first_video(tmp_path, line):
    (tmp_path / "m.jsonl").write_text(line("a.mp4") + line("b.mp4"))
    with pytest.raises(SltError, match=r"m\.jsonl:1: a\.mp4: .*no such video"):
        validate(tmp_path / "m.jsonl", strict=True)


def test_a_linked_clip_is_left_out_with_the_cure_and_a_linked_folder_is_read(tmp_path, film):
    film(tmp_path / "else" / "RAIN" / "2.mp4")
    film(tmp_path / "signs" / "RAIN" / "1.mp4")
    (tmp_path / "signs" / "RAIN" / "2.mp4").symlink_to(tmp_path / "else" / "RAIN" / "2.mp4")
    report = import_class_folders(tmp_path / "signs", tmp_path / "signs" / "m.jsonl")
    assert report.num_clips == {"train": 1} and "--media-root" in report.rejected[0]["reason"]
    (tmp_path / "link").symlink_to(tmp_path / "else")
    out = tmp_path / "manifests" / "m.jsonl"
    with pytest.raises(SltError, match=r"none of 1 clips can be read, such as RAIN/2\.mp4: .*--media-root"):
        import_class_folders(tmp_path / "link", out)
    report = import_class_folders(tmp_path / "link", out, media_root=tmp_path / "link")
    assert report.num_clips == {"train": 1} and validate(out, media_root=tmp_path / "link").ok


# Places to write to


@pytest.mark.parametrize(
    "command",
    [
        ("translate", "a.mp4", "--out"),
        ("data", "import", "isolated", "signs", "--out"),
        ("data", "import", "phoenix14t", "signs", "--out"),
        ("lm", "import", "signs", "--to"),
        ("data", "synth", "--out"),
        ("report", "grounding", "--out"),
        ("weights", "export", "signs", "--to"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("place", ["file/results/x", "link/results/x", "n" * 300, "closed/x", "full/x"])
def test_a_place_that_cannot_be_written_is_one_line_before_the_work(public, monkeypatch, command, place):
    (public / "file").touch()
    (public / "link").symlink_to("nowhere")
    (public / "closed").mkdir(mode=0o500)
    (public / "full").mkdir()
    (public / "signs").mkdir()
    monkeypatch.chdir(public)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0 if "full" in str(path) else 1}))

    def run():
        try:
            CliRunner().invoke(cli, [*command, place], catch_exceptions=False)
        except SltError as error:
            return str(error)

    assert ": cannot be written: " in without_rights(run)


def test_a_folder_in_the_place_of_a_file_and_the_other_way_round(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SltError, match="is a folder; name a file"):
        require_place(tmp_path)
    with pytest.raises(SltError, match="is a file; name a folder"):
        require_place(tmp_path / "file", folder=True)
    require_place(tmp_path / "new" / "results", folder=True)
    assert not (tmp_path / "new").exists()


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out.txt").symlink_to("real/out.txt")
    with replacing(tmp_path / "out.txt") as scratch:
        scratch.write_text("new")
    assert (tmp_path / "real/out.txt").read_text() == "new" and (tmp_path / "out.txt").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with replacing(tmp_path / "pipe") as scratch:
        scratch.write_text("new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
