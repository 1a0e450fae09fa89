"""Our mBART tokenizer: fairseq ids, targets, decoding, pruned maps, models trained on a corpus."""

import json
import re
import unicodedata

import numpy as np
import pytest

from slt_pipeline.avatar.grammar import write_report
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


def test_published_spelling_closes_up_punctuation_and_german_keeps_its_final_stop_apart(trained):
    ids = trained.encode("am montag regen .")
    german, english = (Tokenizer(trained.model, language, None, "published") for language in ("de_DE", "en_XX"))
    assert german.decode(ids) == "am montag regen ."
    assert english.decode(ids) == "am montag regen."
    assert german.decode(trained.encode(".")) == "."
    assert german.decode(trained.encode("regen.")) == "regen ."


def test_without_it_text_is_what_the_pieces_say(trained):
    for language in ("de_DE", "en_XX"):
        plain = Tokenizer(trained.model, language, detokenise="none")
        for text in ("am montag regen .", "regen.", "."):
            assert plain.round_trip(text) == text


LANGUAGES = {
    "German": "Zuerst braucht man zwei Eier, etwas Mehl und – genau! – Zucker. Straße, Größe, GROẞ.",
    "English": "I don't know; it's 10 o'clock, isn't it? We've ½ an hour .",
    "French": "« Ça va ? », dit-elle… l'été !",
    "Polish": "Zażółć gęślą jaźń.",
    "Turkish": "İstanbul'da ışık var.",
    "Vietnamese": "Tiếng Việt có dấu.",
    "Greek": "Η Αθήνα είναι όμορφη·",
    "Russian": "Завтра ожидается дождь, ёлки.",
    "Arabic": "مرحبا، كيف حالك؟",
    "Hebrew": "שָׁלוֹם עולם.",
    "Hindi": "नमस्ते दुनिया।",
    "Thai": "สวัสดีครับ",
    "Korean": "안녕하세요, 세계!",
    "Japanese": "東京は晴れ。（本当？）ガ",
    "Chinese": "他今年四岁，你好吗？！：“好”。",
    "signs": "３ ① ﬁ Å ™ 👩‍👧 100 % €",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_trained_tokenizer_gives_ordinary_text_back(language):
    text = LANGUAGES[language]
    tokenizer = train_tokenizer([text, *LANGUAGES.values()])
    for form in ("NFC", "NFD"):
        assert tokenizer.round_trip(unicodedata.normalize(form, text)) == unicodedata.normalize("NFC", text)
    assert tokenizer.round_trip(text.replace(" ", " \t\n ")) == unicodedata.normalize("NFC", text)


def test_training_on_decomposed_text_gives_the_same_model():
    texts = list(LANGUAGES.values())
    assert train_tokenizer([unicodedata.normalize("NFD", t) for t in texts]).model == train_tokenizer(texts).model


def test_sentences_of_the_demo_come_back_under_either_spelling():
    taken: set[str] = set()
    rng = np.random.default_rng(1)
    texts = [sentence.text for _ in range(60) for sentence in write_report(6, rng, taken)]
    own = train_tokenizer(texts, vocab_size=400)
    assert all(own.round_trip(text) == text for text in texts)
    assert all(Tokenizer(own.model, detokenise="published").round_trip(text) == text for text in texts)


def test_an_unknown_character_is_unk(trained):
    assert trained.unk_id in trained.encode("€")


def test_folder_round_trip(trained, tmp_path):
    Tokenizer(trained.model, "fr_XX").save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert (again.language, again.vocab_size, again.model) == ("fr_XX", trained.vocab_size, trained.model)
    assert Tokenizer.load(tmp_path, language="de_DE").language_id == trained.language_id


def test_the_spelling_is_saved_and_a_folder_that_does_not_say_is_published(trained, tmp_path):
    for spelling in ("none", "published"):
        Tokenizer(trained.model, detokenise=spelling).save(tmp_path)
        assert Tokenizer.load(tmp_path).detokenise == spelling
    assert Tokenizer.load(tmp_path, detokenise="none").detokenise == "none"
    (tmp_path / "slt_tokenizer.json").write_text('{"language": "de_DE", "kept": null}')
    assert Tokenizer.load(tmp_path).detokenise == "published"
    (tmp_path / "slt_tokenizer.json").unlink()
    assert Tokenizer.load(tmp_path).detokenise == "published"
    (tmp_path / "slt_tokenizer.json").write_text('{"detokenise": "some"}')
    with pytest.raises(SltError, match="detokenise is 'some'; use one of: none, published"):
        Tokenizer.load(tmp_path)


def test_a_damaged_folder_is_named(trained, tmp_path):
    trained.save(tmp_path)
    (tmp_path / "slt_tokenizer.json").write_text("{")
    with pytest.raises(SltError, match=r"slt_tokenizer\.json cannot be read"):
        Tokenizer.load(tmp_path)


def test_a_digest_is_of_content(trained, tmp_path):
    trained.save(tmp_path)
    assert Tokenizer.load(tmp_path).digest() == train_tokenizer(TEXTS).digest() == trained.digest()
    identity = {old: old for old in range(trained.vocab_size)}
    swapped = {**identity, 10: 11, 11: 10}
    others = [
        train_tokenizer(TEXTS[:-1]),
        Tokenizer(trained.model, "en_XX"),
        Tokenizer(trained.model, detokenise="published"),
        Tokenizer(trained.model, id_map=identity),
        Tokenizer(trained.model, id_map=swapped),
    ]
    assert len({trained.digest(), *(other.digest() for other in others)}) == 6


def test_a_digest_of_ids_is_of_ids_alone(trained):
    identity = {old: old for old in range(trained.vocab_size)}
    same = [Tokenizer(trained.model, id_map=identity), Tokenizer(trained.model, detokenise="published")]
    assert {each.ids_digest() for each in same} == {trained.ids_digest()}
    others = [
        train_tokenizer(TEXTS[:-1]),
        Tokenizer(trained.model, "en_XX"),
        Tokenizer(trained.model, id_map={**identity, 10: 11, 11: 10}),
        Tokenizer(trained.model, id_map={old: old for old in identity if old < trained.vocab_size - 1}),
    ]
    assert len({trained.ids_digest(), *(other.ids_digest() for other in others)}) == 5


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
        ([0, 1, 2, 3], "language de_DE .* was pruned away; prune again for it, or choose one that is left: none"),
    ],
)
def test_a_map_that_breaks_the_model_is_refused(trained, kept, message):
    with pytest.raises(SltError, match=message):
        Tokenizer(trained.model, "de_DE", {old: new for new, old in enumerate(kept)})


