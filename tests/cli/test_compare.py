"""Two systems are compared on the same clips, by the same references and the same protocol, or not at all."""

import json

import pytest

from slt_pipeline.errors import SltError

REFERENCES = [f"am {n} . tag regnet es im norden und {n} wind weht ." for n in range(30)]
GLOSSES = [["REGEN", "NORD", f"TAG-{n}"] for n in range(30)]


def rows(hypotheses=REFERENCES, references=REFERENCES, names=range(30), **columns):
    pairs = zip(names, hypotheses, references, strict=True)
    return [
        {"id": f"c{n}", "hypothesis": h, "reference": r, **{name: values[i] for name, values in columns.items()}}
        for i, (n, h, r) in enumerate(pairs)
    ]


@pytest.fixture
def outputs(tmp_path):
    """Write outputs as `slt evaluate` does."""

    def write(folder, lines, protocol="plain-word", name="sign2text-test"):
        place = tmp_path / folder / "evaluate"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        task, split = name.split("-")
        (place / "scores.json").write_text(json.dumps([{"task": task, "split": split, "protocol": protocol}]))
        return path

    return write


HALF = [text if n % 2 else "etwas anderes ." for n, text in enumerate(REFERENCES)]


def test_a_person_compares_two_runs_by_their_folders(slt, outputs, tmp_path):
    outputs("a", rows()), outputs("b", rows(HALF)[::-1])
    found = json.loads(slt("compare", tmp_path / "a", tmp_path / "b", "--json", "--samples", "200").output)
    assert (found["protocol"], found["protocol_version"], found["samples"]) == ("plain-word", 2, 200)
    assert "version:" in found["signature"]["bleu"]
    assert [row["score"] for row in found["rows"]] == ["bleu4", "rouge", "chrf"]
    for row in found["rows"]:
        assert row["a"] == pytest.approx(100) and row["b"] < 100
        assert 0 < row["low"] < row["difference"] < row["high"]
        assert row["p_bootstrap"] == row["p_randomisation"] == pytest.approx(1 / 201)
    shown = slt("compare", tmp_path / "a", tmp_path / "b", "--samples", "200").output
    assert "protocol plain-word, version 2; 200 draws, seed 0" in shown
    assert "0.005 *" in shown


def test_a_system_is_no_better_than_itself_and_the_seed_decides_the_draws(slt, outputs):
    a, b = outputs("a", rows(HALF)), outputs("b", rows(HALF))
    found = json.loads(slt("compare", a, b, "--json").output)["rows"]
    assert {(row["difference"], row["p_bootstrap"], row["p_randomisation"]) for row in found} == {(0, 1, 1)}
    c = outputs("c", rows([*HALF[:15], *REFERENCES[15:]]))
    first, same, other = (slt("compare", a, c, "--json", "--seed", seed).output for seed in (1, 1, 2))
    assert first == same != other


def test_glosses_are_compared_by_their_word_error_rate(slt, outputs):
    wrong = [["WIND", *glosses[1:]] for glosses in GLOSSES]
    a = outputs("a", rows(glosses=GLOSSES, gloss_reference=GLOSSES))
    b = outputs("b", rows(glosses=wrong, gloss_reference=GLOSSES))
    row = json.loads(slt("compare", a, b, "--json").output)["rows"][-1]
    assert (row["score"], row["a"], row["b"]) == ("wer", 0, pytest.approx(100 / 3))
    a = outputs("a", rows(), name="sign2gloss-test")
    b = outputs("b", rows(HALF), name="sign2gloss-test")
    assert [row["score"] for row in json.loads(slt("compare", a, b, "--json").output)["rows"]] == ["wer"]


def test_other_clips_references_and_protocols_are_refused_and_both_are_named(slt, outputs, tmp_path):
    a = outputs("a", rows())
    for b, message in (
        (outputs("b", rows(names=range(1, 31))), "a/evaluate/sign2text-test.jsonl and .*b/.* are of other clips: 1 of"),
        (outputs("c", rows()[:-1]), "are of other clips: 1 of .*a/evaluate/sign2text-test.jsonl, such as c29, are not"),
        (
            outputs("d", rows(references=["anderes", *REFERENCES[1:]])),
            "other references, such as .* and 'anderes' of clip c0",
        ),
        (outputs("e", rows(), "phoenix14t"), "a/.* was scored by plain-word, .*e/.* by phoenix14t; add --protocol"),
        (outputs("f", rows(), name="sign2gloss-test"), "one of .* holds glosses, the other texts"),
    ):
        with pytest.raises(SltError, match=message):
            slt("compare", a, b)
    b = outputs("g", rows(), "phoenix14t")
    named = json.loads(slt("compare", a, b, "--protocol", "csl-daily-char", "--json").output)
    assert named["protocol"] == "csl-daily"


def test_what_is_not_there_is_said_with_what_is(slt, outputs, tmp_path):
    a = outputs("a", rows())
    outputs("b", rows(), name="sign2text-dev")
    with pytest.raises(SltError, match=r"on test, .* on dev: they share no split"):
        slt("compare", tmp_path / "a", tmp_path / "b")
    with pytest.raises(SltError, match=r"no outputs of sign2text on dev \(it has: sign2text-test\)"):
        slt("compare", tmp_path / "a", tmp_path / "b", "--split", "dev")
    with pytest.raises(SltError, match="are a file and a folder"):
        slt("compare", a, tmp_path / "b")
    bare = tmp_path / "bare.jsonl"
    bare.write_text(a.read_text())
    with pytest.raises(SltError, match=r"bare.jsonl says by which protocol it is scored; add --protocol NAME"):
        slt("compare", bare, bare)


