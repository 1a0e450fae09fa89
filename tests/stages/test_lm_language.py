"""The language that `slt lm` is told is the one in which transformers begins every text."""

import json
import pickle

import pytest
from transformers import AutoTokenizer, MBartForConditionalGeneration
from whole_mbart import prune, slt, whole_mbart

from slt_pipeline.text.tokenizer import Tokenizer

GENERATION = "generation_config.json"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """With settings of generation in a file of their own, as transformers writes them."""
    theirs = whole_mbart(tmp_path_factory.mktemp("theirs"))
    start = {"decoder_start_token_id": theirs.tokenizer.language_id, "num_beams": 5}
    (theirs.folder / GENERATION).write_text(json.dumps(start))
    return theirs


def _starts(folder) -> tuple[str, set[int], int]:
    """The language, the first ids of what transformers generates, and that of the settings of generation."""
    own, model = Tokenizer.load(folder), MBartForConditionalGeneration.from_pretrained(folder)
    read = AutoTokenizer.from_pretrained(folder)(["am montag regnet es", "schnee"], return_tensors="pt", padding=True)
    first = set(model.generate(**read, max_length=5)[:, 0].tolist())
    assert own.language_id == own.added_tokens[own.language]
    return own.language, first, json.loads((folder / GENERATION).read_text())["decoder_start_token_id"]


@pytest.mark.parametrize(("given", "language", "number"), [((), "de_DE", 6), (("--language", "zh_CN"), "zh_CN", 28)])
def test_a_pruned_mbart_begins_in_its_language(theirs, tmp_path, given, language, number):
    assert _starts(prune(theirs, tmp_path / "to", *given).folder) == (language, {number}, number)


def test_an_imported_mbart_begins_in_its_language(theirs, tmp_path):
    folder = prune(theirs, tmp_path / "published").folder
    ids = json.loads((folder / "map_ids.json").read_text())
    (folder / "map_ids.json").unlink()
    (folder / "map_ids.pkl").write_bytes(pickle.dumps({int(old): new for old, new in ids.items()}))
    assert slt("lm", "import", folder, "--to", tmp_path / "to", "--language", "zh_CN").exit_code == 0
    assert _starts(tmp_path / "to") == ("zh_CN", {28}, 28)


def test_settings_of_generation_that_name_no_language_are_left_alone(theirs, tmp_path):
    told = (theirs.folder / GENERATION).read_text()
    (theirs.folder / GENERATION).write_text(json.dumps({"num_beams": 5}))
    to = prune(theirs, tmp_path / "to", "--language", "zh_CN")
    (theirs.folder / GENERATION).write_text(told)
    assert json.loads((to.folder / GENERATION).read_text()) == {"num_beams": 5}
    assert to.config["decoder_start_token_id"] == 28
