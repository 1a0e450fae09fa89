"""Gloss vocabularies: the two layouts, look-ups, files."""

import json
import pickle
import unicodedata

import pytest

from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_vocab import GlossVocabulary

GLOSSES = [("MORGEN", "REGEN"), None, ("REGEN", "WIND", "neg-VIEL"), ()]


def test_recognition_ids_are_specials_then_glosses_by_frequency():
    vocabulary = GlossVocabulary.build(GLOSSES)
    assert vocabulary.names == ("<si>", "<unk>", "<pad>", "</s>", "regen", "morgen", "neg-viel", "wind")
    assert (vocabulary.unk_id, vocabulary.pad_id, vocabulary.eos_id) == (1, 2, 3)


def test_order_of_the_clips_does_not_change_recognition_ids():
    assert GlossVocabulary.build(GLOSSES) == GlossVocabulary.build(GLOSSES[::-1])


def test_translation_ids_are_the_published_specials_then_glosses_by_appearance():
    vocabulary = GlossVocabulary.build(GLOSSES, "translation")
    assert vocabulary.names[:9] == ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "zh_CN", "de_DE", "zh_CSL", "de_DGS")
    assert vocabulary.names[9:] == ("morgen", "regen", "wind", "neg-viel")
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (1, 2, 3)


def test_a_language_of_ones_own_gets_a_row():
    vocabulary = GlossVocabulary.build(GLOSSES, "translation", language="en_ASL")
    assert vocabulary.id_of("en_ASL") == 9
    assert GlossVocabulary.build(GLOSSES, "translation", language="de_DGS").id_of("de_DGS") == 8


def test_lookups_ignore_case_and_unknown_glosses_become_unk():
    vocabulary = GlossVocabulary.build(GLOSSES)
    assert vocabulary.encode(["Regen", "NEG-viel", "SCHNEE"]) == [4, 6, 1]
    assert "REGEN" in vocabulary and "SCHNEE" not in vocabulary


def test_a_gloss_is_one_class_however_it_was_typed():
    composed, decomposed = "FÜNF", unicodedata.normalize("NFD", "FÜNF")
    assert composed != decomposed
    for layout, specials in (("recognition", 4), ("translation", 9)):
        vocabulary = GlossVocabulary.build([[composed], [decomposed]], layout)
        assert vocabulary.names[specials:] == ("fünf",)
        assert vocabulary.encode([composed, decomposed, decomposed.lower()]) == [specials] * 3
        assert composed in vocabulary and decomposed in vocabulary


def test_a_table_with_decomposed_names_is_found_by_either():
    decomposed = unicodedata.normalize("NFD", "fünf")
    vocabulary = GlossVocabulary(["<unk>", "<pad>", "</s>", decomposed, "fünf"])
    assert vocabulary.encode(["FÜNF", decomposed.upper()]) == [3, 3]
    assert len(vocabulary) == 5


def test_a_digest_is_of_the_names_in_their_order(tmp_path):
    vocabulary = GlossVocabulary.build(GLOSSES)
    vocabulary.save(tmp_path / "glosses.json")
    assert GlossVocabulary.load(tmp_path / "glosses.json").digest() == vocabulary.digest()
    renumbered = GlossVocabulary([*vocabulary.names[:-2], vocabulary.names[-1], vocabulary.names[-2]])
    assert renumbered.digest() != vocabulary.digest()


def test_decoding_gives_upper_case():
    vocabulary = GlossVocabulary.build(GLOSSES)
    assert vocabulary.decode([4, 6]) == ["REGEN", "NEG-VIEL"]


def test_file_round_trip(tmp_path):
    vocabulary = GlossVocabulary.build([("MäSSIG", "雨")])
    vocabulary.save(tmp_path / "glosses.json")
    assert GlossVocabulary.load(tmp_path / "glosses.json") == vocabulary


def test_a_published_table_keeps_its_ids(tmp_path):
    table = {"<si>": 0, "</s>": 3, "<unk>": 1, "<pad>": 2, "regen": 5, "wind": 4}
    assert GlossVocabulary.from_dict(table).encode(["WIND", "REGEN"]) == [4, 5]
    (tmp_path / "table.json").write_text(json.dumps(table))
    assert GlossVocabulary.load(tmp_path / "table.json") == GlossVocabulary.from_dict(table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"<unk>": 0, "<pad>": 1, "</s>": 1}, "do not have the ids 0..2, each once"),
        ({"<unk>": 0, "<pad>": 1, "</s>": 3}, "do not have the ids 0..2, each once"),
        ({"<unk>": 0, "<pad>": "1", "</s>": [2]}, "do not have the ids 0..2, each once"),
        ({"<unk>": 0, "<pad>": 1}, "has no </s>"),
    ],
)
def test_a_table_with_clashing_or_missing_ids_is_refused(table, message):
    with pytest.raises(SltError, match=message):
        GlossVocabulary.from_dict(table)


def test_a_name_listed_twice_is_refused():
    with pytest.raises(SltError, match="'regen' is listed twice"):
        GlossVocabulary(["<unk>", "<pad>", "</s>", "regen", "regen"])


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(SltError, match="no 'de_DGS'"):
        GlossVocabulary.build(GLOSSES).id_of("de_DGS")


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(SltError, match=r"missing\.json.*`slt visual-train` writes glosses\.json"):
        GlossVocabulary.load(tmp_path / "missing.json")
    (tmp_path / "gloss2ids.pkl").write_bytes(pickle.dumps({"regen": 0}))
    with pytest.raises(SltError, match=r"gloss2ids\.pkl.*`slt lm import "):
        GlossVocabulary.load(tmp_path / "gloss2ids.pkl")
    (tmp_path / "number.json").write_text("3")
    with pytest.raises(SltError, match="expected a list of names"):
        GlossVocabulary.load(tmp_path / "number.json")
