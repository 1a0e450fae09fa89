"""A folder whose settings and weights make no mBART becomes none by `slt lm prune` or `slt lm import`."""

import json
import shutil

import pytest
import torch
from whole_mbart import prune, published, slt

from slt_pipeline.errors import SltError


def _without(key):
    return lambda config, _: config.pop(key)


def _with(name, value):
    return lambda _, state: state.update({name: value})


def _not_a_number(_, state):
    state["model.encoder.layers.0.fc1.bias"][3] = torch.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _without("d_model"),
            r"\(whose config.json has no d_model, so that it is 1024\): .*\(\d+, 16\), the model has",
        ),
        (_without("encoder_layers"), r"\(whose config.json has no encoder_layers, so that it is 12\): \d+ missing"),
        (lambda config, _: config.update(max_position_embeddings=10**12), "embed_positions.weight is .*10000000000"),
        (lambda config, _: config.update(d_model="16"), 'config.json says d_model = "16", which is not a whole number'),
        (_with("model.decoder.judge.weight", torch.ones(3)), "0 missing, 1 unknown, e.g. model.decoder.judge.weight"),
        (_with("final_logits_bias", torch.ones(3)), r"final_logits_bias is \(3,\), the model has"),
        (_not_a_number, "model.encoder.layers.0.fc1.bias has values that are not finite"),
    ],
)
@pytest.mark.parametrize("command", ["prune", "import"])
def test_a_folder_that_nothing_could_use_becomes_none(theirs, pruned, tmp_path, command, change, message):
    folder = published(theirs, pruned, tmp_path / "published")
    config, state = json.loads((folder / "config.json").read_text()), torch.load(folder / "pytorch_model.bin")
    change(config, state)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(state, folder / "pytorch_model.bin")
    arguments = ()
    if command == "prune":
        (folder / "map_ids.json").write_bytes((pruned.folder / "map_ids.json").read_bytes())
        arguments = ("--manifest", theirs.manifest)
    with pytest.raises(SltError, match=message) as refused:
        slt("lm", command, folder, "--to", tmp_path / "out", *arguments)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_gloss_vectors_that_are_no_numbers_are_named(theirs, pruned, tmp_path):
    folder = published(theirs, pruned, tmp_path / "published")
    torch.save({"regen": torch.full((16,), torch.inf)}, folder / "gloss_embeddings.bin")
    with pytest.raises(SltError, match="the vector of 'regen' has values that are not finite"):
        slt("lm", "import", folder, "--to", tmp_path / "out")


def test_defaults_of_generation_that_are_none_are_refused(theirs, tmp_path):
    folder = shutil.copytree(theirs.folder, tmp_path / "theirs")
    (folder / "generation_config.json").write_text("[2]")
    with pytest.raises(SltError, match=r"generation_config\.json: no settings by name"):
        prune(theirs, tmp_path / "out", folder=folder)
