"""Running text: documents of sentences, held out by their words, noised by seed, epoch and index."""

import pytest
import torch

from slt_pipeline.corpora.running_text import DenoisingDataset, held_out, passages, read_documents
from slt_pipeline.errors import SltError
from slt_pipeline.text.train_tokenizer import train_tokenizer

TEXTS = ["im norden regnet es morgen .", "am mittwoch scheint die sonne .", "regen im süden und schnee ."]
TOKENIZER = train_tokenizer(TEXTS * 3, vocab_size=200)
DOCUMENTS = [tuple(TEXTS), (TEXTS[1],)]


def items(documents=DOCUMENTS, **changes):
    settings = {"seed": 7, "most": 60, "masked": 0.35, "span": 3.5, "permute": True, **changes}
    return DenoisingDataset(documents, TOKENIZER, **settings)


def test_a_file_is_sentences_a_line_and_documents_between_empty_lines(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeff\n\neins  zwei\r\nüber\u0308 drei\n \t\n\nvier\n\u200b\nfünf".encode())
    assert read_documents(file) == [("eins zwei", "über̈ drei"), ("vier", "fünf")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_of_any_system_is_read(tmp_path, encoding, end):
    file = tmp_path / "texts.txt"
    file.write_bytes(end.join(["eins zwei", "über drei", "", "süß", ""]).encode(encoding))
    assert read_documents(file) == [("eins zwei", "über drei"), ("süß",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"gut\nsch\xf6n\n", r"t\.txt:2: not UTF-8: byte 0xf6 in column 4"), (b" \n\n", "no line has anything to read")],
)
def test_a_file_that_is_no_text_is_refused_with_its_place(tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(SltError, match=message):
        read_documents(tmp_path / "t.txt")
    with pytest.raises(SltError, match=r"none\.txt: cannot be read: No such file"):
        read_documents(tmp_path / "none.txt")


def test_what_is_there_twice_is_on_one_side_alone():
    documents = [(f"satz {number % 50}",) for number in range(200)]
    kept, out = held_out(documents, 0.1)
    assert len(out) == 20 and len(kept) == 180 and not set(kept) & set(out)
    moved = held_out([("ein anderer",), *documents], 0.1)[1]
    assert len(set(out) ^ set(moved)) <= 2
    assert len(held_out([("a",), ("b",)], 0.001)[1]) == 1
    with pytest.raises(SltError, match="a single document"):
        held_out([("a",), ("a",)], 0.5)


def test_passages_are_whole_sentences_and_lose_nothing():
    def spelled(found):
        return " ".join(TOKENIZER.decode(word) for passage in found for words in passage for word in words)

    whole = passages(DOCUMENTS, TOKENIZER, 60)
    assert [len(passage) for passage in whole] == [3, 1]
    assert spelled(whole) == " ".join([*TEXTS, TEXTS[1]])
    for most in (1, 5, 9, 14):
        cut = passages(DOCUMENTS, TOKENIZER, most)
        sizes = [sum(len(word) for words in each for word in words) + len(each) - 1 for each in cut]
        assert max(sizes) <= most
        assert spelled(cut).replace(" ", "") == spelled(whole).replace(" ", "")


def test_an_item_is_a_pure_function_of_seed_epoch_and_index():
    one, again = items(), items()
    batch = one.__getitems__([(2, 0), (5, 1)])
    assert all(torch.equal(value, again.__getitems__([(2, 0), (5, 1)])[name]) for name, value in batch.items())
    assert one.noised(2, 0) != one.noised(3, 0)
    assert one.noised(2, 0) != items(seed=8).noised(2, 0)


def test_the_source_is_noised_and_the_target_is_the_text():
    batch = items().__getitems__([(0, 0)])
    ids = [piece for piece in batch["labels"][0].tolist() if piece not in (TOKENIZER.eos_id, TOKENIZER.pad_id)]
    assert TOKENIZER.decode(ids) == " ".join(TEXTS)
    assert (batch["labels"][0] == TOKENIZER.eos_id).sum() == 3
    assert batch["decoder_input_ids"][0, 0] == TOKENIZER.language_id
    source = batch["text_ids"][0].tolist()
    assert source[-2:] == [TOKENIZER.eos_id, TOKENIZER.language_id]
    assert TOKENIZER.added_tokens["<mask>"] in source


def test_sentences_alone_are_mixed_where_nothing_is_masked():
    found = {TOKENIZER.decode(items(masked=0.0).noised(epoch, 0)) for epoch in range(60)}
    assert len(found) == 6  # all orders of three
    assert {TOKENIZER.decode(items(masked=0.0, permute=False).noised(epoch, 0)) for epoch in range(9)} == {
        " ".join(TEXTS)
    }


def test_without_spaces_each_piece_counts_as_a_word():
    tokenizer = train_tokenizer(["我们今天去学校", "他今天不来"] * 3, vocab_size=1, language="zh_CN")
    settings = {"seed": 1, "most": 50, "masked": 0.35, "span": 1.0, "permute": True}
    chinese = DenoisingDataset([("我们今天去学校",)], tokenizer, **settings)
    mask = tokenizer.added_tokens["<mask>"]
    found = [chinese.noised(epoch, 0) for epoch in range(9)]
    assert any(mask in ids and set(ids) != {mask} for ids in found), found
