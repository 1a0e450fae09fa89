"""Our mBART tokenizer: fairseq ids, targets, decoding, pruned maps, models trained on a corpus."""

import json

import pytest

from slt_pipeline.errors import SltError
from slt_pipeline.text.tokenizer import LANGUAGE_CODES, Tokenizer
from slt_pipeline.text.train_tokenizer import train_tokenizer

TEXTS = [
    f"am {day} gibt es {place} {weather} ."
    for day in ("montag", "dienstag", "sonntag")
    for place in ("im norden", "im süden", "in bayern")
    for weather in ("regen", "schnee", "sonne")
]


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_tokenizer(TEXTS)


@pytest.fixture(scope="module")
def trimmed(shared_data) -> Tokenizer:
    return Tokenizer.load(shared_data / "mbart_trimmed_spm")


def test_a_real_mbart_model_has_the_published_numbering(trimmed):
    assert trimmed.vocab_size == 2427 + 1 + 25 + 1
    assert trimmed.language_id == 2430
    assert Tokenizer(trimmed.model, "zh_CN").language_id == 2428 + LANGUAGE_CODES.index("zh_CN")
    # its pieces 3, 4, 5 are ".", "▁", "s"
    assert trimmed.encode(".")[-1] == 4


def test_a_real_mbart_model_knows_all_of_phoenix(trimmed, shared_data):
    from slt_pipeline.corpora.pickles import read_pickle

    texts = [item["text"] for item in read_pickle(shared_data / "phoenix-2014t" / "phoenix-2014t.train")]
    assert len(texts) == 7096
    for text in texts[::7]:
        ids = trimmed.encode(text)
        assert trimmed.unk_id not in ids, text
        assert trimmed.decode(ids) == text


def test_the_model_normalises_full_width_characters(trimmed):
    assert trimmed.encode("ｍｏｒｇｅｎ　regen") == trimmed.encode("morgen regen")


def test_targets_end_in_eos_and_start_with_the_language(trained):
    long, short = "am montag gibt es im norden regen .", "regen ."
    targets = trained.encode_target([long, short])
    n, m = len(trained.encode(long)), len(trained.encode(short))
    eos, pad, language = trained.eos_id, trained.pad_id, trained.language_id
    assert targets.labels.shape == targets.decoder_input_ids.shape == (2, n + 2)
    assert targets.labels[0].tolist() == [*trained.encode(long), eos, pad]
    assert targets.labels[1].tolist() == [*trained.encode(short), eos] + [pad] * (n - m + 1)
    assert targets.decoder_input_ids[0].tolist() == [language, *trained.encode(long), eos]
    padding = [pad] * (n - m - 1)
    assert targets.decoder_input_ids[1].tolist() == [language, *trained.encode(short), eos, language, *padding]


def test_generated_ids_decode_without_special_tokens(trained):
    ids = [trained.language_id, *trained.encode("am montag regen ."), trained.eos_id, trained.pad_id, trained.unk_id]
    assert trained.decode(ids) == "am montag regen ."


def test_german_keeps_the_space_before_a_final_stop_and_other_languages_do_not(trained):
    ids = trained.encode("am montag regen .")
    assert trained.decode(ids) == "am montag regen ."
    assert Tokenizer(trained.model, "en_XX").decode(ids) == "am montag regen."
    assert trained.decode(trained.encode(".")) == "."
    assert trained.decode(trained.encode("regen.")) == "regen ."


def test_an_unknown_character_is_unk(trained):
    assert trained.unk_id in trained.encode("€")


def test_folder_round_trip(trained, tmp_path):
    Tokenizer(trained.model, "fr_XX").save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert (again.language, again.vocab_size, again.model) == ("fr_XX", trained.vocab_size, trained.model)
    assert Tokenizer.load(tmp_path, language="de_DE").language_id == trained.language_id


