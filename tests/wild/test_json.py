"""JSON that is damaged, torn, or nested without end: named in one line, whoever wrote it."""

import pytest
from click.testing import CliRunner

from slt_pipeline.cli.main import cli
from slt_pipeline.corpora.wlasl import import_wlasl
from slt_pipeline.errors import SltError
from slt_pipeline.files import json_line, read_json, read_json_lines, write_json, write_json_lines
from slt_pipeline.systems.recogniser import shape_of
from slt_pipeline.training.checkpoint import best_checkpoint

NESTED = "[" * 100_000 + "]" * 100_000


def test_json_that_is_nested_too_deeply_is_named_like_any_other_damage(tmp_path):
    (tmp_path / "deep.json").write_text(NESTED)
    (tmp_path / "deep.jsonl").write_text(f"{NESTED}\n")
    with pytest.raises(SltError, match=r"deep\.json cannot be read: "):
        _slt("score", tmp_path / "deep.json")
    with pytest.raises(SltError, match=r"deep\.json: not a WLASL list"):
        import_wlasl(tmp_path / "deep.json", tmp_path, tmp_path / "m.jsonl")
    with pytest.raises(SltError, match=r"deep\.jsonl:1: not JSON: "):
        read_json_lines(tmp_path / "deep.jsonl")
    with pytest.raises(SltError, match=r"deep\.jsonl is there and is not a file of translations"):
        _slt("translate", "a.mp4", "--out", tmp_path / "deep.jsonl")


def test_a_line_that_a_kill_has_torn_within_a_character_is_left_out_and_bytes_of_no_text_are_named(tmp_path):
    path, whole = tmp_path / "rows.jsonl", json_line({"text": "süd"}).encode()
    path.write_bytes(whole + whole[: whole.index(b"\xc3") + 1])
    assert read_json_lines(path) == [{"text": "süd"}]
    path.write_bytes(whole + "süd\n".encode("latin-1"))
    with pytest.raises(SltError, match=r"rows\.jsonl:2: not JSON: "):
        read_json_lines(path)


def test_a_file_that_is_missing_is_not_to_be_deleted(tmp_path):
    with pytest.raises(SltError, match=r"inputs\.json is missing; put it back, or make its folder anew$"):
        read_json(tmp_path / "inputs.json")


@pytest.mark.parametrize("found", [[], {}, 3, None, "x", {"step": "x"}])
def test_a_pointer_to_a_checkpoint_that_names_none_is_refused(tmp_path, found):
    write_json(tmp_path / "best.json", found)
    with pytest.raises(SltError, match=r"best\.json (cannot be read: it holds a|names the step)"):
        best_checkpoint(tmp_path, "slt translate-train")


@pytest.mark.parametrize("found", [[], {}, 3, None, "x", {"fps": 25.0, "depth": 3}])
def test_frames_of_an_encoder_that_are_none_are_refused(tmp_path, found):
    write_json(tmp_path / "frames.json", found)
    with pytest.raises(SltError, match=r"frames\.json (cannot be read: it holds a|has .*, not fps, width, height)"):
        shape_of(tmp_path)


@pytest.mark.parametrize("members", [{}, 3, None, "x", [1], [[]]])
def test_members_of_an_ensemble_that_are_no_names_are_refused(tmp_path, members):
    outputs = tmp_path / "sign2text-dev.jsonl"
    write_json_lines(outputs, [{"id": "a", "reference": "es regnet", "hypothesis": "es regnet"}])
    row = {"task": "sign2text", "split": "dev", "protocol": "plain-word", "checkpoints": {"translator": "0" * 12}}
    write_json(tmp_path / "scores.json", [row])
    write_json(tmp_path / "members.json", members)
    with pytest.raises(SltError, match=r"members\.json (cannot be read: it holds a|is no list of names)"):
        _slt("score", outputs)
    write_json(tmp_path / "scores.json", [{**row, "checkpoints": 3}])  # nothing to look for
    assert _slt("score", outputs).exit_code == 0


def _slt(*arguments):
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="slt", catch_exceptions=False)
