"""What a command reads it never replaces, and with --overwrite nothing that it could not have made itself."""

import json

import pytest
import torch
from safetensors.torch import save_file
from whole_mbart import prune, slt, whole_mbart

from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_vocab import GlossVocabulary


@pytest.fixture
def theirs(tmp_path):
    return whole_mbart(tmp_path)


@pytest.fixture
def vocabulary(theirs):
    file = theirs.root / "inputs.json"
    slt("vocab", "build", "--manifest", theirs.manifest, "--kind", "inputs", "--to", file)
    return file


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_vocabulary_takes_the_place_of_no_file_but_a_vocabulary(theirs, vocabulary):
    build = ("vocab", "build", "--manifest", theirs.manifest, "--overwrite", "--to")
    linked = theirs.root / "linked.jsonl"
    linked.hardlink_to(theirs.manifest)
    (theirs.root / "table.json").write_text(json.dumps({"<pad>": 0, "</s>": 1, "<unk>": 2}))
    (theirs.root / "link").symlink_to(theirs.manifest)
    before = _contents(theirs.root)
    for name in ("manifest.jsonl", "linked.jsonl", "link"):
        with pytest.raises(SltError, match=rf"{name} is .*manifest\.jsonl, which is read; name another file"):
            slt(*build, theirs.root / name)
    for name in ("whole/config.json", "whole/model.safetensors", "table.json"):
        with pytest.raises(SltError, match=rf"{name} is there and is not a list of names"):
            slt(*build, theirs.root / name)
    assert _contents(theirs.root) == before
    assert slt(*build, vocabulary).exit_code == 0
    assert GlossVocabulary.load(vocabulary).names[0] == "<si>"


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "sentencepiece.bpe.model", "map_ids.json", "slt_tokenizer.json", "generation"],
)
def test_gloss_vectors_take_the_place_of_nothing_that_they_are_made_of(theirs, vocabulary, name):
    folder = prune(theirs, theirs.root / "pruned").folder
    (folder / "generation_config.json").write_text("{}")
    to = folder / (name if "." in name else "generation_config.json")
    before = _contents(theirs.root)
    with pytest.raises(SltError, match="which is read; name another file"):
        slt("lm", "gloss-embed", folder, "--vocab", vocabulary, "--to", to, "--overwrite")
    with pytest.raises(SltError, match=r"inputs\.json is .*inputs\.json, which is read"):
        slt("lm", "gloss-embed", folder, "--vocab", vocabulary, "--to", vocabulary, "--overwrite")
    assert _contents(theirs.root) == before


def test_gloss_vectors_take_the_place_of_gloss_vectors_alone(theirs, vocabulary):
    other, again = theirs.root / "other.safetensors", theirs.root / "vectors.safetensors"
    save_file({"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)}, other)
    embed = ("lm", "gloss-embed", theirs.folder, "--vocab", vocabulary, "--overwrite", "--to")
    for path in (other, theirs.manifest):
        before = path.read_bytes()
        with pytest.raises(SltError, match="is there and is not a file of vectors by name"):
            slt(*embed, path)
        assert path.read_bytes() == before
    for _ in range(2):
        assert slt(*embed, again).exit_code == 0
    again.write_bytes(b"")
    assert slt(*embed, again).exit_code == 0
