"""Every line is checked, every problem is reported by line number, and nothing is changed."""

import json

import av
import numpy as np
import pytest

from slt_pipeline.corpora.feasible import ctc_feasible, half_speed, min_ctc_steps
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError


def row(clip_id, num_frames=16, video="frames/a", gloss=("A", "B"), **changes):
    values = {"id": clip_id, "video": video, "num_frames": num_frames, "fps": 25.0, "signer": "x"}
    return values | {"gloss": None if gloss is None else list(gloss), "text": "t", "split": "train"} | changes


@pytest.fixture
def manifest(tmp_path, write_frames):
    """`manifest(rows)` writes rows (dicts, or text as it stands) beside `frames/a` of 16 pictures."""
    write_frames(tmp_path / "frames" / "a", 16)

    def write(*rows):
        path = tmp_path / "m.jsonl"
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
        return path

    return write


def found(report):
    return [(problem.line, problem.kind) for problem in report.problems]


def test_good_manifest_has_no_problems(manifest):
    report = validate(manifest(row("a"), row("b", split="dev"), row("c", gloss=None)), vocabulary={"A", "B"})
    assert report.ok and report.num_clips == {"train": 2, "dev": 1}
    assert (report.num_videos, report.num_frames) == (3, 48)
    assert report.lines()[-1] == "no problems"


def test_every_problem_is_reported_by_its_line_and_none_hides_another(manifest, tmp_path):
    (tmp_path / "text.mp4").write_text("no film")
    missing = row("f")
    del missing["signer"]
    path = manifest(
        row("a"),
        "{not json",
        row("a", video="frames/b"),
        "",
        missing,
        row("g", num_frames="16"),
        row("h", num_frames=17),
        row("i", gloss=("A", "C", "Z")),
        row("j", gloss=("A", "A", "B")),
        row("k", video="text.mp4"),
        row("l", video="../m.mp4"),
        row("m", alignments={"pami0": [1, 2]}),
        row("n", num_frames=3, gloss=None),
        "[1, 2]",
        row("o", colour="red"),
    )
    before = path.read_bytes()
    report = validate(path, vocabulary={"A", "B"})
    assert found(report) == [
        (2, "bad-line"),
        (3, "duplicate-id"),
        (3, "video"),
        (5, "bad-line"),
        (6, "bad-line"),
        (7, "frame-count"),
        (8, "unknown-gloss"),
        (10, "video"),
        (11, "video"),
        (12, "bad-line"),
        (13, "too-short"),
        (13, "frame-count"),
        (14, "bad-line"),
        (15, "bad-line"),
    ]
    text = "\n".join(report.lines())
    for part in (
        "m.jsonl:3: a: the id was already used on line 1",
        "m.jsonl:5: missing field signer",
        "m.jsonl:7: h: the manifest says 17 frames, frames/a holds 16",
        "m.jsonl:8: i: not in the vocabulary: C, Z",
        "text.mp4: not a readable video",
        "6 bad-line",
    ):
        assert part in text
    assert path.read_bytes() == before


def test_clips_that_ctc_cannot_align(manifest):
    path = manifest(
        row("a", gloss=("A", "B", "A", "B")),
        row("b", gloss=("A", "B", "B", "A")),
        row("c", gloss=("A", "B", "b")),
        row("d", gloss=()),
    )
    report = validate(path)
    assert found(report) == [(2, "ctc-infeasible")]
    assert "5 steps needed for 4 glosses, 16 frames give 4" in report.problems[0].message
    assert report.num_tight == 2


def test_frames_over_the_cap_do_not_help(manifest):
    report = validate(manifest(row("a", num_frames=4000, gloss=["A"] + ["B", "C"] * 50)), open_videos=False)
    assert found(report) == [(1, "ctc-infeasible")]


@pytest.mark.parametrize(
    ("glosses", "steps"), [([], 0), (["A"], 1), (["A", "A"], 3), (["A", "a", "A"], 5), (["A", "B", "A"], 3)]
)
def test_steps_that_ctc_needs(glosses, steps):
    assert min_ctc_steps(glosses) == steps
    assert ctc_feasible(glosses, 4 * steps) and (steps == 0 or not ctc_feasible(glosses, 4 * steps - 1))


def test_shortest_length_that_training_draws():
    assert [half_speed(n) for n in (100, 101, 8, 9, 1)] == [52, 52, 4, 4, 0]


def test_unreadable_picture_is_found_when_every_frame_is_decoded(manifest, tmp_path):
    path = manifest(row("a"))
    (tmp_path / "frames/a/images0009.png").write_bytes(b"not a picture")
    assert validate(path).ok
    assert found(validate(path, decode=True)) == [(1, "video")]


def test_videos_may_be_left_closed(manifest):
    assert validate(manifest(row("a", video="nowhere")), open_videos=False).ok


def test_media_root_elsewhere(manifest, tmp_path):
    path = manifest(row("a", video="a"))
    assert not validate(path).ok
    assert validate(path, media_root=tmp_path / "frames").ok


def test_line_that_is_not_utf8(manifest):
    path = manifest(row("a"))
    path.write_bytes(path.read_bytes() + b'{"id": "\xff"}\n' + json.dumps(row("b")).encode())
    assert found(validate(path)) == [(2, "bad-line")]


def test_empty_manifest_is_a_problem(manifest):
    assert found(validate(manifest())) == [(1, "no-clips")]


def test_missing_manifest_raises(tmp_path):
    with pytest.raises(SltError, match="cannot be read"):
        validate(tmp_path / "none.jsonl")


def test_long_reports_are_cut_with_a_count(manifest):
    report = validate(manifest(*["{"] * 9))
    assert len(report.lines(limit=3)) == 6 and "... and 6 more" in report.lines(limit=3)[3]


def test_a_frame_rate_that_is_not_the_files_own_is_reported(manifest, tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(16):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    rows = [row(f"{fps}", video="a.mp4", fps=fps) for fps in (50.0, 49.95, 25.0, 12.5)]
    for decode in (False, True):
        report = validate(manifest(*rows), media_root=tmp_path, decode=decode)
        assert [(problem.id, problem.kind) for problem in report.problems] == [
            ("25.0", "frame-rate"),
            ("12.5", "frame-rate"),
        ]
        assert "the manifest says 25 frames a second, a.mp4 has 50" in report.lines()[0]
