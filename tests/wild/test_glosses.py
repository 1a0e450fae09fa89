"""Glosses as people type them: one class each, whatever the script, the case, the white space and the Unicode form."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.feasible import with_glosses
from slt_pipeline.corpora.manifest import parse_line, read_manifest, write_manifest
from slt_pipeline.corpora.stats import corpus_stats
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.protocols import PROTOCOLS, get_protocol
from slt_pipeline.systems.scores import score_glosses
from slt_pipeline.text.gloss_form import gloss_form
from slt_pipeline.text.gloss_vocab import GlossVocabulary

SAME = [
    ("GROẞ", "groß", "Groß", "GROSS", "gross"),  # the capital of ß, and what programs make of it
    ("ΟΔΟΣ", "οδος", "οδοσ", "Οδός".replace("ό", "ο")),  # a final sigma
    ("ﬁt", "FIT", "fit"),  # a ligature
    ("ǅUNGLA", "ǆungla", "Ǆungla"),  # a digraph between capital and small
    ("დღე", "ᲓᲦᲔ"),  # Georgian, and its headlines
    ("İZMİR", "i\u0307zmi\u0307r"),
    ("ᏣᎳᎩ", "ꮳꮃꭹ"),  # Cherokee, whose small letters came later
    ("ＡＢＣ", "ａｂｃ"),
    ("SCHÖN", unicodedata.normalize("NFD", "schön")),
    ("COLD", "COLD ", "\tcold", "\u00a0Cold\u3000", "\u200bCOLD\ufeff"),
    ("GOLF BALL", "golf-ball", "GOLF\u00a0 BALL"),
]
LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co", "Zs", "Zl", "Zp", "Cf"))
GLOSS = st.text(LETTERS, min_size=1, max_size=6)


def clip(name: str, gloss: tuple[str, ...] | None, split: str = "train") -> Clip:
    return Clip(name, "v.mp4", 80, 25.0, "x", gloss, "text", split)


@pytest.fixture
def checked(tmp_path):
    """What validation says of glosses, each list of them a clip."""

    def check(*glosses: list[str]):
        path = tmp_path / "m.jsonl"
        row = {"video": "v.mp4", "num_frames": 80, "fps": 25.0, "signer": "x", "text": None, "split": "train"}
        path.write_text("".join(json.dumps({"id": f"c{i}", **row, "gloss": g}) + "\n" for i, g in enumerate(glosses)))
        return validate(path, open_videos=False)

    return check


@pytest.mark.parametrize("spellings", SAME)
@pytest.mark.parametrize("layout", ["recognition", "translation"])
def test_a_person_types_one_gloss_in_several_ways_and_it_is_one_class(spellings, layout):
    vocabulary = GlossVocabulary.build([[spelling] for spelling in spellings], layout)
    (own,) = set(vocabulary.encode(spellings))
    assert own == len(vocabulary) - 1
    assert vocabulary.encode(vocabulary.decode([own])) == [own]


@pytest.mark.parametrize("spellings", SAME)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_all_signs_are_recognised_and_no_error_is_counted(spellings, protocol):
    vocabulary = GlossVocabulary.build([spellings])
    clips = [clip("a", tuple(map(gloss_form, spellings)))]
    found = vocabulary.decode(vocabulary.encode(spellings))
    assert score_glosses(protocol, [found], clips)["wer"] == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(GLOSS, min_size=1, max_size=8))
def test_any_glosses_in_any_case_are_read_back_as_themselves(typed):
    vocabulary = GlossVocabulary.build([typed])
    ids = vocabulary.encode(typed)
    assert vocabulary.unk_id not in ids
    for changed in (str.upper, str.lower, str.title, str.casefold):
        # Of a dotless ı the capital is that of i: in capitals it is another gloss.
        assert all(
            a == b for a, b, g in zip(ids, vocabulary.encode(map(changed, typed)), typed, strict=True) if "ı" not in g
        )
    decoded = vocabulary.decode(ids)
    assert vocabulary.encode(decoded) == ids
    scored = get_protocol("plain-word")
    assert scored.prepare_gloss(decoded) == scored.prepare_gloss([gloss_form(gloss) for gloss in typed])


def test_a_table_of_others_that_holds_both_spellings_keeps_both():
    table = {"<si>": 0, "<unk>": 1, "<pad>": 2, "</s>": 3, "gross": 4, "groß": 5}
    vocabulary = GlossVocabulary.from_dict(table)
    assert vocabulary.encode(["GROSS", "groß", "GROẞ", "GROß"]) == [4, 5, 5, 5]
    assert vocabulary.encode(vocabulary.decode([4, 5])) == [4, 5]


def test_turkish_words_that_differ_by_a_dot_stay_two_signs():
    vocabulary = GlossVocabulary.build([["KIR", "KİR"], ["kır"]])
    assert len(set(vocabulary.encode(["KIR", "KİR", "kır"]))) == 3
    assert vocabulary.encode(vocabulary.decode(vocabulary.encode(["KIR", "KİR", "kır"]))) == vocabulary.encode(
        ["KIR", "KİR", "kır"]
    )


def test_published_glosses_are_scored_as_they_were():
    glosses = ["__ON__ loc-SÜD neg-MöGEN SPRIEßEN", "我 去 学校"]
    assert get_protocol("csl-daily").prepare_gloss(glosses) == [gloss.upper() for gloss in glosses]


def test_a_person_types_glosses_with_a_space_behind(tmp_path):
    clips = [
        clip("a", ("COLD", "RAIN", "SCHÖN")),
        clip("b", ("COLD ", "RAIN\t", "SCHO\u0308N")),
        clip("c", ("GOLF BALL",)),
    ]
    write_manifest(tmp_path / "m.jsonl", clips)
    found = read_manifest(tmp_path / "m.jsonl")
    assert found[0].gloss == found[1].gloss
    assert corpus_stats(found)["train"].gloss_types == 4


def test_a_gloss_of_two_words_is_one_token_of_a_score():
    scores = score_glosses("plain-word", [["GOLF BALL"], ["RAIN"]], [clip("a", ("GOLF BALL",)), clip("b", ("SNOW",))])
    assert (scores["wer"], scores["num_ref"]) == (50.0, 2)


@pytest.mark.parametrize("nothing", ["", " ", "\t", "\u200b", "\u00a0\ufeff"])
def test_a_gloss_of_white_space_alone_is_refused_with_its_line(nothing):
    row = {"id": "a", "video": "v", "num_frames": 8, "fps": 25, "signer": "", "gloss": [nothing], "text": None}
    with pytest.raises(SltError, match=r"m\.jsonl:7: gloss must be a list of non-empty strings"):
        parse_line(json.dumps({**row, "split": "train"}), "m.jsonl:7")


def test_validation_says_which_spellings_are_one_gloss(checked):
    report = checked(["COLD", "COLD"], ["COLD "], ["cold"])
    assert report.ok
    assert report.remarks == ["read as one gloss, 'COLD': 'COLD' 2 x, 'COLD ' 1 x, 'cold' 1 x"]


def test_validation_names_white_space_inside_a_gloss(checked):
    (problem,) = checked(["COLD"], ["GOLF BALL"]).problems
    assert (problem.line, problem.id, problem.kind) == (2, "c1", "gloss-space")
    assert "read as one gloss, 'GOLF-BALL'" in problem.message


@pytest.mark.parametrize(
    "other",
    [
        "\u0410BEND",  # Cyrillic
        "\u0391BEND",  # Greek
        "\u0430bend",
        "ＡＢＥＮＤ",
    ],
)
def test_glosses_that_only_look_alike_are_told_with_both_spellings_and_counts(checked, other):
    report = checked(["ABEND", "ABEND", "TAG"], ["ABEND"], [other])
    (problem,) = report.problems
    assert (problem.line, problem.id, problem.kind) == (3, "c2", "look-alike")
    assert repr(other) in problem.message and ascii(other)[1:-1] in problem.message
    assert "once, looks like 'ABEND', 3 times, first on line 1" in problem.message


@pytest.mark.parametrize("pair", [("SCHON", "SCHÖN"), ("TAG", "TAGE"), ("HABEN1", "HABEN2"), ("ДА", "НЕТ")])
def test_glosses_that_differ_are_no_look_alikes(checked, pair):
    assert checked([pair[0]], [pair[1]]).ok


def test_clips_without_glosses_are_left_out_and_counted(caplog):
    clips = [clip("a", None), clip("b", ()), clip("c", ("TAG",))]
    assert [each.id for each in with_glosses(clips, "dev", "visual-train")] == ["c"]
    assert "visual-train: 2 of 3 dev clips have no gloss and are left out" in caplog.text
    with pytest.raises(SltError, match="none of 2 dev clips has a gloss"):
        with_glosses(clips[:2], "dev", "visual-train")


@settings(max_examples=30, deadline=None)
@given(
    name=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\n"), min_size=1),
    gloss=st.none() | st.lists(GLOSS, max_size=4),
    text=st.none() | st.text(st.characters(exclude_categories=("Cs",))),
    extra=st.none() | st.dictionaries(st.text(max_size=3), st.integers() | st.booleans() | st.text(max_size=3)),
)
def test_any_clip_is_read_as_it_was_written(tmp_path_factory, name, gloss, text, extra):
    path = tmp_path_factory.mktemp("m") / "m.jsonl"
    whole = Clip(name, name, 8, 25.0, name, None if gloss is None else tuple(gloss), text, "train", extra=extra)
    write_manifest(path, [whole])
    (once,) = read_manifest(path)
    write_manifest(path, [once])
    assert read_manifest(path) == [once]
    assert (once.id, once.video, once.extra) == (name, name, extra)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "id": "b"}', "the key id is there twice"),
        ('{"extra": {"x": 1, "x": 2}}', "the key x is there twice"),
        ('{"fps": NaN}', "NaN is no number"),
        ('{"extra": {"x": Infinity}}', "Infinity is no number"),
        ("[" * 100000, "nested too deeply"),
        ('{"num_frames": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_a_manifest_line_that_means_two_things_or_nothing_is_refused(line, message):
    with pytest.raises(SltError, match=message) as found:
        parse_line(line, "m.jsonl:3")
    assert str(found.value).startswith("m.jsonl:3: ")
