import json
import re

import pytest

from slt_pipeline.errors import SltError

LINES = ["am tag wird es warm .", "in der nacht regnet es im norden ."]


@pytest.fixture
def texts(tmp_path):
    """Write one file of sentences per list."""

    def write(*files: list[str]):
        paths = []
        for number, lines in enumerate(files):
            paths.append(tmp_path / f"{number}.txt")
            paths[-1].write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return paths

    return write


def test_equal_files_score_100(slt, texts):
    scores = json.loads(slt("score", *texts(LINES, LINES)).output)
    assert (scores["protocol"], scores["sentences"]) == ("phoenix14t", 2)
    assert scores["bleu4"] == pytest.approx(100)
    assert scores["rouge"] == pytest.approx(100)


def test_glosses_score_as_wer(slt, texts):
    hypotheses, references = texts(["TAG WARM", "NACHT"], ["TAG WARM", "NACHT REGEN"])
    scores = json.loads(slt("score", "--gloss", "--protocol", "plain-word", hypotheses, references).output)
    assert scores["wer"] == pytest.approx(25)
    assert "bleu4" not in scores


def test_the_protocol_decides_the_unit(slt, texts):
    files = texts(["今天晴天"], ["今天下雨天"])
    by_word, by_char = (
        json.loads(slt("score", *files, "--protocol", protocol).output) for protocol in ("plain-word", "csl-daily")
    )
    assert by_word["bleu1"] == 0
    assert by_char["bleu1"] > 50


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0c"])
def test_only_a_line_end_ends_a_sentence(slt, texts, odd):
    lines = [f"am tag{odd}wird es warm ."]
    assert json.loads(slt("score", *texts(lines, lines)).output)["sentences"] == 1


def test_windows_line_ends_and_a_missing_last_one_do_not_matter(slt, texts, tmp_path):
    (references,) = texts(LINES)
    other = tmp_path / "windows.txt"
    other.write_bytes(("\ufeff" + "\r\n".join(LINES)).encode())
    scores = json.loads(slt("score", other, references).output)
    assert (scores["sentences"], scores["bleu4"]) == (2, pytest.approx(100))


def test_an_empty_hypothesis_is_a_sentence(slt, texts):
    scores = json.loads(slt("score", *texts(["", LINES[1]], LINES)).output)
    assert scores["sentences"] == 2
    assert 0 < scores["bleu1"] < 100


@pytest.mark.parametrize(
    ("files", "message"), [((LINES, LINES[:1]), r"2 .*1 "), (([], []), r"no |zero|0 "), ((LINES, []), r"2 .*0 ")]
)
def test_files_that_do_not_pair_up_are_refused(slt, texts, files, message):
    with pytest.raises(SltError, match=message):
        slt("score", *texts(*files))


def test_an_unknown_protocol_is_answered_with_all_that_there_are(slt, texts):
    run = slt("score", *texts(LINES, LINES), "--protocol", "phoenix14")
    assert run.exit_code == 2
    assert "'phoenix14' is not one of 'phoenix14t', 'csl-daily'" in run.output


def test_a_file_that_is_no_text_is_named(slt, texts, tmp_path):
    (tmp_path / "odd.txt").write_bytes(b"es regnet\nim S\xfcden\n")
    with pytest.raises(SltError, match=r"odd.txt:2: not UTF-8: byte 0xfc in column 5; save the file as UTF-8"):
        slt("score", tmp_path / "odd.txt", *texts(LINES))


def test_a_missing_file_exits_with_status_2(slt, texts):
    run = slt("score", "absent.txt", *texts(LINES))
    assert run.exit_code == 2
    assert "absent.txt" in run.output


GLOSSES = [["TAG", "WARM"], ["NACHT", "REGEN", "NORD"]]


@pytest.fixture
def outputs(tmp_path):
    """Write outputs as `slt evaluate` does; a column that is None is not there."""

    def write(name, texts=LINES, right=LINES, glosses=None, gloss_reference=None):
        columns = {"hypothesis": texts, "reference": right, "glosses": glosses, "gloss_reference": gloss_reference}
        rows = [
            {"id": n, **{column: values[n] for column, values in columns.items() if values}} for n in range(len(right))
        ]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def scored(slt, *given):
    return json.loads(slt("score", *given).output)


def test_glosses_beside_texts_score_as_glosses_wherever_the_right_ones_lie(slt, outputs, texts):
    both = outputs("sign2gloss2text-test", glosses=[["TAG"], GLOSSES[1]], gloss_reference=GLOSSES)
    right = outputs("gloss2text-test", gloss_reference=GLOSSES)
    (lines,) = texts([" ".join(glosses) for glosses in GLOSSES])
    for references in ((), (right,), (lines,)):
        found = scored(slt, both, *references, "--gloss")
        assert (found["wer"], found["num_ref"]) == (pytest.approx(20), 5)
    assert scored(slt, lines, right, "--gloss")["wer"] == 0
    assert scored(slt, both, right)["bleu4"] == pytest.approx(100)


def test_a_clip_without_right_glosses_is_left_out(slt, outputs):
    partly = outputs("sign2gloss2text-test", glosses=GLOSSES, gloss_reference=[GLOSSES[0], []])
    assert scored(slt, partly, "--gloss")["sentences"] == 1
    nothing_found = outputs("sign2gloss-test", glosses=[[], []], gloss_reference=GLOSSES)
    assert scored(slt, nothing_found)["wer"] == 100


