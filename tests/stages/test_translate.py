import json
from pathlib import Path

import numpy as np
import pytest
from stage_tools import write_video

from slt_pipeline.cli.main import main
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.translate import Translate
from slt_pipeline.video.reader import open_video


@pytest.fixture(scope="module")
def system(toy) -> Translate:
    return Translate(toy.recipe(), device="cpu")


@pytest.fixture(scope="module")
def frames(toy) -> np.ndarray:
    """Pictures of a test clip."""
    return open_video(str(toy.video(toy.of("test")[0])), None).read()


@pytest.fixture
def slt(toy, monkeypatch, capsys):
    """`slt translate` as a user calls it: exit status, lines of stdout, lines of stderr."""

    def run(*arguments: str | Path) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr("sys.argv", ["slt", "-q", "translate", "-r", str(toy.file), *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr()
        return int(end.value.code or 0), shown.out.splitlines(), shown.err.splitlines()

    return run


def test_a_clip_of_the_corpus_is_translated_as_evaluate_decoded_it_from_the_store(toy, system):
    folder = toy.recipe().run_folder("evaluate")
    decoded = {
        task: [pair["hypothesis"] for pair in read_json_lines(folder / f"{task}-test.jsonl")]
        for task in ("sign2text", "sign2gloss")
    }
    found = [system.video(str(toy.video(clip))) for clip in toy.of("test")]
    assert [result["text"] for result in found] == decoded["sign2text"]
    assert [" ".join(g["gloss"] for g in result["glosses"]) for result in found] == decoded["sign2gloss"]


def test_glosses_have_rising_times_within_the_video(toy, system):
    clip = toy.of("test")[0]
    result = system.video(str(toy.video(clip)))
    assert result["seconds"] == pytest.approx(clip.num_frames / clip.fps, abs=1e-3)
    times = [time for gloss in result["glosses"] for time in (gloss["start"], gloss["end"])]
    assert times
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= result["seconds"] + 1e-3


def test_a_video_of_another_size_and_frame_rate_is_brought_to_that_of_training(system, frames, tmp_path):
    same = system.video(str(write_video(tmp_path / "same.mp4", frames, 25)))
    wide = np.pad(frames.repeat(2, axis=1).repeat(2, axis=2), ((0, 0), (0, 0), (16, 16), (0, 0)), mode="edge")
    fast = system.video(str(write_video(tmp_path / "fast.mp4", wide.repeat(2, axis=0), 50)))
    assert fast["seconds"] == same["seconds"]
    assert len(fast["glosses"]) > 0
    assert fast["glosses"][-1]["end"] <= fast["seconds"] + 1e-3
    assert isinstance(fast["text"], str)


def test_n_best_lists_different_texts_best_first(toy, frames, tmp_path):
    system = Translate(toy.recipe(translate__num_best=2), device="cpu")
    result = system.video(str(write_video(tmp_path / "a.mp4", frames, 25)))
    scores = [candidate["score"] for candidate in result["nbest"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert result["nbest"][0]["text"] == result["text"]


def test_more_candidates_than_beams_are_refused(toy):
    with pytest.raises(SltError, match=r"num_best is 3 and generation.num_beams 2"):
        toy.recipe(translate__num_best=3)


def test_a_video_that_is_too_short_is_refused(system, frames, tmp_path):
    with pytest.raises(SltError, match=r"short.mp4: 3 frames, at least 4 are needed"):
        system.video(str(write_video(tmp_path / "short.mp4", frames[:3], 25)))


def test_a_video_that_is_too_long_is_refused_by_seconds(toy, frames, tmp_path):
    system = Translate(toy.recipe(translate__max_seconds=0.5), device="cpu")
    with pytest.raises(SltError, match=r"long.mp4 lasts 1 s, .*translate.max_seconds.* 0.5"):
        system.video(str(write_video(tmp_path / "long.mp4", frames[:25], 25)))


def test_the_command_prints_one_json_line_a_video(toy, slt):
    videos = [toy.video(clip) for clip in toy.of("test")]
    status, out, err = slt(*videos)
    assert (status, err) == (0, [])
    assert [json.loads(line)["video"] for line in out] == [str(video) for video in videos]


def test_text_named_mp4_is_one_line_and_status_2_and_the_others_are_translated(toy, slt, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("Am Tag wird es warm.\n" * 20)
    video = toy.video(toy.of("test")[0])
    status, out, err = slt(text, video)
    assert status == 2
    assert [json.loads(line)["video"] for line in out] == [str(video)]
    (line,) = err
    assert line.startswith("slt: error: ")
    assert "text.mp4" in line


def test_earlier_lines_stay_where_no_video_can_be_read(toy, slt, tmp_path):
    out, text = tmp_path / "found.jsonl", tmp_path / "text.mp4"
    text.write_text("no video")
    assert slt(text, "--out", out)[0] == 2 and not out.exists()
    assert slt(toy.video(toy.of("test")[0]), "--out", out)[0] == 0
    before = out.read_bytes()
    assert slt(text, "--out", out)[0] == 2
    assert out.read_bytes() == before


def test_a_missing_file_is_one_line_and_status_2(slt, tmp_path):
    status, out, err = slt(tmp_path / "absent.mp4")
    assert (status, out) == (2, [])
    (line,) = err
    assert "absent.mp4" in line


def test_the_lines_can_go_to_a_file(toy, slt, tmp_path):
    for _ in range(2):  # the second takes the place of the first
        status, out, _ = slt(toy.video(toy.of("test")[0]), "--out", tmp_path / "found.jsonl")
        assert (status, out) == (0, [])
    assert len((tmp_path / "found.jsonl").read_text().splitlines()) == 1
