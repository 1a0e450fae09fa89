"""What reads alike is alike: NFC, blanks, half-width punctuation."""

import unicodedata

import pytest

from slt_pipeline.text.normalise import nfc, single_spaced, to_half_width


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize("text", ["schön", "FÜNF", "été", "Tiếng Việt", "안녕", "が", "ไทย", "你好", "٣", ""])
def test_decomposed_and_composed_text_are_one(text):
    assert nfc(decomposed(text)) == nfc(text) == unicodedata.normalize("NFC", text)


def test_nothing_but_the_composition_changes():
    assert nfc("ﬁ ½ ，？ … ①") == "ﬁ ½ ，？ … ①"


def test_blanks_become_one_space_and_the_typographic_ones_stay():
    assert single_spaced(" a  b\tc\r\nd\x0be ") == "a b c d e"
    assert single_spaced("va\u00a0?\u3000x\u202f!") == "va\u00a0?\u3000x\u202f!"


def test_only_four_marks_become_half_width():
    assert to_half_width("你好，吗？！：。“") == "你好,吗?!:。“"