@pytest.mark.parametrize(
    ("of_a", "of_b", "compared"),
    [
        (["gloss2text", "sign2text"], ["gloss2text", "sign2text"], "sign2text"),
        (["gloss2text", "sign2text"], ["gloss2text"], "gloss2text"),
        (["text2gloss"], ["text2gloss"], "text2gloss"),
        (["sign2gloss2text"], ["sign2gloss2text", "sign2text"], "sign2gloss2text"),
    ],
)
def test_two_runs_are_compared_by_what_both_can_do(slt, outputs, tmp_path, of_a, of_b, compared):
    for folder, tasks in (("a", of_a), ("b", of_b)):
        for task in tasks:
            outputs(folder, rows(), name=f"{task}-test")
    found = json.loads(slt("compare", tmp_path / "a", tmp_path / "b", "--json", "--samples", "20").output)
    assert found["task"] == compared
    assert f"{compared}; protocol" in slt("compare", tmp_path / "a", tmp_path / "b", "--samples", "20").output


def test_a_file_of_outputs_brings_its_references_and_its_protocol(slt, outputs):
    path = outputs("a", rows(HALF, glosses=GLOSSES, gloss_reference=GLOSSES), "sacrebleu-13a")
    found = json.loads(slt("score", path).output)
    assert (found["protocol"], found["protocol_version"], found["sentences"]) == ("sacrebleu-13a", 1, 30)
    assert found["signature"]["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.")
    assert 0 < found["chrf"] < 100
    glosses = json.loads(slt("score", path, "--gloss", "--protocol", "phoenix14t").output)
    assert (glosses["protocol"], glosses["wer"]) == ("phoenix14t", 0)


def test_outputs_of_an_earlier_version_are_read(slt, tmp_path):
    old = tmp_path / "sign2text-test.json"
    old.write_text(json.dumps({"task": "sign2text", "split": "test", "protocol": "csl-daily", "clips": rows()}))
    assert json.loads(slt("score", old).output)["protocol"] == "csl-daily"
    assert json.loads(slt("compare", old, old, "--json").output)["protocol_version"] == 1


def test_lines_without_references_and_torn_json_lines_are_refused(slt, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("es regnet\n")
    with pytest.raises(SltError, match=r"lines.txt has no references: name a second file"):
        slt("score", lines)
    torn = tmp_path / "torn.jsonl"
    for content, message in (
        ('{"id": 1, "hypothesis": "a", "reference": "a"}\n{"id"', "torn.jsonl:2: not JSON"),
        ('{"id": 1, "hypothesis": "a"}\n', "clip 1 has no reference"),
        ('{"id": 1}\n{"id": 1}\n', "holds clip 1 twice"),
        ("[1]\n", "torn.jsonl:1: no JSON object"),
        ("", "holds no clip"),
    ):
        torn.write_text(content)
        with pytest.raises(SltError, match=message):
            slt("score", torn)


def test_glosses_of_other_clips_are_refused_and_the_clip_is_named(slt, outputs):
    first, second = ([GLOSSES[n] if n == only else None for n in range(30)] for only in (0, 1))
    a = outputs("a", rows(glosses=first, gloss_reference=first))
    b = outputs("b", rows(glosses=second, gloss_reference=second))
    with pytest.raises(SltError, match=r"a/.* has glosses beside right ones of clip c0, .*b/.* has not"):
        slt("compare", a, b)
    a, b = (
        outputs(name, rows(glosses=second, gloss_reference=gs)) for name, gs in (("a", second), ("b", other(second)))
    )
    with pytest.raises(SltError, match="other references, such as 'REGEN NORD TAG-1' and 'WIND' of clip c1;"):
        slt("compare", a, b)


def other(glosses):
    return [["WIND"] if each else None for each in glosses]


def test_clips_without_a_gloss_are_drawn_too(slt, outputs):
    pair = [
        outputs(name, rows(texts, ["REGEN", "", "", ""], range(4)), name="sign2gloss-test")
        for name, texts in (("a", ["REGEN", "", "", ""]), ("b", ["WIND", "WIND", "", ""]))
    ]
    (row,) = json.loads(slt("compare", *pair, "--json").output)["rows"]
    assert (row["a"], row["b"]) == (0, 200)


@pytest.mark.parametrize("samples", ["0", "1000001"])
def test_draws_are_as_many_as_there_is_memory_for(slt, outputs, samples):
    run = slt("compare", outputs("a", rows()), outputs("b", rows(HALF)), "--samples", samples)
    assert run.exit_code == 2
    assert f"{samples} is not in the range 1<=x<=1000000" in run.output


def test_a_split_that_is_named_twice_is_compared_once(slt, outputs, tmp_path):
    outputs("a", rows()), outputs("b", rows(HALF))
    named = ("--split", "test", "--split", "test", "--json")
    assert len(json.loads(slt("compare", tmp_path / "a", tmp_path / "b", *named).output)["rows"]) == 3
