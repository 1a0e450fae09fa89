"""A trained tokenizer that was pruned is read by transformers with the same ids wherever ours knows every piece."""

import json

import pytest
from transformers import AutoTokenizer

from slt_pipeline.corpora.pickles import read_pickle
from slt_pipeline.text.pruning import needed_ids
from slt_pipeline.text.tokenizer import Tokenizer
from slt_pipeline.text.tokenizer_json import tokenizer_files
from slt_pipeline.text.train_tokenizer import train_tokenizer


@pytest.fixture(params=[("phoenix-2014t/phoenix-2014t", "de_DE"), ("csl-daily/csl-daily", "zh_CN")])
def trained(request, shared_data) -> tuple[list[str], list[str], Tokenizer]:
    """Texts of dev and of test, and a tokenizer of both."""
    stem, language = request.param
    dev, test = ([clip["text"] for clip in read_pickle(shared_data / f"{stem}.{split}")] for split in ("dev", "test"))
    return dev, test, train_tokenizer([*dev, *test], vocab_size=2500, language=language)


def _read(tokenizer: Tokenizer, folder):
    for name, content in tokenizer_files(tokenizer, 64).items():
        (folder / name).write_text(json.dumps(content))
    return AutoTokenizer.from_pretrained(folder)


def test_ids_are_ours_where_no_piece_was_pruned_away(trained, tmp_path):
    kept, others, whole = trained[0][:150], trained[1], trained[2]
    once = whole.with_ids(needed_ids(whole, map(whole.encode, kept)))
    pruned = once.with_ids(needed_ids(once, map(once.encode, kept[:50])))
    assert pruned.vocab_size < once.vocab_size < whole.vocab_size
    for tokenizer, texts in ((once, kept), (pruned, kept[:50])):
        theirs = _read(tokenizer, tmp_path)
        known = [text for text in others if tokenizer.unk_id not in tokenizer.encode(text)]
        assert len(known) > 10
        for text in [*texts, *known]:
            assert theirs(text)["input_ids"] == [*tokenizer.encode(text), tokenizer.eos_id, tokenizer.language_id]


def test_there_is_no_file_where_what_the_pieces_are_merged_of_was_pruned_away(trained):
    kept, _, whole = trained
    own = dict.fromkeys(number for text in kept for number in whole.encode(text))
    pruned = whole.with_ids([*whole.added_tokens.values(), *own])
    assert tokenizer_files(pruned, 64) == {} and tokenizer_files(whole, 64) != {}