def test_a_clip_with_right_glosses_and_no_others_is_refused_and_named(slt, outputs, texts):
    """Were it left out, a recogniser that fails on it would be the better one."""
    lacking = outputs("theirs", glosses=[GLOSSES[0], None], gloss_reference=GLOSSES)
    (lines,) = texts([" ".join(glosses) for glosses in GLOSSES])
    right = outputs("right", gloss_reference=GLOSSES)
    for given in ((lacking,), (lacking, lines), (lacking, right)):
        with pytest.raises(SltError, match=r"theirs\.jsonl: clip 1 has a gloss_reference and no glosses; write \[\]"):
            slt("score", "--gloss", *given)
    with pytest.raises(SltError, match=r"theirs\.jsonl: clip 1 has a gloss_reference and no glosses; write \[\]"):
        slt("compare", lacking, lacking, "--protocol", "plain-word")
    assert scored(slt, lacking)["bleu4"] == pytest.approx(100)  # its texts are all there


@pytest.mark.parametrize(("has", "lacks"), [("gloss_reference", "glosses"), ("glosses", "gloss_reference")])
def test_texts_are_not_scored_beside_glosses(slt, outputs, texts, has, lacks):
    """A copy of outputs under another name says no more what its columns are."""
    copy = outputs("copy", **{has: GLOSSES})
    (lines,) = texts([" ".join(glosses) for glosses in GLOSSES])
    for given in ((copy,), (copy, lines) if lacks == "glosses" else (lines, copy)):
        with pytest.raises(SltError, match=rf"copy\.jsonl has {has} and no {lacks}, and its .* texts .*; add {lacks}"):
            slt("score", *given, "--gloss")
    assert scored(slt, copy)["bleu4"] == pytest.approx(100)


@pytest.mark.parametrize("odd", [None, 1.5, ["a"], {"a": 1}, True])
def test_an_id_that_is_none_is_refused(slt, outputs, odd):
    path = outputs("theirs")
    first, second = map(json.loads, path.read_text().splitlines())
    path.write_text(f"{json.dumps(first)}\n{json.dumps({**second, 'id': odd})}\n")
    with pytest.raises(SltError, match=rf"theirs\.jsonl: the id of clip 2 is {re.escape(repr(odd))}; write a name"):
        slt("score", path)
    del second["id"]
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    with pytest.raises(SltError, match=r"theirs\.jsonl: the id of clip 2 is None; write a name"):
        slt("score", path)


def test_references_of_other_clips_are_refused_with_clips_of_both(slt, outputs):
    made, right = outputs("made"), outputs("right")
    right.write_text("".join(json.dumps({"reference": line}) + "\n" for line in LINES))
    with pytest.raises(
        SltError, match=r"1 of .*made\.jsonl, such as 0, are not in the other, which has 1; take outputs"
    ):
        slt("score", made, right)


@pytest.mark.parametrize("name", ["b.JSONL", "b.ndjson", "b.Ndjson"])
def test_outputs_are_known_under_every_ending_of_json_lines(slt, outputs, tmp_path, name):
    path = outputs("theirs", ["es regnet", "am tag"], LINES)
    other = path.rename(tmp_path / name)
    assert scored(slt, other) == scored(slt, outputs("theirs", ["es regnet", "am tag"], LINES))


@pytest.mark.parametrize("more", ["", "\n\n"])
def test_outputs_under_an_ending_of_texts_are_refused(slt, outputs, texts, tmp_path, more):
    path = outputs("theirs").rename(tmp_path / "theirs.txt")
    path.write_text(path.read_text() + more)
    (lines,) = texts(LINES)
    for given in ((path, lines), (lines, path)):
        with pytest.raises(SltError, match=r"theirs\.txt holds JSON objects, .*; rename it to theirs\.jsonl"):
            slt("score", *given)
    braces = texts(["{laughs} ja", "{nein}"], ["{laughs} ja", "{nein}"])
    assert scored(slt, *braces)["bleu1"] == pytest.approx(100)


def test_glosses_are_not_scored_against_texts(slt, outputs):
    signed = outputs("sign2gloss-test", ["TAG WARM", "NACHT REGEN NORD"], ["TAG WARM", "NACHT REGEN NORD"])
    spoken = outputs("sign2text-test")
    for pair in ((signed, spoken), (spoken, signed), (spoken, "--gloss"), (spoken, spoken, "--gloss")):
        with pytest.raises(SltError, match=r"sign2text-test\.jsonl holds texts, and its .* column no glosses"):
            slt("score", *pair)
    assert scored(slt, signed)["wer"] == 0
    own = outputs("theirs", ["TAG", "NACHT"], ["TAG", "TAG"])
    assert scored(slt, own, "--gloss")["wer"] == 50  # whose file it is, knows what it holds


def test_the_oracle_is_scored_by_the_protocol_of_its_evaluation(slt, outputs, tmp_path):
    row = {"task": "sign2text (oracle)", "split": "dev", "protocol": "csl-daily"}
    (tmp_path / "oracle.json").write_text(json.dumps([row]))
    (tmp_path / "scores.json").write_text(json.dumps([{**row, "task": "sign2text", "protocol": "phoenix14t"}]))
    assert scored(slt, outputs("oracle-dev"))["protocol"] == "csl-daily"
    assert scored(slt, outputs("sign2text-dev"))["protocol"] == "phoenix14t"


def test_broken_scores_beside_outputs_matter_where_they_are_needed_alone(slt, outputs, tmp_path):
    path = outputs("sign2text-dev")
    (tmp_path / "scores.json").write_text("{")
    assert scored(slt, path, "--protocol", "plain-word")["bleu4"] == pytest.approx(100)
    with pytest.raises(SltError, match=r"scores\.json"):
        slt("score", path)
