"""Texts as people write, paste and cut them: read right, found by line and clip, or refused before training."""

import json
import string
import unicodedata

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_pipeline.cli.main import cli
from slt_pipeline.config.names import PROTOCOL_NAMES
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.text.characters import hidden, visible
from slt_pipeline.text.normalise import nfc, single_spaced
from slt_pipeline.text.train_tokenizer import train_tokenizer


def line(clip_id: str, text: str | None = "guten tag", **changes) -> str:
    """One line of a manifest; what JSON can write and no file can hold is escaped."""
    row = {"id": clip_id, "video": f"{clip_id}.mp4", "num_frames": 80, "fps": 25.0, "signer": "s", "gloss": ["A"]}
    return json.dumps({**row, "text": text, "split": "train", **changes}) + "\n"


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """`corpus(lines)` writes a manifest in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def write(*lines: str):
        (tmp_path / "m.jsonl").write_text("".join(lines), encoding="utf-8")
        return tmp_path / "m.jsonl"

    return write


def slt(*arguments: str) -> Result:
    found = CliRunner().invoke(cli, list(arguments))
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


# --- characters


def test_a_caption_is_cut_inside_an_emoji(corpus):
    path = corpus(
        line("a"),
        line("b", "good day \ud83d"),
        line("c\udc00", video="c.mp4"),
        line("d", gloss=["\ud83d"]),
        line("e", "👍"),
    )
    found = slt("data", "validate", "--no-video", "m.jsonl")
    assert found.exit_code == 1
    assert [row.partition(";")[0] for row in found.output.splitlines()[:-2]] == [
        f"m.jsonl:{number}: clip {clip}: {field} holds U+{half} half of a surrogate pair (character {place})"
        for number, clip, field, half, place in (
            (2, "'b'", "text", "D83D", 10),
            (3, r"'c\udc00'", "id", "DC00", 2),
            (4, "'d'", "gloss", "D83D", 1),
        )
    ]
    with pytest.raises(SltError, match=r"m\.jsonl:2: clip 'b': text holds U\+D83D"):
        load_clips(path, "train", needs=["text"])


STRANGE = {
    "zero width space": "\u200b",
    "byte order mark": "\ufeff",
    "word joiner": "\u2060",
    "soft hyphen": "\xad",
    "right to left": "\u202e",
    "isolate": "\u2067",
    "left to right mark": "\u200e",
    "bell": "\x07",
    "escape": "\x1b",
    "nul": "\0",
    "delete": "\x7f",
    "next line": "\x85",
    "line separator": "\u2028",
    "private use": "\ue000",
    "non-character": "\uffff",
    "another": "\U0010fffe",
    "broken byte": "\ufffd",
    "joiner between Latin letters": "\u200d",
    "filler": "\u3164",
    "SentencePiece's space": "\u2581",
}


@pytest.mark.parametrize("name", STRANGE)
def test_characters_that_nobody_sees_are_found_wherever_they_stand(corpus, name):
    """One problem for each line, all in one run, and nothing of it moves the terminal."""
    character = STRANGE[name]
    path = corpus(
        line("a", f"gu{character}ten tag"),
        line(f"b{character}c", video="b.mp4"),
        line("d", video=f"d{character}e.mp4"),
        line("e", signer=f"x{character}y"),
        line("f", gloss=["A", f"REG{character}EN"]),
        line("g", "guten tag" + character),
    )
    report = validate(path, open_videos=False)
    found = [problem for problem in report.problems if problem.kind != "gloss-space"]  # some are white space, too
    assert [(problem.line, problem.kind) for problem in found] == [(n, "characters") for n in range(1, 7)]
    fields = ("text", "id", "video", "signer", "gloss", "text")
    assert [p.message.partition(" ")[0] for p in found] == list(fields)
    assert all(f"U+{ord(character):04X} " in problem.message for problem in found)
    assert character not in "".join(report.lines())


ORDINARY = {
    "German": "Im Norden ist es kalt.",
    "German quotes": "„Zürich“ – naja … 3,5 °C, 12.30 Uhr; GROẞ & groß!",
    "English": "I don't know; it's 10 o'clock, isn't it? We've ½ an hour .",
    "French": "« L'eau », c'est froid\u202f! Où\xa0?",
    "Turkish": "İstanbul'da ışık var, Iğdır'da yok.",
    "Greek": "Η Αθήνα είναι όμορφη· ναι;",
    "Polish": "Zażółć gęślą jaźń.",
    "Russian": "Завтра дождь, ёлки!",
    "Arabic": "مرحبا، كيف حالك؟",
    "Persian with joiners": "می‌خواهم بروم.",
    "Hebrew": "שָׁלוֹם עולם.",
    "Hindi": "नमस्ते दुनिया। क्‍ष",
    "Thai": "สวัสดีครับ",
    "Tamil": "வணக்கம்!",
    "Korean": "안녕하세요, 세계!",
    "Japanese": "東京は晴れ。（本当？）ガ",
    "Chinese": "他今年四岁，你好吗？！：“好”。",
    "signs": "３ ① ﬁ Å ™ 100 % € 🙂 👩‍👧 👩🏽‍⚕️ ❤️‍🔥 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "brackets": "<s> a </s> <unk> [b] {c} \\d",
    "spaces": "  zu   viele\tLeerzeichen \n hier ",
}


def test_ordinary_text_is_no_problem(corpus):
    path = corpus(*(line(str(number), text) for number, text in enumerate(ORDINARY.values())))
    report = validate(path, open_videos=False)
    assert report.ok, report.lines()
    assert [clip.text for clip in report.clips.values()] == [single_spaced(nfc(text)) for text in ORDINARY.values()]


def test_someone_pastes_tabs_line_ends_and_decomposed_letters(corpus):
    path = corpus(line("a", unicodedata.normalize("NFD", " schön\tund\r\nkühl  ")))
    assert [clip.text for clip in read_manifest(path)] == ["schön und kühl"]


# --- tokenizers


@pytest.mark.parametrize("protocol", PROTOCOL_NAMES)
def test_a_perfect_translator_scores_100_on_ordinary_text(protocol):
    texts = [single_spaced(nfc(text)) for text in ORDINARY.values()]
    tokenizer = train_tokenizer(ORDINARY.values())
    found = [tokenizer.round_trip(text) for text in ORDINARY.values()]
    assert found == texts
    scores = get_protocol(protocol).score_translation(found, texts)
    assert (scores.bleu4, scores.rouge) == (pytest.approx(100), pytest.approx(100))
    typed = [text.replace(" ", " \t ") if protocol.startswith("plain") else text for text in texts]
    assert get_protocol(protocol).score_translation(found, typed) == scores


BLOCKS = {
    "Latin": string.ascii_letters + "äöüßÄÖÜẞéèêëçñøåłąęśżźćİıŞş",
    "Greek": "αβγδεζηθικλμνξοπρστυφχψωΑΒΓάέήίόύώϊϋ",
    "Cyrillic": "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВ",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويءةىًٌٍ",
    "Devanagari": "अआइईउऊएऐओऔकखगघङचछजझञटठडढणतथदधनपफबभमयरलवािीुूेैोौ्ंः",
    "Thai": "กขคงจฉชซญฎฏฐณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮะาิีึืุูเแโใไ็่้๊๋",
    "Han": "他今年四岁你好吗天气晴朗北风雨雪",
    "Kana": "あいうえおがぎぐげごアイウエオガギグゲゴー",
    "Hangul": "가나다라마바사아자차카타파하각난닫랄",
    "signs": "０１２½①ﬁﬂ™€℃🙂👍👩🎉",
}
WORDS = st.sampled_from(sorted(BLOCKS)).flatmap(lambda name: st.text(BLOCKS[name], min_size=1, max_size=6))
MARKS = st.sampled_from(
    ["", ".", ",", " .", "?", " !", "'s", "n't", "…", "。", "、", "؟", "।", '"', "«", "»", "-", "<s>"]
)
SENTENCES = st.lists(st.tuples(WORDS, MARKS).map("".join), min_size=1, max_size=6).map(" ".join)
FORMS = st.sampled_from(["NFC", "NFD"])


@settings(max_examples=60, deadline=None)
@given(st.lists(SENTENCES, min_size=1, max_size=5), FORMS, st.sampled_from([1, 60, 1000]))
def test_any_text_that_trains_a_tokenizer_comes_back(texts, form, size):
    tokenizer = train_tokenizer([unicodedata.normalize(form, text) for text in texts], vocab_size=size)
    for text in texts:
        assert tokenizer.unk_id not in tokenizer.encode(text)
        assert tokenizer.round_trip(unicodedata.normalize(form, text)) == single_spaced(nfc(text))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_training_on_anything_at_all_ends_in_a_tokenizer_or_in_words(texts):
    try:
        tokenizer = train_tokenizer(texts, vocab_size=100)
    except SltError as error:
        assert str(error).startswith("tokenizer training: no text") and "\n" not in str(error)
        return
    for text in texts:
        if not hidden(text):
            assert tokenizer.round_trip(text) == single_spaced(nfc(text))


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_whatever_is_shown_holds_nothing_hidden(text):
    assert not hidden(visible(text))


@pytest.mark.parametrize(
    "texts",
    [
        ["wort " * 980],
        ["语言文字" * 2000, "短"],
        ["a"],
        ["guten tag"] * 500,
        ["<s> </s> <unk> <pad>"],
        ["", "x", "\u200b"],
    ],
    ids=["4900 bytes", "8000 characters without a space", "one character", "one text", "names of pieces", "most empty"],
)
def test_an_unusual_corpus_trains_a_tokenizer_that_knows_it(texts):
    tokenizer = train_tokenizer(texts, vocab_size=100_000)
    for text in texts:
        if text != "\u200b":
            assert tokenizer.round_trip(text) == text.strip()


def test_a_reserved_character_costs_itself_alone():
    assert train_tokenizer(["▅ balken", "tag\x1f"]).round_trip("▅ balken tag") == "balken tag"


def test_texts_of_which_nothing_can_be_read_are_no_texts(corpus):
    path = corpus(line("a"), line("b", "\u200b\ufeff"), line("c", " \t"))
    with pytest.raises(SltError, match=r"2 train clips have no text, such as b; this stage needs it"):
        load_clips(path, "train", needs=["text"])
    with pytest.raises(SltError, match="no text in the corpus that has anything to read"):
        train_tokenizer(["\u200b", " \u2060", ""])


# --- what a recipe makes of them


@pytest.fixture
def recipe(corpus):
    """`recipe(lines)` writes a corpus and a recipe for it."""

    def write(*lines: str, **text) -> None:
        path = corpus(*lines)
        values = {"corpus": {"manifest": str(path), "isolated_manifest": None}, "synth": None, "text": text}
        path.with_name("r.yaml").write_text(json.dumps({"extends": "demo/mmtlb", **values}), encoding="utf-8")

    return write


def test_a_manifest_is_checked_as_a_recipe_would_train_on_it(recipe):
    recipe(
        line("a", "Im Norden ist es kalt."),
        line("b", "Im Norden ist es kalt. " * 30),
        line("c", "Im Norden ist es kalt.", split="dev"),
        line("d", "Im Norden ist es kalt.", gloss=list("AB" * 65), num_frames=400, split="test"),
        detokenise="none",
    )
    found = slt("data", "validate", "--no-video", "-r", "r.yaml")
    assert found.exit_code == 1
    assert (
        "texts: decode(encode(reference)) has BLEU-4 100.00; <unk> are 0.00 % of train, 0.00 % of dev" in found.output
    )
    assert "m.jsonl:2: b: the text has " in found.output
    assert "m.jsonl:4: d: the source has 132 glosses, mBART has 128 positions [too-long]" in found.output
    assert "references have more pieces than generation.max_length 100, out of reach" in found.output
    assert "problems: 1 ctc-infeasible, 2 too-long" in found.output


def test_a_spelling_that_costs_points_is_told_by_validate(recipe):
    recipe(
        line("a", "Im Norden ist es kalt."),
        line("b", "Im Norden ist es kalt.", split="dev"),
        line("c", "Θάλασσα", split="test"),
        detokenise="published",
    )
    found = slt("data", "validate", "--no-video", "-r", "r.yaml")
    assert found.exit_code == 0
    assert "warning: a perfect system would score BLEU-4 " in found.output
    assert (
        "warning: 100.00 % of the pieces of test are <unk>" in found.output
        or "pieces of test are <unk>" in found.output
    )


def test_a_corpus_without_texts_is_told_by_validate(recipe):
    recipe(line("a", None), line("b", "\u200b"))
    found = slt("data", "validate", "--no-video", "-r", "r.yaml")
    assert found.exit_code == 1
    assert "tokenizer training: no text in the corpus" in found.output
    assert "problems: 1 characters, 1 tokenizer" in found.output


def test_validate_needs_something_to_check():
    assert "name a manifest, or a recipe with -r" in slt("data", "validate").output