def test_a_pruned_vocabulary_renumbers_and_survives_a_round_trip(trained, tmp_path):
    kept = [0, 1, 2, 3, trained.language_id, *dict.fromkeys(trained.encode("am montag regen ."))]
    pruned = Tokenizer(trained.model, "de_DE", {old: new for new, old in enumerate(kept)})
    assert (pruned.vocab_size, pruned.language_id) == (len(kept), 4)
    assert pruned.encode("am montag regen .") == [kept.index(old) for old in trained.encode("am montag regen .")]
    assert pruned.decode(pruned.encode("am montag regen .")) == "am montag regen ."
    assert set(pruned.encode("schnee")) <= {pruned.unk_id} | set(range(5, len(kept)))
    assert pruned.unk_id in pruned.encode("schnee")
    pruned.save(tmp_path)
    assert Tokenizer.load(tmp_path).encode("am montag regen .") == pruned.encode("am montag regen .")


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([1, 0, 2, 3], "special id 0 became 1"),
        ([0, 1, 2, 3], "language de_DE .* was pruned away"),
    ],
)
def test_a_map_that_breaks_the_model_is_refused(trained, kept, message):
    with pytest.raises(SltError, match=message):
        Tokenizer(trained.model, "de_DE", {old: new for new, old in enumerate(kept)})


def test_a_map_with_a_gap_is_refused(trained):
    with pytest.raises(SltError, match=r"the 5 new ids are not 0\.\.4"):
        Tokenizer(trained.model, "de_DE", {0: 0, 1: 1, 2: 2, 3: 3, trained.language_id: 7})


def test_a_published_pickle_map_is_not_opened(trained, tmp_path):
    trained.save(tmp_path)
    (tmp_path / "slt_tokenizer.json").unlink()
    (tmp_path / "map_ids.pkl").write_bytes(b"anything")
    with pytest.raises(SltError, match=r"map_ids\.pkl is a pickle"):
        Tokenizer.load(tmp_path)
    (tmp_path / "map_ids.json").write_text(json.dumps({old: old for old in range(trained.vocab_size)}))
    assert Tokenizer.load(tmp_path).encode("regen") == trained.encode("regen")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(SltError, match=r"no sentencepiece\.bpe\.model"):
        Tokenizer.load(tmp_path)


def test_a_language_unknown_to_mbart_is_refused(trained):
    with pytest.raises(SltError, match="'de_DGS' is none of mBART's codes"):
        Tokenizer(trained.model, "de_DGS")


def test_training_is_deterministic_and_covers_its_texts(trained):
    assert train_tokenizer(TEXTS).model == trained.model
    for text in TEXTS:
        assert trained.unk_id not in trained.encode(text)
        assert trained.decode(trained.encode(text)) == text


def test_training_takes_what_a_small_corpus_carries():
    for texts, size in ((["ja"], 1000), (TEXTS, 8), (["他今年四岁。", "你好吗？"], 1000)):
        tokenizer = train_tokenizer(texts, vocab_size=size)
        assert all(tokenizer.unk_id not in tokenizer.encode(text) for text in texts)
    assert train_tokenizer(TEXTS, vocab_size=60).vocab_size < train_tokenizer(TEXTS).vocab_size


def test_training_writes_its_folder(tmp_path):
    tokenizer = train_tokenizer(TEXTS, tmp_path / "tokenizer", language="nl_XX")
    assert Tokenizer.load(tmp_path / "tokenizer").language_id == tokenizer.language_id


def test_training_without_text_is_refused():
    with pytest.raises(SltError, match="no text in the corpus"):
        train_tokenizer(["", "  "])


def test_glosses_and_language_codes_name_their_pieces(trained):
    assert trained.gloss_pieces("regen") == trained.encode("regen")
    assert trained.gloss_pieces("</s>") == [2]
    assert trained.gloss_pieces("de_DGS") == trained.gloss_pieces("de_DE") == [trained.language_id]
    assert trained.gloss_pieces("<mask>") == [trained.vocab_size - 1]
    assert trained.gloss_pieces("<si>") == []