@pytest.mark.parametrize("strange", [-1, 99999])
def test_a_map_of_another_model_is_refused(trained, strange):
    kept = [0, 1, 2, 3, trained.language_id, strange]
    most = trained.vocab_size - 1
    with pytest.raises(SltError, match=f"keeps the id {strange}, and the SentencePiece model .* up to {most}; take"):
        Tokenizer(trained.model, "de_DE", {old: new for new, old in enumerate(kept)})


def test_a_map_with_a_gap_is_refused(trained):
    with pytest.raises(SltError, match=r"the 5 new ids are not 0\.\.4"):
        Tokenizer(trained.model, "de_DE", {0: 0, 1: 1, 2: 2, 3: 3, trained.language_id: 7})


def test_a_published_pickle_map_is_not_opened(trained, tmp_path):
    trained.save(tmp_path)
    (tmp_path / "slt_tokenizer.json").unlink()
    (tmp_path / "map_ids.pkl").write_bytes(b"anything")
    command = re.escape(f"`slt lm import {tmp_path}` makes map_ids.json of it")
    with pytest.raises(SltError, match=rf"map_ids\.pkl is a pickle, which is not opened; {command}"):
        Tokenizer.load(tmp_path)
    (tmp_path / "map_ids.json").write_text(json.dumps({old: old for old in range(trained.vocab_size)}))
    assert Tokenizer.load(tmp_path).encode("regen") == trained.encode("regen")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(SltError, match=r"no sentencepiece\.bpe\.model"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("code", ["de_DGS", "German", "", "de"])
def test_what_is_no_spoken_language_is_refused(trained, code):
    with pytest.raises(SltError, match=f"'{code}' is no spoken language such as de_DE, en_XX or pl_PL"):
        Tokenizer(trained.model, code)


def test_a_language_that_mbart_lacks_has_the_id_behind_the_last(trained, tmp_path):
    """So that all others keep theirs, in a pruned vocabulary too."""
    polish = Tokenizer(trained.model, "pl_PL")
    assert (polish.vocab_size, polish.language_id) == (trained.vocab_size + 1, trained.vocab_size)
    assert polish.gloss_pieces("<mask>") == trained.gloss_pieces("<mask>")
    assert polish.encode_target(["regen ."]).decoder_input_ids[0, 0] == polish.language_id
    assert polish.decode([polish.language_id, *polish.encode("regen ."), polish.eos_id]) == "regen ."
    kept = [0, 1, 2, 3, *dict.fromkeys(trained.encode("am montag regen ."))]
    pruned = Tokenizer(trained.model, "pl_PL", {old: new for new, old in enumerate(kept)})
    assert (pruned.vocab_size, pruned.language_id) == (len(kept) + 1, len(kept))
    for number, tokenizer in enumerate((polish, pruned)):
        tokenizer.save(tmp_path / str(number))
        again = Tokenizer.load(tmp_path / str(number))
        assert (again.digest(), again.language_id) == (tokenizer.digest(), tokenizer.language_id)


@pytest.mark.parametrize(
    ("spoken", "signed", "beside"),
    [
        ("pl_PL", "pl_PJM", "pl_PL"),
        ("el_GR", "el_GSS", "el_GR"),
        ("en_XX", "en_ASL", "en_XX"),
        ("en_GB", "en_BSL", "en_GB"),
        ("de_DE", "en_ASL", "en_XX"),
        ("pt_BR", "pt_Libras", "pt_BR"),
        ("de_DE", "fil_FSL", "de_DE"),
        ("fr_XX", "de_DGS", "de_DE"),
        ("de_DE", "zh_CSL", "zh_CN"),
    ],
)
def test_a_sign_language_stands_for_the_spoken_one_beside_it(trained, spoken, signed, beside):
    tokenizer = Tokenizer(trained.model, spoken)
    assert tokenizer.gloss_pieces(signed) == tokenizer.gloss_pieces(beside)
    assert tokenizer.gloss_pieces(beside) == [Tokenizer(trained.model, beside).language_id]


def test_where_the_language_beside_was_pruned_away_the_target_stands_for_it(trained):
    kept = [0, 1, 2, 3, trained.language_id]
    pruned = Tokenizer(trained.model, "de_DE", {old: new for new, old in enumerate(kept)})
    assert pruned.gloss_pieces("en_ASL") == pruned.gloss_pieces("de_DE") == [4]


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


def test_a_sign_language_starts_from_the_spoken_one_beside_it(trained):
    whole = Tokenizer(trained.model, "fr_XX")
    assert whole.gloss_pieces("en_ASL") == whole.gloss_pieces("en_XX") == [trained.language_id + 1]
    assert whole.gloss_pieces("zh_CSL") == whole.gloss_pieces("zh_CN")
    assert whole.gloss_pieces("pl_PJM") == whole.gloss_pieces("fr_XX") == [whole.language_id]


def test_what_is_written_backward_is_read_forward_and_its_folder_says_so(trained, tmp_path):
    backward = train_tokenizer(TEXTS, tmp_path, order="backward")
    text = "am montag gibt es im norden regen ."
    targets = backward.encode_target([text, "regen ."])
    assert targets.labels[0].tolist()[:-1] == [*trained.encode(text)[::-1], trained.eos_id]
    assert targets.decoder_input_ids[0, 1:].tolist() == targets.labels[0, :-1].tolist()
    assert backward.decode_batch(targets.labels) == [text, "regen ."]
    assert backward.encode(text) == trained.encode(text)  # as a source it is read as ever
    assert backward.round_trip(text) == text
    assert Tokenizer.load(tmp_path).order == backward.with_ids(range(backward.vocab_size)).order == "backward"
    assert Tokenizer.load(tmp_path, order="forward").digest() == trained.digest()


def test_two_orders_are_two_tokenizers_and_the_usual_one_is_as_it_was_before_there_was_a_choice(trained):
    backward = Tokenizer(trained.model, order="backward")
    assert backward.digest() != trained.digest()
    assert backward.ids_digest() != trained.ids_digest()
    assert "order" not in trained._meta()
    with pytest.raises(SltError, match="order is 'sideways'; use one of: forward, backward"):
        Tokenizer(trained.model, order="sideways")  # type: ignore[arg-type]
